"""Study files: read whole or refused with every mistake and its line; and the runs they come to."""

import csv
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from test_corpus_sources import hub_folder

import langlift
from langlift.adapters.method import METHODS
from langlift.backbones.loading import load_tokenizer
from langlift.config import loading
from langlift.corpus.text_data import load_text_data
from langlift.errors import InputError
from langlift.studies import planning, pricing
from langlift.studies.checking import check_data, hub_remarks
from langlift.studies.cutting import cut_data, larger_than_data
from langlift.studies.execution import execute
from langlift.studies.folder import read_run
from langlift.studies.planning import plan_study
from langlift.studies.pricing import MOST_ROWS, STEP_SECONDS, gpus_by_name, price_plan
from langlift.studies.running import run_study
from langlift.studies.step import RUN, Input, Step, existing
from langlift.studies.study import study_text
from langlift.studies.study_file import SHIPPED, read_study
from langlift.training import cost

BUNDLED = Path(langlift.__file__).parent / "bundled"
SMOKE = SHIPPED / "smoke.yaml"
TOPIC_ALONE = {"topic": {"data": "SIB/200", "use": ["stacked"]}}


@pytest.fixture
def write(tmp_path, maltese_lines, tiny_xlm_roberta, topic_folder):
    """Write a study file with a text for Maltese and one for Swahili beside it; its base is the tiny model."""
    blocks = ["\n".join(maltese_lines[i : i + 5]) for i in range(0, 100, 5)]
    for code in ("mlt_Latn", "swh_Latn"):
        (tmp_path / f"{code}.txt").write_text("\n\n".join(blocks) + f"\n\n{code}\n")

    def written(file="study.yaml", **changes):
        content = {
            "base": str(tiny_xlm_roberta),
            "languages": ["mlt", "Swahili"],
            "data": {"text": "{language}.txt"},
            "axes": {"method": ["seq_bn", "lora"], "seed": [1, 2]},
            "score": "text",
            "tasks": {"topic": {"data": str(topic_folder), "use": ["alone", "stacked"]}},
            "adapt": {"steps": 4, "batch_size": 4},
            "task": {"epochs": 1},
        } | changes
        path = tmp_path / file
        path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}, sort_keys=False))
        return path

    return written


def planned(path):
    return plan_study(read_study(path))


def kinds(plan):
    return {kind: sum(step.kind == kind for step in plan.steps) for kind in sorted({s.kind for s in plan.steps})}


def test_the_study_in_the_documentation_can_be_read(tmp_path, monkeypatch):
    text = (Path(__file__).parent.parent / "docs" / "studies.md").read_text(encoding="utf-8")
    example = text.split("```yaml\n")[1].split("```")[0]
    for place in ("corpus/{}.txt", "eval/sib200/{}/x", "eval/sentiment/{}/x", "kg/conceptnet/{}.tsv.gz"):
        for code in ("mt", "sw") if "kg" in place else ("mlt_Latn", "swh_Latn"):
            (tmp_path / place.format(code)).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place.format(code)).touch()
    monkeypatch.setenv("LANGLIFT_DATA", str(tmp_path))
    (tmp_path / "study.yaml").write_text(example)
    study = read_study(tmp_path / "study.yaml")
    assert [str(one) for one in study.languages] == ["mlt_Latn", "swh_Latn"]
    assert set(study.tasks) == {"topic", "sentiment"} and study.values("adapt.reduction_factor") == (2, 16)
    block = text.split("### Alignment\n")[1].split("\nEvery model")[0]
    assert yaml.safe_load(block)["alignment"]["layers"] == "every"


def test_shipped_studies_are_found_by_name(langlift, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_study(Path("smoke")).name == "smoke"
    (tmp_path / "smoke").write_text("name: mine\nbase: langlift-nano\nlanguages: [mlt]\nscore: x.txt\n")
    (tmp_path / "x.txt").write_text("Il-kelb.\n")
    assert read_study(Path("smoke")).name == "mine", "a file of this name comes first"
    missing = langlift("study", "plan", "smokes", "--json")
    assert missing.code == 2 and missing.error["error"] == "smokes: no such study file"
    assert "2502.10140-three, smoke" in missing.error["hint"]


def test_the_shipped_smoke_study_has_24_runs():
    plan = planned(SMOKE)
    assert kinds(plan) == {"adapt": 6, "fuse": 2, "graph": 1, "score": 7, "task": 8}
    assert len(plan.steps) == 24 and not plan.left_out
    check_data(plan)


def test_what_several_runs_have_in_common_is_there_once(write):
    plan = planned(write())
    # Of each language: 2 methods x 2 seeds; they and the base are scored; alone x 2 seeds, stacked on each.
    assert kinds(plan) == {"adapt": 8, "score": 10, "task": 12}
    shared = planned(write(adapt={"steps": 4, "seed": 7}))
    assert kinds(shared) == {"adapt": 4, "score": 6, "task": 12}, "one adapter for all seeds of the tasks"
    stacked = [step for step in shared.steps if step.cell.get("use") == "stacked"]
    assert {step.cell["seed"] for step in stacked} == {1, 2}
    assert {one.cell["seed"] for step in stacked for one in step.needs} == {7}
    places = {step.hash: i for i, step in enumerate(plan.steps)}
    assert all(places[one.hash] < places[step.hash] for step in plan.steps for one in step.needs)
    assert len({step.name for step in plan.steps}) == len(plan.steps) == len(places)
    cell = next(step.cell for step in plan.steps if step.cell.get("use") == "alone")
    assert (cell["method"], cell["data"], cell["metric"], cell["base"]) == (
        None, None, "macro_f1", read_study(write()).bases[0],
    )  # fmt: skip


def test_hashes_say_what_a_run_is(write, tmp_path):
    before = planned(write())
    again = planned(write("other.yaml", name="another name"))
    assert [step.hash for step in before.steps] == [step.hash for step in again.steps]
    assert [step.name for step in before.steps] == [step.name for step in again.steps]
    longer = planned(write(adapt={"steps": 5, "batch_size": 4}))
    same = {step.hash for step in before.steps} & {step.hash for step in longer.steps}
    assert {step.kind for step in before.steps if step.hash in same} == {"score", "task"}
    assert all(step.cell["method"] is None for step in before.steps if step.hash in same), (
        "those without an adapter"
    )
    with (tmp_path / "mlt_Latn.txt").open("a") as file:
        file.write("Sentenza oħra.\n")
    changed = planned(write())
    assert all(
        (step.hash in {one.hash for one in before.steps})
        == (step.cell["language"] == "swh_Latn" or step.cell.get("use") == "alone")
        for step in changed.steps
    )


def test_the_hash_of_a_run_stays_what_it_was():
    """Finished studies must not begin anew with the next version: change this value only with good reason."""
    first = Step("adapt", {"steps": 5, "rate": 1e-4}, {"base": (Input("here", "ab" * 32),)}, {"seed": 1})
    second = Step("score", {"split": None}, {"trained": (first,)}, {"seed": 1})
    assert first.hash == "f84f6741eaff0dd56bf8abdb12e6ef99e5d4bdb0b8516a94698a27da3590055c"
    assert second.hash == "cf79c2f482123b3731265f6d269ccd29cc27df14e758bb4f50a41dda0081b91a"
    assert replace(first, cell={"seed": 9}).hash == first.hash
    assert first.name == f"adapt-1-{first.hash[:8]}"


def test_the_runs_of_a_study_stay_what_they_were():
    """A study that was started with an earlier version is continued: names, settings and inputs of all its runs.

    What the hashes cover, but for the content of the bundled files. A new setting of a recipe changes this value.
    """
    runs = [
        [step.name.rsplit("-", 1)[0], step.kind, dict(step.settings), {k: len(v) for k, v in step.inputs.items()}]
        for step in planned(SMOKE).steps
    ]
    digest = hashlib.sha256(json.dumps(runs, sort_keys=True).encode()).hexdigest()
    assert digest == "29742f0ce675bc5c26d8520fb5efbbfcc8d5b7d7f8742b87a33e56fe0660ca2a", runs


def test_the_hash_of_a_folder_is_that_of_its_files(tmp_path):
    for name, text in (("a/b.txt", "one"), ("c.txt", "two"), (".hidden/d.txt", "three")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert existing(str(tmp_path)).sha256 == "5cd504c9b326ca447f6f7a5027df9eb6db0ddf0b8c72e2658e5ebeac1cf32072"
    assert existing("org/data").sha256 == hashlib.sha256(b"org/data").hexdigest(), "a hub id is its own identity"


def test_a_task_that_trains_the_whole_model_has_no_method_of_an_adapter(write, topic_folder):
    """Its run was called "full, seq_bn" in tables."""
    tasks = {"topic": {"data": str(topic_folder), "use": ["alone", "full"]}}
    plan = planned(write(axes={"task.method": ["seq_bn", "mosa"]}, tasks=tasks, languages=["mlt"], score=None))
    found = sorted((s.cell["use"], str(s.cell["task.method"])) for s in plan.steps if s.kind == "task")
    assert found == [("alone", "mosa"), ("alone", "seq_bn"), ("full", "None")]


def test_any_setting_is_an_axis(write):
    plan = planned(write(axes={"lora_rank": [2, 4], "method": ["lora", "seq_bn"], "train_examples": [8, 0]}))
    lora = [step for step in plan.steps if step.kind == "adapt" and step.cell["method"] == "lora"]
    other = [step for step in plan.steps if step.kind == "adapt" and step.cell["method"] == "seq_bn"]
    assert sorted(step.cell["lora_rank"] for step in lora) == [2, 2, 4, 4]
    assert [step.cell["lora_rank"] for step in other] == [None, None], "what a method does not read makes no runs"
    tasks = [step for step in plan.steps if step.kind == "task"]
    assert {step.cell["train_examples"] for step in tasks} == {8, "all examples"}
    assert {step.settings["train_examples"] for step in tasks} == {8, 0}
    assert {step.cell["lora_rank"] for step in tasks if step.cell["method"] == "lora"} == {2, 4}
    named = planned(write(axes={"task.learning_rate": [1e-3, 1e-4], "task.train_examples": [8, 0]}))
    cells = {s.cell["task.train_examples"] for s in named.steps if s.kind == "task"}
    assert cells == {8, "all examples"}
    assert {s.settings["learning_rate"] for s in named.steps if s.kind == "task"} == {1e-3, 1e-4}
    assert {s.settings["learning_rate"] for s in named.steps if s.kind == "adapt"} == {1e-4}


def test_one_kind_of_data_has_settings_of_its_own(write):
    plan = planned(
        write(
            data={"text": "{language}.txt", "more": "bundled:mlt_Latn.txt"},
            adapt={"steps": 4, "batch_size": 4, "more": {"steps": 9, "batch_size": 2}},
            axes={"data": ["text", "more", "text+more"]},
        )
    )
    found = {
        (s.cell["data"], s.settings["steps"], s.settings["batch_size"]) for s in plan.steps if s.kind == "adapt"
    }
    assert found == {("text", 4, 4), ("more", 9, 2), ("text+more", 4, 4)}


def test_alignment_compares_languages_and_models(write, tiny_xlm_roberta, tiny_bert, tmp_path):
    bases = [str(tiny_xlm_roberta), str(tiny_bert)]
    alignment = {"text": "{language}.txt", "with": ["mlt", bases[0]], "sentences": 20}
    path = write(base=bases, axes={"seed": [1, 2]}, alignment=alignment, score=None, tasks=None)
    plan = planned(path)
    found, codes = [step for step in plan.steps if step.kind == "alignment"], ("mlt_Latn", "swh_Latn")
    cells = {(s.cell["language"], s.cell["base"], s.cell["method"], s.cell["with"], s.cell["seed"]) for s in found}
    # Swahili beside Maltese in each model; each model but the first base beside it, in both languages.
    assert cells == {
        *(("swh_Latn", base, None, "mlt_Latn", None) for base in bases),
        *(("swh_Latn", base, "seq_bn", "mlt_Latn", seed) for base in bases for seed in (1, 2)),
        *((code, base, "seq_bn", bases[0], seed) for code in codes for base in bases for seed in (1, 2)),
        *((code, bases[1], None, bases[0], None) for code in codes),
    }  # fmt: skip
    check_data(plan)
    price = price_plan(plan, calibrate=False)
    assert all(one.tokens > 0 and one.disk_bytes == 0 for one in price.runs if one.kind == "alignment")
    (tmp_path / "swh_Latn.txt").write_text((tmp_path / "swh_Latn.txt").read_text() + "one more\n")
    with pytest.raises(InputError, match="not parallel line by line"):
        check_data(planned(path))


def test_a_study_without_data_measures_bases_alone(write, topic_folder):
    plan = planned(write(data=None, axes=None, adapt=None, score={"text": "{language}.txt", "sentences": 3}))
    assert kinds(plan) == {"score": 2, "task": 2}
    assert {step.cell["use"] for step in plan.steps if step.kind == "task"} == {"alone"}
    with pytest.raises(InputError, match=r"study\.yaml:\d+: no data to train on"):
        read_study(write(data=None, score=None))


def test_a_task_may_be_for_some_languages(write, topic_folder):
    data = {"data": str(topic_folder), "languages": ["Swahili"], "use": ["alone"]}
    for folders in (str(topic_folder), {"mlt": str(topic_folder), "swh": str(topic_folder)}):
        plan = planned(write(tasks={"topic": {**data, "data": folders}}))
        assert {step.cell["language"] for step in plan.steps if step.kind == "task"} == {"swh_Latn"}
    with pytest.raises(InputError, match=r"Hausa \(hau_Latn\) is not one of the study's languages"):
        read_study(write(tasks={"topic": {**data, "languages": ["hau"]}}))


def test_behaviour_is_an_axis_of_two_columns(write):
    plan = planned(write(axes={"behaviour": ["corrected", "published"], "method": ["seq_bn_inv"]}))
    adapters = {step.cell["behaviour"]: step for step in plan.steps if step.kind == "adapt"}
    assert adapters["published"].published is True and adapters["corrected"].published is None
    assert adapters["published"].settings["inverse_at_head"] is False
    assert adapters["corrected"].settings["inverse_at_head"] is True
    scores = {step.cell["behaviour"]: step.settings["variant"] for step in plan.steps if step.kind == "score"}
    assert scores == {"published": "published", "corrected": "default"}


def test_what_both_behaviours_share_is_corrected_whatever_comes_first(write):
    plan = planned(write(axes={"behaviour": ["published", "corrected"], "method": ["seq_bn_inv"]}))
    alone = [step for step in plan.steps if step.kind == "task" and step.cell["use"] == "alone"]
    assert alone and all(step.cell["behaviour"] == "corrected" and step.published is None for step in alone)


def test_scores_within_words_are_per_character(write):
    plan = planned(write(score={"text": "text", "variant": ["default", "within_word_l2r"]}))
    metrics = {(s.settings["variant"], s.cell["metric"]) for s in plan.steps if s.kind == "score"}
    assert metrics == {("default", "pseudo_perplexity"), ("within_word_l2r", "per_character")}


def test_families_train_one_model_for_all_languages(write):
    plan = planned(
        write(
            family="Both", axes={"alpha": [0.1, 0.4], "vocab.size": ["none", 300]}, adapt=None,
            **{"adapt-family": {"steps": 4}},
        )
    )  # fmt: skip
    assert kinds(plan) == {"family": 4, "score": 10, "task": 10, "vocab": 1}
    families = [step for step in plan.steps if step.kind == "family"]
    assert {(s.cell["alpha"], s.cell["vocab.size"]) for s in families} == {
        (0.1, "none"), (0.1, 300), (0.4, "none"), (0.4, 300),
    }  # fmt: skip
    assert all(step.cell["language"] == "Both" and step.cell["method"] == "full" for step in families)
    assert {"data:mlt_Latn", "data:swh_Latn"} <= set(families[0].inputs)


def test_every_mistake_is_told_at_once_with_its_line(tmp_path, topic_folder, monkeypatch, langlift):
    monkeypatch.delenv("NOWHERE", raising=False)
    (tmp_path / "a.txt").write_text("x\n")
    path = tmp_path / "study.yaml"
    path.write_text(f"""\
nmae: wrong
preset: 9999.1
languages: [mlt, mt, xqz]
data:
  text: missing-{{language}}.txt
  graph: conceptnet:$NOWHERE/x.tsv
  mixed: [a.txt, cldr]
  odd: a{{script}}.txt
axes:
  data: [text, grahp]
  method: [seq_bm]
  seed: [1, x]
  learning_rate: [1e-3]
  alpha: [0.1]
  lora_rnak: [4]
  lora_rank: [0]
  max_bytes: [big]
  noise: []
score: {{text: text, variant: best, sentnces: 3}}
tasks:
  topic: {{data: {topic_folder}, use: [stacked, fuzed]}}
  sentimnt: x
  ner: nowhere.txt
adapt: {{steps: 0, method: seq_bn, stepz: 3}}
adapt-family: {{steps: 5}}
vocab: {{size: 500}}
seed: 1
seed: 2
""")
    result = langlift("study", "plan", path, "--json")
    assert result.code == 2
    told = result.error["error"]
    for expected in (
        f"{path}:1: unknown key 'nmae' (did you mean name?)",
        f"{path}:2: --preset 9999.1: no such preset",
        f"{path}:3: Maltese (mlt_Latn) is listed twice",
        f"{path}:3: unknown language 'xqz'",
        f"{path}:5: {tmp_path}/missing-mlt_Latn.txt: no such file or folder",
        f"{path}:6: the environment variable NOWHERE is not set",
        f"{path}:7: files cannot be mixed with sources to build from",
        f"{path}:8: unknown placeholder {{script}} (language, iso639_3, iso639_1)",
        f"{path}:10: data 'grahp' is not defined under data:",
        f"{path}:11: method must be one of {', '.join(METHODS)}, not 'seq_bm'",
        f"{path}:12: seed must be a whole number, not 'x'",
        f"{path}:13: several steps have a setting 'learning_rate': write adapt.learning_rate or",
        f"{path}:14: unknown axis 'alpha'",
        f"{path}:15: unknown axis 'lora_rnak' (did you mean lora_rank?)",
        f"{path}:16: lora_rank must be at least 1, not 0",
        f"{path}:17: max_bytes 'big' is not a size",
        f"{path}:18: the axis 'noise' is empty",
        f"{path}:19: variant must be one of default, within_word_l2r, published, not 'best'",
        f"{path}:19: unknown key of score 'sentnces' (did you mean sentences?)",
        f"{path}:21: use must be one of alone, stacked, fused, full, not 'fuzed'",
        f"{path}:22: unknown task 'sentimnt' (did you mean sentiment?)",
        f"{path}:23: {tmp_path}/nowhere.txt: no such file or folder",
        f"{path}:24: steps must be at least 1, not 0",
        f"{path}:24: unknown setting 'stepz' (did you mean steps?)",
        f"{path}:25: without 'family:' the settings are those of adapt:",
        f"{path}:26: a vocabulary is for families ('family:')",
        f"{path}:27: unknown key 'seed'",
        f"{path}:28: the key 'seed' is given twice",
        f"{path}: no base",
    ):
        assert expected in told, expected
    assert "\n" not in told
    path.write_text("axes: {seed: [1], seed: [2]}\n")
    with pytest.raises(InputError, match="the axis 'seed' is given twice"):
        read_study(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"languages": None}, "no languages"),
        ({"data": None}, "no data"),
        ({"score": None, "tasks": None}, "nothing would be measured"),
        ({"base": "./none"}, "./none: no such model folder"),
        ({"languages": ["Manxx"]}, "did you mean Manx (glv_Latn)"),
        ({"tasks": {"topic": {"data": "."}}}, "the train split is missing"),
        ({"tasks": {"topic": {"data": "SIB", "use": ["fused"]}}}, "fused needs adapters on at least two data"),
        ({"axes": {"seed": [1, 1]}}, "the axis 'seed' has the same value twice"),
        ({"score": {"text": {"mlt": "mlt_Latn.txt"}}}, "score has nothing for swh_Latn"),
        ({"axes": {"data": ["text+text"]}}, "'text+text' names the same data twice"),
        ({"alignment": "text"}, "alignment must contain 'key: value' lines"),
        ({"alignment": {"text": "{language}.txt"}}, "alignment has no with"),
        ({"alignment": {"text": "{language}.txt", "with": "eng"}}, "eng_Latn.txt: no such file"),
        ({"alignment": {"text": {"mlt": "mlt_Latn.txt"}, "with": "swh"}}, "alignment has nothing for swh_Latn"),
        ({"alignment": {"text": "{language}.txt", "with": "nano"}}, "neither a base of this study nor a language"),
        ({"alignment": {"text": "{language}.txt", "with": "swh", "layers": 2}}, "layers must be one of"),
        (
            {"alignment": {"text": "{language}.txt", "with": "swh", "sentences": 0}},
            "sentences must be at least 1, not 0",
        ),
        ({"axes": ["seed"]}, "axes must contain 'key: value' lines"),
    ],
)
def test_what_cannot_be_is_refused(write, changes, message):
    path = write(**changes)
    with pytest.raises(InputError) as refusal:
        check_data(planned(path))
    assert message in refusal.value.message


def test_damaged_data_of_all_languages_is_told_before_anything_runs(write, tmp_path, topic_folder):
    (tmp_path / "mlt_Latn.txt").write_text("One line.\n")
    (tmp_path / "swh_Latn.txt").write_bytes(b"good\nb\xffd\n")
    bad = tmp_path / "topic"
    bad.mkdir()
    for split in ("train", "dev", "test"):
        (bad / f"{split}.tsv").write_text("index_id\tcategory\ttext\n1\tsports\n")
    path = write(tasks={"topic": {"data": {"mlt": str(bad), "swh": str(topic_folder)}}})
    with pytest.raises(InputError) as refusal:
        check_data(planned(path))
    for expected in ("mlt_Latn.txt: too little text", "swh_Latn.txt:2: not valid UTF-8", "topic/train.tsv:2"):
        assert expected in refusal.value.message


def test_what_makes_no_sense_is_left_out_and_said(write):
    plan = planned(
        write(
            axes={"objective": ["mlm", "targeted"], "method": ["lora", "seq_bn"], "data": ["text", "more"]},
            data={"text": "{language}.txt", "more": {"mlt": "mlt_Latn.txt"}},
            tasks={"topic": {"data": "SIB/200", "use": ["fused"]}},
        )
    )
    assert "mlt_Latn, swh_Latn: targeted on 'text', which has no triples" in plan.left_out
    assert "swh_Latn: no data 'more'" in plan.left_out
    assert "mlt_Latn: adapters of lora cannot be fused" in plan.left_out
    assert "swh_Latn: fusion needs two adapters, and there is only one" in plan.left_out
    assert kinds(plan)["fuse"] == 1


def test_the_resolved_study_is_the_same_study(write, tmp_path, monkeypatch, topic_folder):
    monkeypatch.setenv("TOPICS", str(topic_folder.parent))
    path = write(
        axes={"max_bytes": ["1KB", 2000], "behaviour": ["published", "corrected"], "data": ["text+more"]},
        data={"text": "{language}.txt", "more": "bundled:mlt_Latn.txt"},
        tasks={"topic": {"data": "$TOPICS/" + topic_folder.name, "use": ["alone"]}},
        score={"text": "{language}.txt", "variant": ["default", "within_word_l2r"], "sentences": 3},
        preset="2502.10140",
    )
    elsewhere = tmp_path / "elsewhere" / "study.yaml"
    elsewhere.parent.mkdir()
    elsewhere.write_text(study_text(read_study(path)))
    assert [s.hash for s in planned(path).steps] == [s.hash for s in planned(elsewhere.parent).steps]
    assert study_text(read_study(elsewhere)) == elsewhere.read_text()
    assert {s.cell["max_bytes"] for s in planned(path).steps if s.kind == "cut"} == {1000, 2000}


def test_cut_data_keep_dev_and_test_and_lie_in_one_another(tmp_path, maltese_lines):
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join("\n".join(maltese_lines[i : i + 4]) for i in range(0, 200, 4)))
    small, large, all_of_it = (
        cut_data(text, tmp_path / str(size), size) for size in (500, 2000, 10**9)
    )  # fmt: skip
    read = {
        (size, split): (tmp_path / size / f"{split}.jsonl").read_text().splitlines()
        for size in ("500", "2000", "1000000000")
        for split in ("train", "dev", "test")
    }
    assert set(read["500", "train"]) < set(read["2000", "train"]) < set(read["1000000000", "train"])
    assert read["500", "dev"] == read["2000", "dev"] and read["500", "test"] == read["1000000000", "test"]
    assert 400 < small.bytes <= 500 and 1800 < large.bytes <= 2000
    assert all_of_it.sentences == all_of_it.of_sentences == small.of_sentences == len(read["1000000000", "train"])
    assert small.bytes == sum(len(json.loads(row)["text"].encode()) + 1 for row in read["500", "train"])
    again = cut_data(tmp_path / "2000", tmp_path / "again", 500)
    assert again.bytes <= 500 and set((tmp_path / "again/train.jsonl").read_text().splitlines()) < set(
        read["2000", "train"]
    )


def test_a_corpus_is_built_large_enough_for_the_largest_cell(write, tmp_path, monkeypatch):
    text = tmp_path / "long.txt"
    words = ["kelb", "qattus", "tifel", "ktieb", "ġnien", "baħar", "triq", "dar"]
    lines = (" ".join(words[(i * j) % 8] + str(i) for j in range(7)) + "." for i in range(1500))
    text.write_text("\n\n".join(lines))
    changes = {"languages": ["mlt"], "data": {"text": "file:long.txt"}, "score": None, "tasks": TOPIC_ALONE}
    budgets = []
    for sizes in (["700 MB"], ["3 GB", "10 GB"]):
        steps = planned(write(axes={"max_bytes": sizes}, **changes)).steps
        budgets += [one.settings.get("max_bytes") for one in steps if one.kind == "corpus"]
    assert budgets == [None, 12_750_000_000], "train is 80 % of it; the usual size is enough for 700 MB"
    monkeypatch.setattr(planning, "MAX_BYTES", 2_000)
    plan = planned(write(axes={"max_bytes": [10_000, 20_000, 10**9]}, **changes))
    (remark,) = larger_than_data(plan.steps)
    assert f"max_bytes 1,000,000,000 is larger than the data (at most {text.stat().st_size:,} bytes" in remark
    plan = planned(write(axes={"max_bytes": [10_000, 20_000]}, **changes))
    building = [one for one in plan.steps if one.kind in ("corpus", "cut")]
    assert all(execute(one, tmp_path / "runs").ok for one in building)
    found = {one.cell.get("max_bytes"): read_run(one.folder_in(tmp_path / "runs")).value for one in building}
    assert found[None] < 25_500 < text.stat().st_size, "no more is read than needed"
    assert 9_800 < found[10_000] <= 10_000 and 19_000 < found[20_000] <= 20_000
    assert larger_than_data(plan.steps, tmp_path / "runs") == []


def test_a_cell_larger_than_its_data_is_said(write, tmp_path, langlift):
    size = (tmp_path / "mlt_Latn.txt").stat().st_size
    path = write(axes={"max_bytes": [1000, size - 1, size + 1]}, languages=["mlt"], score=None, tasks=TOPIC_ALONE)
    shown = langlift("study", "plan", path, "--no-calibrate", "--json")
    assert [one for one in shown.json["remarks"] if "larger" in one] == [
        f"mlt_Latn, text: max_bytes {size + 1:,} is larger than the data (at most {size:,} bytes to train on)"
    ]
    cuts = [one for one in planned(path).steps if one.kind == "cut"]
    assert all(execute(one, tmp_path / "runs").ok for one in cuts)
    assert len(larger_than_data(cuts, tmp_path / "runs")) == 2, "what dev and test take is known now"


def test_prices_add_up_and_need_no_model(write):
    plan = planned(write())
    price = price_plan(plan, gpus=gpus_by_name(["a100", "H100"]), calibrate=False)
    assert [one.name for one in price.runs] == [step.name for step in plan.steps]
    assert price.total.seconds is None and not any("unknown without it" in remark for remark in price.remarks)
    timed = price_plan(plan, {plan.steps[0].hash}, gpus_by_name(["a100", "H100"]))
    assert timed.runs[0].finished and timed.runs[0].seconds is None
    rest = timed.runs[1:]
    assert [one.disk_bytes for one in rest] == [one.disk_bytes for one in price.runs[1:]], "the same weights train"
    assert all(one.tokens > 0 and one.flops > 0 and one.seconds > 0 for one in rest)
    assert timed.total.tokens == sum(one.tokens for one in rest)
    assert timed.total.seconds == pytest.approx(sum(one.seconds for one in rest))
    assert (
        timed.total.gpu_seconds["A100"]
        >= timed.total.gpu_seconds["H100"]
        >= STEP_SECONDS * sum(one.steps for one in rest)
    )
    adapt = next(one for one in rest if one.kind == "adapt")
    step = next(step for step in plan.steps if step.name == adapt.name)
    text = load_text_data(Path(step.inputs["data:mlt_Latn"][0].path))
    ids = load_tokenizer(read_study(write()).bases[0])(text.train)["input_ids"]
    # 4 steps of 4 sentences, and a validation before the first and at each of them.
    expected = sum(map(len, ids)) / len(ids) * (4 * 4 + 5 * len(text.dev))
    assert step.kind == "adapt" and adapt.tokens == pytest.approx(expected, rel=0.01)
    few = price_plan(planned(write(task={"min_steps": 900})), calibrate=False)
    assert {one.steps for one in few.runs if one.kind == "task"} == {900}
    with pytest.raises(InputError, match="--gpu Z80: not in the table"):
        gpus_by_name(["Z80"])
    with (Path(langlift.__file__).parent / "facts" / "gpus.csv").open(encoding="utf-8") as file:
        assert all(float(gpu["tflops"]) > 0 and gpu["source"] for gpu in csv.DictReader(file))


def test_the_bundled_base_is_priced_by_its_config():
    price = price_plan(planned(SMOKE), calibrate=False)
    adapt = next(one for one in price.runs if one.kind == "adapt")
    # Six layers of 12 x 256^2 weights, and the head for 15 % of the tokens; forward, and backward through them.
    assert adapt.flops / adapt.tokens == pytest.approx(4 * (6 * 12 + 0.15 * 63.5) * 256**2, rel=0.5)
    assert adapt.disk_bytes == 4 * 6 * (2 * 256 * 64 + 64 + 256)  # the preset reduces by 4
    assert price.total.seconds is None


def test_a_list_is_an_axis_in_one_piece(write):
    plan = planned(write(axes={"method": ["lora", "seq_bn"], "leave_out": [[], [1], "0,1"]}, tasks=None))
    cells = [(s.cell["method"], s.cell["leave_out"]) for s in plan.steps if s.kind == "adapt"]
    assert set(cells) == {("lora", None), ("seq_bn", "none"), ("seq_bn", "1"), ("seq_bn", "0,1")}
    assert len({s.name for s in plan.steps}) == len(plan.steps)


def test_another_draw_of_dev_examples_is_another_run(write):
    off, on = planned(write()), planned(write(task={"epochs": 1, "validation_examples": 5}))
    tasks = [{s.name: s for s in plan.steps if s.kind == "task"} for plan in (off, on)]
    assert all(step.settings["validation_examples"] == 5 for step in tasks[1].values())
    assert not tasks[0].keys() & tasks[1].keys()
    adapters = [{s.hash for s in plan.steps if s.kind == "adapt"} for plan in (off, on)]
    assert adapters[0] == adapters[1]


def test_the_size_of_an_adapter_is_in_its_price(write):
    axes = {"method": ["seq_bn"], "adapt.reduction_factor": [2, 8]}
    plan = planned(write(base="FacebookAI/xlm-roberta-base", axes=axes, tasks=None))
    prices = price_plan(plan, calibrate=False).runs
    pairs = zip(plan.steps, prices, strict=True)
    by_factor = {
        step.cell["adapt.reduction_factor"]: one.disk_bytes for step, one in pairs if step.kind == "adapt"
    }
    assert by_factor[2] == pytest.approx(4 * by_factor[8])


def test_a_base_that_is_not_here_and_in_no_table_has_no_price(write):
    price = price_plan(planned(write(base="someone/some-model")), calibrate=False)
    assert price.total.flops is None and any("size is unknown" in remark for remark in price.remarks)


def test_a_base_that_cannot_be_had_is_looked_for_once(write, langlift, tmp_path, monkeypatch):
    asked, step_time = [], pricing.step_time
    monkeypatch.setattr(
        pricing, "step_time", lambda base, *a, **more: asked.append(base) or step_time(base, *a, **more)
    )
    file = write(base="FacebookAI/xlm-roberta-base", axes={"method": ["seq_bn", "lora", "full"]})
    price = price_plan(planned(file))
    assert asked == ["FacebookAI/xlm-roberta-base"] and price.total.flops > 0
    for base, hint in (("FacebookAI/xlm-roberta-base", "check the network"), ("langlift-nanno", "langlift-nano?")):
        refused = langlift("study", "run", write(base=base), "--out", tmp_path / "out", "--json")
        assert refused.code == 2 and f"{base}: no such folder" in refused.error["error"]
        assert hint in refused.error["hint"]
        assert not (tmp_path / "out").exists(), "before the first run"


def test_presets_are_parsed_once(write, monkeypatch):
    parsed = []
    loading._parsed.cache_clear()
    monkeypatch.setattr(
        yaml, "load", lambda text, load=yaml.load, **more: parsed.append(text) or load(text, **more)
    )
    plan = planned(
        write(preset="2502.10140", axes={"method": ["seq_bn", "lora"], "behaviour": ["published", "corrected"]})
    )
    assert len(plan.steps) > 20 and len(parsed) == len(set(parsed)) == 2


def test_a_folder_in_the_hubs_format_is_read_here(write, tmp_path):
    sets = {"train": ["sports", "travel"] * 4, "validation": ["sports", "travel"], "test": ["sports", "travel"]}
    rows = {
        split: [{"category": label, "text": f"{label} {split} {i}"} for i, label in enumerate(labels)]
        for split, labels in sets.items()
    }
    hub_folder(tmp_path / "hub" / "Davlan" / "sib200", {"mlt_Latn": rows, "swh_Latn": rows})
    tasks = {"topic": {"data": "hub/Davlan/sib200:{language}", "use": ["alone"]}}
    plan = planned(write(data=None, axes=None, score=None, adapt=None, tasks=tasks))
    check_data(plan)
    assert len(plan.steps) == 2 and hub_remarks(plan.steps) == [], "the configuration is a part of the hash"
    tasks["topic"]["data"] = {"mlt": "hub/Davlan/sib200:som_Latn"}
    with pytest.raises(InputError, match="no configuration 'som_Latn'"):
        check_data(planned(write(data=None, axes=None, score=None, adapt=None, tasks=tasks)))


def test_a_published_base_is_priced_by_its_shape(write):
    plan = planned(write(base="FacebookAI/xlm-roberta-base", axes={"method": ["seq_bn", "full"]}, tasks=None))
    price = price_plan(plan, calibrate=False)
    by_method = {
        step.cell["method"]: one
        for step, one in zip(plan.steps, price.runs, strict=True)
        if step.kind == "adapt" and step.cell["language"] == "mlt_Latn"
    }
    assert by_method["seq_bn"].disk_bytes == pytest.approx(4 * 894_528, rel=0.02)
    assert by_method["full"].disk_bytes == pytest.approx(4 * 278e6, rel=0.01)
    assert by_method["full"].flops > by_method["seq_bn"].flops > 0
    assert price.total.seconds is None


def test_a_plan_is_summed_up_to_fit_a_screen(write, langlift):
    plan = planned(write())
    price = price_plan(plan, {plan.steps[0].hash}, gpus_by_name(["a100"]), calibrate=False, hour=2.0)
    rows = {(one.what, one.language, one.method): one for one in price.summary}
    assert rows["adapt", "swh_Latn", "lora"].runs == 2 and len(rows) == len(price.summary) <= MOST_ROWS + 1
    assert rows["task topic", "mlt_Latn", "seq_bn"].runs == 4, "alone and stacked, with two seeds"
    total = price.summary[-1]
    assert (total.what, total.runs, total.finished, total.languages) == ("all", len(plan.steps), 1, 2)
    assert sum(one.runs for one in price.summary[:-1]) == total.runs
    assert total is price.total and total.gpu_seconds["A100"] > 0
    assert price.gpu_prices == {"A100": pytest.approx(2.0 * total.gpu_seconds["A100"] / 3600)}
    shown = langlift("study", "plan", write(), "--no-calibrate", "--gpu", "A100", "--price", "2")
    assert "swh_Latn" in shown.out and "on A100" in shown.out and "at the price given" in shown.err
    assert plan.steps[0].hash[:8] not in shown.out
    full = langlift("study", "plan", write(), "--no-calibrate", "--full").out
    assert all(step.hash[:8] in "".join(full.split()).replace("│", "") for step in plan.steps)
    alone = langlift("study", "plan", write(), "--no-calibrate", "--price", "2", "--json")
    assert alone.code == 2 and "--gpu A100" in alone.error["hint"]


def test_many_languages_are_one_row_for_each_method(monkeypatch):
    monkeypatch.setenv("CONCEPTNET", str(BUNDLED / "mlt_Latn_graph.tsv"))
    price = price_plan(planned(SHIPPED / "2502.10140-three.yaml"), gpus=gpus_by_name(["A100"]), calibrate=False)
    assert len(price.summary) <= MOST_ROWS + 1
    assert {(one.what, one.method) for one in price.summary} >= {("adapt", "full"), ("fuse ner", "seq_bn_inv")}
    assert all(one.languages == 3 and one.language is None for one in price.summary)


def test_the_disk_is_that_of_what_runs_leave(write, tmp_path):
    """Of the smallest of each kind: adapters, heads, copies of adapters, the attention of a fusion."""
    changes = {
        "languages": ["mlt"],
        "data": {"text": "{language}.txt", "more": "swh_Latn.txt"},
        "axes": {"method": ["seq_bn", "full"], "data": ["text", "more"]},
        "adapt": {"steps": 1, "batch_size": 2, "validation_examples": 2},
        "task": {"epochs": 1, "train_examples": 8},
        "score": None,
    }
    tasks = {"topic": {"data": yaml.safe_load(write().read_text())["tasks"]["topic"]["data"]}}
    tasks["topic"]["use"] = ["alone", "stacked", "fused", "full"]
    plan = planned(write(tasks=tasks, **changes))
    runs = tmp_path / "runs"
    for step, one in zip(plan.steps, price_plan(plan, calibrate=False).runs, strict=True):
        assert execute(step, runs).ok
        weights = [path.stat().st_size for path in step.folder_in(runs).rglob("*.safetensors")]
        assert one.disk_bytes == pytest.approx(sum(weights), rel=0.35, abs=12_000), one.name


def test_whole_models_may_be_dropped_and_come_back(write, tmp_path, capsys):
    changes = {"languages": ["mlt"], "axes": {"method": ["full"]}, "score": {"text": "text", "sentences": 2}}
    path = write(keep="adapters", tasks=None, **changes)
    plan, out = planned(path), tmp_path / "out"
    price = price_plan(plan, calibrate=False)
    assert price.total.disk_bytes == 0 and any("removed as soon as no run needs" in one for one in price.remarks)
    result = run_study(plan, out)
    assert not result.failures and not list(out.rglob("*.safetensors")), "and what needed it was run before"
    said = capsys.readouterr().err
    assert "started adapt-mlt_Latn-full-text-1" in said and "finished adapt-mlt_Latn-full-text-1" in said
    adapted = next(step for step in plan.steps if step.kind == "adapt").folder_in(out / "runs")
    loss = read_run(adapted).result["value"]
    again = planned(write(keep="adapters", tasks=None, **changes | {"score": {"text": "text", "sentences": 3}}))
    assert run_study(again, out, set_aside=True).finished_now == 3, "the base's score, the model, and its score"
    assert read_run(adapted).result["value"] == loss and not list((out / "runs").rglob("*.safetensors"))
    kept = planned(write(keep="models", tasks=None, **changes))
    assert run_study(kept, tmp_path / "kept").finished_now == 3 and list(
        (tmp_path / "kept").rglob("*.safetensors")
    )
    assert read_study(tmp_path / "kept").keep == "models" and read_study(out).keep == "adapters"
    with pytest.raises(InputError, match="keep must be one of models, adapters, not 'nothing'"):
        read_study(write(keep="nothing"))


def test_time_is_that_of_a_machine_that_does_nothing_else(write, monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (99.5, 0.0, 0.0))
    plan = planned(write(languages=["mlt"], axes={"method": ["seq_bn"]}, tasks=None))
    threads, step_time = [], pricing.step_time

    def counting(*arguments, **more):
        threads.append(torch.get_num_threads())
        return step_time(*arguments, **more)

    monkeypatch.setattr(pricing, "step_time", counting)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        busy = price_plan(plan)
        assert torch.get_num_threads() == 2 and set(threads) == {1}, "two would wait for each other"
    finally:
        torch.set_num_threads(before)
    assert any("machine was busy (load 99.5" in one for one in busy.remarks)
    clock = iter(range(0, 10**9, 50))  # the process waits for 50 s whenever it looks at its watch
    monkeypatch.setattr(cost.time, "monotonic", lambda: float(next(clock)))
    waiting = price_plan(plan)
    assert 0 < waiting.total.seconds < 10 * max(busy.total.seconds, 1.0)


def test_a_missing_conceptnet_is_one_error(monkeypatch, tmp_path):
    for value, message in ((None, "variable CONCEPTNET is not set"), ("none.gz", "none.gz: no such file")):
        monkeypatch.delenv("CONCEPTNET", raising=False)
        if value:
            monkeypatch.setenv("CONCEPTNET", str(tmp_path / value))
        with pytest.raises(InputError) as refusal:
            read_study(SHIPPED / "2502.10140.yaml")
        assert refusal.value.message.count("2502.10140.yaml:") == 1 and message in refusal.value.message
        assert "the first lines of" in refusal.value.hint


@pytest.mark.parametrize(
    "name", [pytest.param("2502.10140", marks=pytest.mark.slow), "2502.10140-three", "2407.01406"]
)
def test_the_papers_need_no_private_folder(name, monkeypatch):
    monkeypatch.setenv("CONCEPTNET", str(BUNDLED / "mlt_Latn_graph.tsv"))
    monkeypatch.delenv("LANGLIFT_DATA", raising=False)
    plan = planned(SHIPPED / f"{name}.yaml")
    check_data(plan)
    remarks = hub_remarks(plan.steps)
    assert "unimelb-nlp/wikiann" in remarks[0] and "DGurgurov/maltese_sa" in remarks[0]
    gated = [one for one in remarks if "hf auth login" in one]
    assert len(gated) == (name != "2407.01406") and all("openlanguagedata/flores_plus" in one for one in gated)


def test_flores_is_scored_and_kept_out_of_corpora(write, tmp_path):
    sentences = [f"Din hija sentenza tal-prova bin-numru {i}." for i in range(4)]
    flores = {"mlt_Latn": {"devtest": [{"id": i, "text": text} for i, text in enumerate(sentences)]}}
    folder = hub_folder(tmp_path / "flores", flores)
    texts = [f"L-għasafar numru {i} telqu kmieni filgħodu." for i in range(60)] + sentences[:2]
    (tmp_path / "web.txt").write_text("\n\n".join(texts), encoding="utf-8")
    path = write(languages=["mlt"], data={"text": "file:web.txt"}, score=f"flores={folder}", tasks=None)
    plan = planned(path)
    built = [step for step in plan.steps if step.kind == "corpus"]
    assert [one.cell["data"] for one in built] == ["flores", "text"] and built[1].needs == [built[0]]
    for step in built:
        assert execute(step, tmp_path / "runs").ok
    text = load_text_data(built[1].output_in(tmp_path / "runs"))
    assert not {*text.train, *text.dev, *text.test} & set(sentences)
    score = next(step for step in plan.steps if step.kind == "score")
    assert execute(score, tmp_path / "runs").ok
    assert read_run(score.folder_in(tmp_path / "runs")).result["sentences"] == 4
    with pytest.raises(InputError, match="flores is only scored"):
        read_study(write(data={"text": "flores"}))


def test_the_folders_of_runs_are_listed_once_for_all_runs(tmp_path, monkeypatch):
    """Listing them for each unfinished one took minutes in a study of 10,000."""
    steps = [Step("score", {"number": number}, {}, {"language": "mlt_Latn"}) for number in range(20)]
    runs = tmp_path / "runs"
    assert steps[0].folder_in(runs) == runs / steps[0].name, "there is no folder yet"
    for step in steps[:10]:
        (runs / step.name.replace("-mlt", "-first-name-mlt")).mkdir(parents=True)
    listed, iterdir = [], Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: listed.append(path) or iterdir(path))
    assert [step.folder_in(runs).name for step in steps] == [
        *(step.name.replace("-mlt", "-first-name-mlt") for step in steps[:10]),
        *(step.name for step in steps[10:]),
    ]
    assert listed == [runs]
    later = runs / steps[10].name.replace("-mlt", "-of-another-process-mlt")
    later.mkdir()
    os.utime(runs, ns=(1, 1))
    assert steps[10].folder_in(runs) == later


def test_a_folder_with_the_same_eight_digits_is_another_runs(tmp_path):
    """Among 10,000 runs of a kind two agree in them with a probability of one in a hundred."""
    step = Step("score", {}, {}, {"language": "mlt_Latn"})
    other = tmp_path / step.name.replace("mlt", "swh")
    other.mkdir()
    assert step.folder_in(tmp_path) == other, "unfinished, or begun under another name"
    (other / RUN).write_text(json.dumps({"hash": step.hash[:8] + "0" * 56}), encoding="utf-8")
    assert step.folder_in(tmp_path) == tmp_path / step.name
