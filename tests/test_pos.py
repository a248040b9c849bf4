"""Part-of-speech tagging: treebanks are read and merged, a run learns, and its tags are written as CoNLL-U."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from langlift.corpus.text_files import read_raw_lines
from langlift.errors import InputError
from langlift.evaluation.metrics import accuracy
from langlift.tasks.conllu import parse_conllu
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.runner import train_task
from langlift.tasks.task import TASKS
from langlift.tasks.treebanks import DEV_SEED

POS = TASKS["pos"].learner
SENTIMENT = TASKS["sentiment"].learner
RECIPE = TaskRecipe(
    method="full", epochs=4, learning_rate=3e-3, batch_size=8, seeds=(1,), precision="float32"
)  # as predict computes: a tie must not fall otherwise


def sentences(path, trees=True):
    return list(parse_conllu(read_raw_lines(path), str(path), trees))


@pytest.fixture(scope="module")
def run(tiny_bert: Path, treebank: Path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("pos-run") / "run"
    train_task("pos", str(tiny_bert), treebank, out, RECIPE)
    return out


def without(treebank: Path, folder: Path, *splits: str) -> Path:
    """A copy of the treebank that lacks some splits."""
    shutil.copytree(treebank, folder)
    for split in splits:
        (folder / f"mt_small-ud-{split}.conllu").unlink()
    return folder


def test_a_run_learns_and_writes_its_tags_as_conllu(run: Path, treebank: Path):
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["metric"] == "accuracy"
    assert metrics["baseline"] == {"most_frequent_tag": 100}, "the grammar has no ambiguous word"
    assert metrics["mean"] > 90
    assert metrics["further"] == {} and metrics["remarks"] == []
    seed = run / "seed-1"
    gold, system = sentences(treebank / "mt_small-ud-test.conllu"), sentences(seed / "test_predictions.conllu")
    assert accuracy([s.tags for s in gold], [s.tags for s in system]) == metrics["seeds"][0]
    for its_gold, its_system in zip(gold, system, strict=True):
        assert its_gold.filled({3: its_system.tags}) == its_system.lines, "nothing else has changed"
    rows = [json.loads(line) for line in (seed / "test_predictions.jsonl").read_text().splitlines()]
    assert [row["predicted"] for row in rows] == [s.tags for s in system]
    assert [row["gold"] for row in rows] == [s.tags for s in gold]
    curve = [json.loads(line) for line in (seed / "progress.jsonl").read_text().splitlines()]
    measured = [record["validation_accuracy"] for record in curve if "validation_accuracy" in record]
    assert len(measured) == RECIPE.epochs + 1, "the learning curve has every epoch and the untrained model"
    assert measured[-1] > measured[0]


def test_predict_labels_conllu_and_plain_text(run: Path, treebank: Path, tmp_path: Path, langlift):
    text, out = treebank / "mt_small-ud-test.conllu", tmp_path / "tags.conllu"
    result = langlift("predict", run, "--seed", 1, "--text", text, "--out", out, "--json")
    assert result.code == 0, result.err
    assert result.json["rows"] == 12
    assert result.json["counts"]["VERB"] > 0
    assert out.read_bytes() == (run / "seed-1" / "test_predictions.conllu").read_bytes()
    plain = tmp_path / "plain.txt"
    plain.write_text("Illum il-kelb jara.\n", encoding="utf-8")
    assert langlift("predict", run, "--seed", 1, "--text", plain, "--out", out).code == 0
    (sentence,) = sentences(out)
    assert sentence.words == ["Illum", "il-kelb", "jara", "."]
    assert sentence.lines[:2] == ["# sent_id = 1", "# text = Illum il-kelb jara."]
    assert sentence.lines[4].endswith("\tSpaceAfter=No")
    controls = tmp_path / "controls.txt"
    controls.write_text("Iva \x1c u\x1d.\n", encoding="utf-8")
    assert langlift("predict", run, "--seed", 1, "--text", controls, "--out", tmp_path / "c.conllu").code == 0
    assert sentences(tmp_path / "c.conllu")[0].words == ["Iva", "u", "."], "a word of a space would be none"
    assert langlift("predict", run, "--seed", 1, "--text", plain, "--out", tmp_path / "tags.tsv").code == 0
    header, row = (tmp_path / "tags.tsv").read_text(encoding="utf-8").splitlines()
    assert header == "text\twords\ttags\tprobabilities"
    assert row.split("\t")[2] == " ".join(sentence.tags)
    refused = langlift("predict", run, "--text", plain, "--out", tmp_path / "tags.conll", "--json")
    assert refused.code == 2 and ".conllu" in refused.error["error"]


def test_damaged_conllu_is_refused_before_anything_is_written(
    treebank: Path, tiny_bert: Path, tmp_path: Path, langlift
):
    for number, (old, new, said) in enumerate(
        [
            ("\tVERB\t", "\t_\t", "no UPOS"),
            ("\tVERB\t", " VERB ", "8 columns instead of 10"),
            ("\t0\troot", "\t1\troot", "is its own HEAD"),
        ]
    ):
        folder = without(treebank, tmp_path / f"damaged-{number}")
        file = folder / "mt_small-ud-dev.conllu"
        lines = file.read_text(encoding="utf-8").split("\n")
        place = next(i for i, line in enumerate(lines) if i > 20 and "\tVERB\t" in line)
        lines[place] = lines[place].replace(old, new)
        if "HEAD" in said:
            lines[place] = lines[place].replace("\t1\troot", f"\t{lines[place].split(chr(9))[0]}\troot")
        file.write_text("\n".join(lines), encoding="utf-8")
        out = tmp_path / "never"
        result = langlift("task", "pos", "--base", tiny_bert, "--data", folder, "--out", out, "--json")
        assert result.code == 2 and not out.exists()
        assert result.error["error"].startswith(f"{file}:{place + 1}: sentence ")
        assert "(dev-" in result.error["error"] and result.error["error"].endswith(said)


def test_a_treebank_without_dev_gives_a_tenth_of_train(treebank: Path, tmp_path: Path):
    folder = without(treebank, tmp_path / "Small", "dev")
    data = POS.read(str(folder), None, strict=False)
    assert (len(data.train), len(data.dev), len(data.test)) == (36, 4, 12)
    assert data.remarks == [
        f"Small has no dev file: 4 of its 40 training sentences (a tenth, drawn with seed {DEV_SEED}) are dev"
    ]
    assert data == POS.read(str(folder), None, strict=False)
    whole = sentences(folder / "mt_small-ud-train.conllu")
    both = [s.lines for s in (*data.train.inputs, *data.dev.inputs)]
    assert sorted(both) == sorted(s.lines for s in whole), "each sentence is in one of them"


def test_zero_shot_from_several_treebanks(treebank: Path, tiny_bert: Path, tmp_path: Path, langlift):
    other = without(treebank, tmp_path / "Other", "dev")
    target = without(treebank, tmp_path / "Target", "train", "dev")
    test = target / "mt_small-ud-test.conllu"
    test.write_text(test.read_text(encoding="utf-8").replace("\tADV\t", "\tINTJ\t", 1), encoding="utf-8")
    arguments = ["task", "pos", "--base", tiny_bert, "--data", target, "--out", tmp_path / "run", "--json"]
    arguments += ["--train-data", treebank, "--train-data", other, "--seeds", 1, "--epochs", 1]
    result = langlift(*arguments)
    assert result.code == 0, result.err
    assert result.json["train_examples"] == 40 + 36
    assert result.json["test_examples"] == 12
    assert result.json["repaired"] == {"test_of_unknown_tag": 1}
    assert len(result.json["remarks"]) == 1 and result.json["remarks"][0].startswith("Other has no dev file")
    recipe = (tmp_path / "run" / "recipe.yaml").read_text()
    assert f"train_data: {treebank.name}, Other" in recipe
    assert langlift(*arguments, "--resume").json == result.json
    strict = langlift(*[*arguments[:6], "--out", tmp_path / "strict", *arguments[8:], "--strict", "--json"])
    assert strict.code == 2
    assert "the tag 'INTJ' never occurs in the training data" in strict.error["error"]
    alone = langlift("task", "pos", "--base", tiny_bert, "--data", target, "--out", tmp_path / "no", "--json")
    assert alone.error["error"] == f"{target}: the train split is missing (found: test)"
    assert "--train-data" in alone.error["hint"]


def test_few_shot_draws_from_all_treebanks(treebank: Path, tiny_bert: Path, tmp_path: Path):
    recipe = TaskRecipe(epochs=1, seeds=(1,), train_examples=16)
    other = without(treebank, tmp_path / "Other")
    result = train_task("pos", str(tiny_bert), treebank, tmp_path / "run", recipe, train_data=[treebank, other])
    assert result.train_examples == 16
    with pytest.raises(InputError, match="Other: given twice"):
        train_task("pos", str(tiny_bert), treebank, tmp_path / "no", recipe, train_data=[treebank, other, other])


def test_sentence_tasks_merge_their_training_data_too(tmp_path: Path):
    for name, label in (("a", "positive"), ("b", "negative")):
        (tmp_path / name).mkdir()
        for split in ("train", "dev", "test"):
            (tmp_path / name / f"{split}.tsv").write_text(
                f"label\ttext\n{label}\t{split} {name}\n", encoding="utf-8"
            )
    with pytest.raises(InputError, match="only one label"):
        SENTIMENT.read(str(tmp_path / "a"), None, strict=False)
    both = [str(tmp_path / "a"), str(tmp_path / "b")]
    data = SENTIMENT.read(str(tmp_path / "a"), both, strict=False)
    assert data.train.inputs == ["train a", "train b"]
    assert data.dev.gold == ["positive", "negative"]
    assert data.test.inputs == ["test a"]
    assert data.labels == ["negative", "positive"]


def test_patience_ends_training_when_dev_gains_no_more(treebank: Path, tiny_bert: Path, tmp_path: Path):
    recipe = TaskRecipe(epochs=30, learning_rate=1e-9, seeds=(1,), patience=2, batch_size=20)
    train_task("pos", str(tiny_bert), treebank, tmp_path / "run", recipe)
    metrics = json.loads((tmp_path / "run/seed-1/metrics.json").read_text())
    assert metrics["best_step"] == 0, "a rate of almost nothing changes nothing"
    assert metrics["steps"] == 4, "two steps an epoch"


def test_the_last_weights_may_be_kept_whatever_dev_says(treebank: Path, tiny_bert: Path, tmp_path: Path):
    recipe = TaskRecipe(epochs=3, learning_rate=1e-9, seeds=(1,), batch_size=20)
    kept = {}
    for best in (True, False):
        train_task("pos", str(tiny_bert), treebank, tmp_path / str(best), replace(recipe, keep_best=best))
        kept[best] = json.loads((tmp_path / str(best) / "seed-1/metrics.json").read_text())["best_step"]
    assert kept == {True: 0, False: 6}
    assert replace(recipe, keep_best=False, patience=1).conflicts()


def test_folders_that_are_no_treebank_are_refused(treebank: Path, tmp_path: Path):
    with pytest.raises(InputError, match="no such folder"):
        POS.read(str(tmp_path / "nowhere"), None, strict=False)
    with pytest.raises(InputError, match="a folder is needed, not a file"):
        POS.read(str(treebank / "mt_small-ud-test.conllu"), None, strict=False)
    mixed = without(treebank, tmp_path / "mixed", "dev")
    shutil.copy(mixed / "mt_small-ud-test.conllu", mixed / "cy_ccg-ud-test.conllu")
    with pytest.raises(InputError, match=r"contains 2 treebanks \(cy_ccg, mt_small\)"):
        POS.read(str(mixed), None, strict=False)
    (mixed / "cy_ccg-ud-test.conllu").rename(mixed / "dev.conllu")
    with pytest.raises(InputError, match=r"contains 2 treebanks \(mt_small, without a name\)"):
        POS.read(str(mixed), None, strict=False)


def test_a_split_may_be_cut_into_files(treebank: Path, tmp_path: Path):
    folder = without(treebank, tmp_path / "cut")
    whole = (folder / "mt_small-ud-train.conllu").read_text(encoding="utf-8").split("\n\n")
    for name, part in (("a", whole[:15]), ("b", whole[15:])):
        (folder / f"mt_small-ud-train-{name}.conllu").write_text("\n\n".join([*part, ""]), encoding="utf-8")
    (folder / "mt_small-ud-train.conllu").unlink()
    data = POS.read(str(folder), None, strict=False)
    assert [s.lines for s in data.train.inputs] == [
        s.lines for s in POS.read(str(treebank), None, strict=False).train.inputs
    ]


@pytest.mark.data
def test_real_treebanks_come_back_as_they_are(data_folder: Path):
    files = sorted((data_folder / "eval" / "ud").rglob("*-test.conllu"))
    assert len(files) >= 10
    for file in files:
        lines = [line for s in sentences(file) for line in [*s.filled({}), ""]]
        assert lines == read_raw_lines(file)[:-1], file
