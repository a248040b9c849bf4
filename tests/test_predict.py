"""A trained topic run labels new text, as it labelled its test split."""

import csv
import io
import json
import shutil
from itertools import islice, repeat
from pathlib import Path

import pytest
from conftest import treebank_sentence
from hypothesis import given, settings
from hypothesis import strategies as st

from langlift.backbones.loading import default_device
from langlift.errors import InputError
from langlift.tasks import learner, prediction
from langlift.tasks.input_rows import read_rows
from langlift.tasks.prediction import load_trained_task
from langlift.training import precision as arithmetic


@pytest.fixture(scope="module")
def stacked_run(tiny_xlm_roberta: Path, topic_folder: Path, tmp_path_factory, maltese_lines) -> Path:
    """Two seeds of a topic run, stacked on a language adapter that is gone afterwards."""
    from langlift.languages import find_language
    from langlift.tasks.recipe import TaskRecipe
    from langlift.tasks.runner import train_task
    from langlift.training.adaptation import adapt
    from langlift.training.recipes import AdaptRecipe

    folder = tmp_path_factory.mktemp("stacked")
    text = folder / "text.txt"
    text.write_text("\n".join(maltese_lines[:60]), encoding="utf-8")
    adapt(find_language("mlt"), str(tiny_xlm_roberta), text, folder / "adapter", AdaptRecipe(steps=3))
    recipe = TaskRecipe(
        epochs=3, learning_rate=1e-2, seeds=(1, 2), reduction_factor=4.0, precision="float32"
    )  # as predict computes: a tie must not fall otherwise
    train_task("topic", str(tiny_xlm_roberta), topic_folder, folder / "run", recipe, folder / "adapter")
    shutil.rmtree(folder / "adapter")
    return folder / "run"


@pytest.mark.parametrize("seed", [1, 2])
def test_the_test_split_gets_the_labels_that_were_measured(stacked_run: Path, topic_folder: Path, seed: int):
    classifier = load_trained_task(stacked_run, seed=seed)
    lines = (stacked_run / f"seed-{seed}" / "test_predictions.jsonl").read_text(encoding="utf-8").splitlines()
    measured = [json.loads(line) for line in lines]
    predicted = list(classifier(row["text"] for row in measured))
    assert [p.label for p in predicted] == [row["predicted"] for row in measured]
    for p in predicted:
        assert sum(p.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert p.label == max(p.probabilities, key=p.probabilities.get)


needs_bf16 = pytest.mark.skipif(not arithmetic.has_bf16(default_device()), reason="no bf16 in hardware")


@pytest.mark.parametrize("precision", ["float32", pytest.param("bf16", marks=needs_bf16)])
@pytest.mark.parametrize("task", ["pos", "dependencies", "fuse"])
def test_predict_answers_as_the_run_itself_in_either_precision(
    task: str, precision: str, stacked_run: Path, tiny_xlm_roberta: Path, tmp_path: Path, langlift
):
    """More sentences than are labelled at once, of a hardly trained model, whose answers are nearly ties."""
    data = tmp_path / "UD_Maltese-Many"
    data.mkdir()
    for split, count in (("train", 40), ("dev", 10), ("test", 700)):
        sentences = [treebank_sentence(split, number * 7 % 700) for number in range(count)]
        (data / f"mt_many-ud-{split}.conllu").write_text("".join(sentences), encoding="utf-8")
    members = [shutil.copytree(stacked_run / "language_adapter", tmp_path / name) for name in ("one", "two")]
    verb = ["fuse", *members, "--task", "pos"] if task == "fuse" else ["task", task]
    settings_ = ["--base", tiny_xlm_roberta, "--epochs", 1, "--seeds", 3, "--precision", precision]
    trained = langlift(*verb, "--data", data, "--out", tmp_path / "run", *settings_, "--set", "reduction_factor=4")
    assert trained.code == 0, trained.err
    out = tmp_path / "again.conllu"
    again = langlift("predict", tmp_path / "run", "--text", data / "mt_many-ud-test.conllu", "--out", out)
    assert again.code == 0, again.err
    measured = (tmp_path / "run" / "seed-3" / "test_predictions.conllu").read_text(encoding="utf-8")
    assert out.read_text(encoding="utf-8") == measured


def test_without_bf16_in_hardware_predict_says_that_it_takes_float32(stacked_run, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    shutil.copytree(stacked_run, run)
    metrics = json.loads((run / "seed-1" / "metrics.json").read_text())
    (run / "seed-1" / "metrics.json").write_text(json.dumps(metrics | {"precision": "bf16"}))
    monkeypatch.setattr(prediction, "has_bf16", lambda device: False)
    assert not load_trained_task(run, seed=1).bf16
    assert "labels in float32" in capsys.readouterr().err


def test_the_seed_best_on_dev_is_taken(stacked_run: Path):
    best = max(
        (1, 2), key=lambda n: json.loads((stacked_run / f"seed-{n}/metrics.json").read_text())["dev_macro_f1"]
    )
    assert load_trained_task(stacked_run).folder.name == f"seed-{best}"
    assert load_trained_task(stacked_run / "seed-2").folder.name == "seed-2"


def test_a_seeds_folder_works_from_within(stacked_run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(stacked_run / "seed-1")
    assert load_trained_task(Path()).folder.name == "seed-1"


def test_texts_are_labelled_as_they_come(stacked_run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(learner, "INPUTS_AT_ONCE", 8)
    endless = load_trained_task(stacked_run)(repeat("Illum rajt il-futbol."))
    first = list(islice(endless, 20))
    assert len(first) == 20
    assert len({p.label for p in first}) == 1


def test_a_label_does_not_depend_on_the_neighbours(stacked_run: Path):
    classifier = load_trained_task(stacked_run)
    texts = ["Illum rajt il-vapur.", "Il-plejer.", "Il-bagalja u l-biljett " * 40]
    together = list(classifier(texts))
    for text, p in zip(texts, together, strict=True):
        alone = next(classifier([text]))
        assert alone.probabilities == pytest.approx(p.probabilities, abs=1e-5)


def test_a_fully_fine_tuned_model_predicts(tiny_bert: Path, topic_folder: Path, tmp_path: Path, langlift):
    run = tmp_path / "run"
    settings_ = [
        "--method",
        "full",
        "--epochs",
        2,
        "--lr",
        "1e-3",
        "--seeds",
        5,
        "--precision",
        "float32",
        "--json",
    ]
    trained = langlift("task", "topic", "--base", tiny_bert, "--data", topic_folder, "--out", run, *settings_)
    assert trained.code == 0, trained.err
    measured = [json.loads(line) for line in (run / "seed-5/test_predictions.jsonl").read_text().splitlines()]
    predicted = load_trained_task(run)(row["text"] for row in measured)
    assert [p.label for p in predicted] == [row["predicted"] for row in measured]


def test_lines_in_and_tsv_out(stacked_run: Path, tmp_path: Path, langlift):
    text, out = tmp_path / "text.txt", tmp_path / "out" / "labels.tsv"
    text.write_text('Illum rajt "il-futbol".\n\n  Il-vapur\tu l-ajruport.  \r\n', encoding="utf-8")
    result = langlift("predict", stacked_run, "--text", text, "--out", out, "--json")
    assert result.code == 0, result.err
    assert result.json["rows"] == 2
    assert sum(result.json["counts"].values()) == 2
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["text"] for row in rows] == ['Illum rajt "il-futbol".', "Il-vapur\tu l-ajruport."]
    for row in rows:
        shares = {label: float(row[f"probability_{label}"]) for label in ("sports", "travel")}
        assert row["predicted"] == max(shares, key=shares.get)
        assert float(row["probability"]) == max(shares.values())
    assert not list(out.parent.glob("*.partial"))


def test_tsv_in_and_json_lines_out_keep_the_columns(
    stacked_run: Path, topic_folder: Path, tmp_path: Path, langlift
):
    out = tmp_path / "labels.jsonl"
    assert langlift("predict", stacked_run, "--text", topic_folder / "test.tsv", "--out", out).code == 0
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["index_id"] for row in rows] == [str(i) for i in range(12)]
    assert {row["category"] for row in rows} == {"sports", "travel"}
    assert all(set(row["probabilities"]) == {"sports", "travel"} for row in rows)


def test_standard_input_and_output(stacked_run: Path, langlift, monkeypatch: pytest.MonkeyPatch):
    lines = io.TextIOWrapper(io.BytesIO(b"Il-futbol.\nIl-vapur.\n"))
    monkeypatch.setattr("sys.stdin", lines)
    result = langlift("predict", stacked_run, "--text", "-")
    assert result.code == 0, result.err
    assert [json.loads(line)["text"] for line in result.out.splitlines()] == ["Il-futbol.", "Il-vapur."]


def test_bad_input_keeps_what_was_done(
    stacked_run: Path, tmp_path: Path, langlift, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(learner, "INPUTS_AT_ONCE", 2)
    text, out = tmp_path / "text.txt", tmp_path / "labels.tsv"
    text.write_bytes(b"Il-futbol.\nIl-vapur.\n\xff\xfe\nIl-gowl.\n")
    result = langlift("predict", stacked_run, "--text", text, "--out", out, "--json")
    assert result.code == 2
    assert f"{text}:3: not valid UTF-8" in result.error["error"]
    assert not out.exists()
    assert len((tmp_path / "labels.tsv.partial").read_text(encoding="utf-8").splitlines()) == 1 + 2


def test_what_is_wrong_is_said_in_one_line(stacked_run: Path, tmp_path: Path, langlift):
    text = tmp_path / "text.txt"
    text.write_text("Il-futbol.\n", encoding="utf-8")
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "columns.tsv").write_text("sentence\nIl-futbol.\n")
    broken = tmp_path / "broken"
    shutil.copytree(stacked_run, broken)
    (broken / "seed-1" / "head.safetensors").write_bytes(b"junk")
    (tmp_path / "twice.tsv").write_text("text\ttext\na\tb\n")
    (tmp_path / "ours.tsv").write_text("text\tpredicted\na\tb\n")
    (tmp_path / "blank.tsv").write_text("text\tid\n \tb\n")
    (tmp_path / "table.csv").write_text("id,text\n1,Il-futbol\n")
    (tmp_path / "words.conll").write_text("Il-futbol O\n")
    (tmp_path / "words.conllu").write_text("1\tIl-futbol" + 8 * "\t_" + "\n")
    (broken / "seed-2" / "head.json").write_text("{}")
    shutil.copytree(stacked_run / "seed-2", tmp_path / "alone")
    out = tmp_path / "o.tsv"
    for arguments, said in [
        ([tmp_path / "none", "--text", text], "no such folder"),
        ([tmp_path, "--text", text], "contains no finished task run"),
        ([stacked_run, "--text", text, "--seed", 9], "no finished seed 9"),
        ([stacked_run, "--text", tmp_path / "absent.txt"], "no such file"),
        ([stacked_run, "--text", tmp_path / "empty.txt"], "no text to label"),
        ([stacked_run, "--text", tmp_path / "columns.tsv"], "no column 'text' (found: sentence)"),
        ([stacked_run, "--text", text, "--base", "langlift-nano"], "hidden_size"),
        ([broken, "--text", text, "--seed", 1], "damaged"),
        ([broken, "--text", text, "--seed", 2], "head.json is damaged"),
        ([stacked_run / "seed-2", "--text", text, "--seed", 1], "the folder of one seed"),
        ([tmp_path / "alone", "--text", text], "stacked on that language adapter"),
        ([stacked_run, "--text", tmp_path / "twice.tsv"], "the column 'text'"),
        ([stacked_run, "--text", tmp_path / "ours.tsv"], "the column 'predicted'"),
        ([stacked_run, "--text", tmp_path / "blank.tsv"], "blank.tsv:2: empty text"),
        ([stacked_run, "--text", tmp_path / "table.csv"], "table.csv"),
        ([stacked_run, "--text", tmp_path / "words.conll"], "words.conll: this kind of file"),
        ([stacked_run, "--text", tmp_path / "words.conllu"], "words.conllu: this kind of file"),
    ]:
        result = langlift("predict", *arguments, "--out", out, "--json")
        assert result.code == 2, arguments
        assert said in result.error["error"]
        assert not out.exists()
    assert langlift("predict", stacked_run, "--text", text, "--out", tmp_path / "o.xlsx").code == 2
    rows = tmp_path / "rows.tsv"
    rows.write_text("text\nIl-futbol.\n", encoding="utf-8")
    assert langlift("predict", stacked_run, "--text", rows, "--out", rows).code == 2, "never over its own input"
    assert rows.read_text(encoding="utf-8") == "text\nIl-futbol.\n"
    assert langlift("predict", stacked_run, "--text", text, "--json").code == 2, "two things on one stdout"


@given(st.binary(max_size=60), st.sampled_from(["x.txt", "x.tsv"]))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_rows_or_a_refusal(tmp_path_factory, content: bytes, name: str):
    file = tmp_path_factory.mktemp("rows") / name
    file.write_bytes(content)
    try:
        rows = list(read_rows(file))
    except InputError as error:
        assert str(file) in error.message
        return
    assert all("text" in row for row in rows)
    if name == "x.txt":
        assert all(row["text"] and row["text"] == row["text"].strip() for row in rows)
