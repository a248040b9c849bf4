"""Sentiment: labels as in the data, plain tabs, and the published way over a fully fine-tuned base."""

import csv
import json
from pathlib import Path

import pytest

from langlift.errors import InputError, LangliftError
from langlift.tasks.prediction import load_trained_task
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.runner import train_task
from langlift.tasks.task import TASKS, task_recipe

SENTIMENT = TASKS["sentiment"].learner
WORDS = {"positive": ["tajjeb", "sabiħ", "mill-aħjar"], "negative": ["ħażin", "ikrah", "tal-biża'"]}


@pytest.fixture(scope="module")
def sentiment_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that differ in their words; quotation marks stand open, as in tweets."""
    folder = tmp_path_factory.mktemp("sentiment")
    for split, count in (("train", 40), ("dev", 12), ("test", 12)):
        rows = ["label\ttext"]
        for i in range(count):
            label = ("negative", "positive")[i % 2]
            words = WORDS[label]
            rows.append(f'{label}\t"Il-film kien {words[i % 3]} u {words[(i // 2) % 3]} {i}.')
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def test_a_task_adapter_on_a_fully_fine_tuned_base(
    tiny_bert: Path, sentiment_folder: Path, maltese_lines, tmp_path: Path, langlift
):
    """The published baseline: the whole masked model trains on text, then a task adapter on that model."""
    text, full, run = tmp_path / "text.txt", tmp_path / "full", tmp_path / "run"
    text.write_text("\n".join(maltese_lines[:60]), encoding="utf-8")
    adapted = langlift(
        "adapt",
        "mlt",
        "--base",
        tiny_bert,
        "--data",
        text,
        "--out",
        full,
        "--method",
        "full",
        "--steps",
        3,
        "--json",
    )
    assert adapted.code == 0, adapted.err
    result = langlift(
        "task", "sentiment", "--base", full, "--data", sentiment_folder, "--out", run, "--epochs", 20,
        "--lr", "3e-3", "--batch-size", 8, "--set", "reduction_factor=4", "--set", "pooling=mean",
        "--seeds", "1,2", "--precision", "float32", "--json",  # as predict computes: a tie must not fall otherwise
    )  # fmt: skip
    assert result.code == 0, result.err
    assert result.json["task"] == "sentiment"
    assert result.json["metric"] == "macro_f1"
    assert result.json["mean"] > 60, "two classes with words of their own: chance is 33 for a constant answer"
    assert result.json["baseline"]["tfidf"] == pytest.approx(100)
    assert (run / "seed-1" / "adapter_config.json").exists()
    assert not (run / "seed-1" / "model.safetensors").exists()
    assert json.loads((run / "seed-1" / "adapter_config.json").read_text())["name"] == "sentiment"
    assert "# Sentiment: task adapter" in (run / "seed-1" / "README.md").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in (run / "seed-2" / "test_predictions.jsonl").read_text().splitlines()]
    assert all(row["text"].startswith('"Il-film') for row in rows)
    found = load_trained_task(run, seed=2)(row["text"] for row in rows)
    assert [p.label for p in found] == [row["predicted"] for row in rows]
    out = tmp_path / "out.jsonl"
    shown = langlift("predict", run, "--text", sentiment_folder / "test.tsv", "--out", out, "--seed", 2)
    assert shown.code == 0, shown.err
    again = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [(row["text"], row["label"], row["predicted"]) for row in again] == [
        (row["text"], row["gold"], row["predicted"]) for row in rows
    ]
    text.write_text("Il-film kien tajjeb.\nIl-film kien ikrah.\n", encoding="utf-8")
    out = tmp_path / "out.tsv"
    assert langlift("predict", run, "--text", text, "--out", out).code == 0
    with out.open(encoding="utf-8", newline="") as file:
        labelled = list(csv.DictReader(file, delimiter="\t"))
    assert labelled[0].keys() == {
        "text", "predicted", "probability", "probability_negative", "probability_positive",
    }  # fmt: skip


def test_more_than_two_labels(tiny_bert: Path, tmp_path: Path):
    for split in ("train", "dev", "test"):
        rows = "".join(f"{label}\tIl-film {i}\n" for i in range(4) for label in ("good", "bad", "neither"))
        (tmp_path / f"{split}.tsv").write_text("label\ttext\n" + rows, encoding="utf-8")
    result = train_task("sentiment", str(tiny_bert), tmp_path, tmp_path / "run", TaskRecipe(epochs=1, seeds=(1,)))
    assert result.baseline["majority"] == pytest.approx(100 / 6)
    assert load_trained_task(tmp_path / "run").labels == ["bad", "good", "neither"]


@pytest.mark.parametrize("named", [True, False])
def test_a_hub_set_in_a_folder(
    sentiment_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    own = SENTIMENT.read(str(sentiment_folder), None, strict=False)
    for split, name in (("train", "train"), ("dev", "validation"), ("test", "test")):
        data = getattr(own, split)
        labels = [own.labels.index(label) for label in data.gold] if named else data.gold
        kind = datasets.ClassLabel(names=own.labels) if named else datasets.Value("string")
        features = datasets.Features(sentence=datasets.Value("string"), label=kind)
        table = datasets.Dataset.from_dict({"sentence": data.inputs, "label": labels}, features=features)
        table.to_parquet(tmp_path / "set" / f"{name}.parquet")
    read = SENTIMENT.read(str(tmp_path / "set"), None, strict=False)
    assert (read.train, read.dev, read.test, read.labels) == (own.train, own.dev, own.test, own.labels)


def test_a_hub_set_that_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def refusal(folder: str, config: str = "", **splits) -> str:
        for name, rows in splits.items():
            table = datasets.Dataset.from_dict(rows)
            table.to_parquet(tmp_path / folder / f"{name}.parquet")
        with pytest.raises(InputError) as refused:
            SENTIMENT.read(str(tmp_path / folder) + config, None, strict=False)
        assert "\n" not in refused.value.message
        return refused.value.message.replace(str(tmp_path), "")

    good = {"text": ["a", "b"], "label": ["x", "y"]}
    assert refusal("a", train=good, test=good) == "/a: the dev split is missing (found: train, test)"
    assert (
        refusal("b", train={"text": ["a"], "stars": [1]})
        == "/b (train): no field 'label' or 'sentiment' or 'labels' or 'class' or 'category' (found: text, stars)"
    )
    strange = {"text": ["a"], "label": ["z"]}
    message = refusal("c", train=good, validation=strange, test=good)
    assert message == "/c (dev), row 1: the label 'z' never occurs in the training data"
    assert refusal("d", ":other", train=good) == "/d:other: no configuration 'other'"
    empty = {"text": ["a", " "], "label": ["x", "y"]}
    assert refusal("e", train=empty) == "/e (train), row 2: empty text"
    with pytest.raises(InputError, match="no such folder"):
        SENTIMENT.read("./no/such", None, strict=False)
    (tmp_path / "train.tsv").write_text("label\ttext\n")
    with pytest.raises(InputError, match=r"train\.tsv: no examples"):
        SENTIMENT.read(str(tmp_path / "train.tsv"), None, strict=False)
    with pytest.raises(LangliftError, match="misspelt: no such folder, and the hub cannot be reached"):
        SENTIMENT.read("misspelt", None, strict=False)


def test_settings_by_task(tmp_path: Path):
    assert [task_recipe(task).epochs for task in ("topic", "sentiment", "ner")] == [
        20,
        25,
        100,
    ]
    file = tmp_path / "settings.yaml"
    file.write_text(
        "task:\n  batch_size: 4\n  epochs: 3\n  ner:\n    epochs: 7\n    full: {learning_rate: 0.5}\n"
        "  sentiment: {batch_size: 9}\n"
    )
    ner = task_recipe("ner", config=file, flags={"method": "full"})
    assert (ner.epochs, ner.batch_size, ner.learning_rate) == (7, 4, 0.5)
    assert task_recipe("ner", config=file).learning_rate == TaskRecipe().learning_rate
    sentiment = task_recipe("sentiment", config=file)
    assert (sentiment.epochs, sentiment.batch_size) == (3, 9)
    assert task_recipe(config=file).epochs == 3
    with pytest.raises(InputError, match="unknown setting 'epoch'"):
        file.write_text("task:\n  ner: {epoch: 7}\n")
        task_recipe("ner", config=file)


@pytest.mark.parametrize(
    ("preset", "epochs"), [("2407.01406", [20, 50, 100]), ("2502.10140", [20, 25, 100]), ("nano", None)]
)
def test_shipped_presets_fit_every_task(preset: str, epochs: list[int] | None):
    recipes = [task_recipe(task, preset=preset) for task in ("topic", "sentiment", "ner")]
    assert epochs is None or [recipe.epochs for recipe in recipes] == epochs


@pytest.mark.data
def test_the_real_sets_are_read(data_folder: Path):
    for folder in sorted((data_folder / "eval" / "sentiment").iterdir()):
        data = SENTIMENT.read(str(folder), None, strict=True)
        assert data.labels == ["negative", "positive"], folder
        lines = (folder / "train.tsv").read_text(encoding="utf-8").count("\n")
        assert len(data.train) == lines - 1, folder
