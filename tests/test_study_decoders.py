"""Studies of decoders: planned by their configuration alone, adapted, scored, tested and reported."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from langlift.errors import InputError
from langlift.studies import pricing, study
from langlift.studies.checking import check_data
from langlift.studies.folder import RUN, RUNS
from langlift.studies.planning import StudyPlan, plan_study
from langlift.studies.pricing import price_plan
from langlift.studies.step import Step
from langlift.studies.study_file import read_study


@pytest.fixture
def write(tmp_path: Path, maltese_lines: list[str], tiny_decoders: dict[str, Path], topic_folder: Path) -> Any:
    """Write a study of the tiny Llama on a Maltese text."""
    blocks = ["\n".join(maltese_lines[i : i + 5]) for i in range(0, 60, 5)]
    (tmp_path / "text.txt").write_text("\n\n".join(blocks), encoding="utf-8")

    def written(**changes: Any) -> Path:
        content = {
            "base": str(tiny_decoders["llama"]),
            "languages": "mlt",
            "data": {"text": "text.txt", "graph": "conceptnet:bundled:{language}_graph.tsv"},
            "score": {"text": "text", "sentences": 4},
            "tasks": {"topic": {"data": str(topic_folder), "use": ["alone", "stacked", "fused"]}},
            "adapt": {"steps": 4, "batch_size": 4, "precision": "float32", "max_tokens": 48},
            "task": {"epochs": 1, "precision": "float32"},
        } | changes
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}, sort_keys=False))
        return path

    return written


def planned(path: Path) -> StudyPlan:
    return plan_study(read_study(path))


def of_kind(plan: StudyPlan, kind: str) -> list[Step]:
    return [step for step in plan.steps if step.kind == kind]


def test_a_decoder_is_adapted_scored_tested_and_reported(langlift: Any, write: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = langlift("study", "run", write(), "--out", out, "--json")
    assert done.code == 0, done.err
    assert done.json["finished_now"] == 10
    runs = [json.loads(path.read_text()) for path in sorted((out / RUNS).glob(f"*/{RUN}"))]
    scores = [run for run in runs if run["kind"] == "score"]
    assert [run["cell"]["metric"] for run in scores] == ["perplexity"] * 3
    for run in scores:
        found = json.loads((out / RUNS / run["name"] / "metrics.json").read_text())
        assert found["variant"] == "causal" and found["sentences"] == 4
        assert run["result"]["value"] == found["perplexity"] > run["result"]["per_character"] > 1
        rows = [json.loads(row) for row in (out / RUNS / run["name"] / "sentences.jsonl").open()]
        assert sum(row["tokens"] for row in rows) == run["cost"]["tokens"]
    assert {run["cell"]["objective"] for run in runs if run["kind"] == "adapt"} == {"causal"}
    assert sorted(run["cell"]["use"] for run in runs if run["kind"] in ("task", "fuse")) == [
        "alone", "fused", "stacked", "stacked",
    ]  # fmt: skip
    heads = [json.loads(path.read_text()) for path in (out / RUNS).glob("*/seed-1/head.json")]
    assert [head["pooling"] for head in heads] == ["last"] * 4
    told = langlift("report", out, "--out", tmp_path / "r.html", "--tables", tmp_path / "t", "--json")
    assert told.code == 0, told.err
    assert {"perplexity", "perplexity-by-unit", "topic-macro_f1"} <= set(told.json["tables"])
    rows = (tmp_path / "t" / "perplexity-by-unit.csv").read_text().splitlines()
    assert rows[0].startswith("language,condition,per token") and len(rows) == 4
    assert "pseudo-perplexity" not in (tmp_path / "t" / "perplexity.csv").read_text()


def test_decoders_and_masked_models_in_one_study(
    write: Any, tiny_decoders: dict[str, Path], tiny_bert: Path
) -> None:
    bases = [str(tiny_bert), str(tiny_decoders["llama"])]
    plan = planned(
        write(base=bases, score={"text": "text", "variant": ["default", "within_word_l2r", "published"]})
    )
    objectives = {(step.cell["base"], step.cell["objective"]) for step in of_kind(plan, "adapt")}
    assert objectives == {(bases[0], "mlm"), (bases[1], "causal")}
    variants = {(step.cell["base"], step.settings["variant"]) for step in of_kind(plan, "score")}
    assert variants == {
        *((bases[0], variant) for variant in ("default", "within_word_l2r", "published")), (bases[1], "causal"),
    }  # fmt: skip
    check_data(plan)
    both = planned(write(base=bases, axes={"objective": ["mlm", "causal"]}))
    assert {(s.cell["base"], s.cell["objective"]) for s in of_kind(both, "adapt")} == objectives
    assert len(both.left_out) == 2 and "it is for decoders" in both.left_out[0]
    # A masked model's runs are what they are without a decoder beside it.
    alone = {step.hash for step in planned(write(base=bases[0])).steps}
    assert alone <= {step.hash for step in both.steps}


def test_what_a_decoder_is_not_made_for(write: Any, tiny_decoders: dict[str, Path]) -> None:
    plan = planned(write(score={"text": "text", "variant": "within_word_l2r"}, tasks=None))
    assert {step.cell["metric"] for step in of_kind(plan, "score")} == {"perplexity_per_character"}
    alignment = {"text": {"mlt": "text.txt"}, "with": str(tiny_decoders["llama"])}
    plan = planned(write(score={"text": "text", "variant": "published"}, alignment=alignment))
    assert not of_kind(plan, "score") and not of_kind(plan, "alignment")
    assert any("alignment of" in told for told in plan.left_out)
    assert any("the score 'published'" in told for told in plan.left_out)
    with pytest.raises(InputError, match=r"no run: every combination is left out"):
        planned(write(score=None, tasks=None, alignment=alignment, adapt={"objective": "full_word"}))
    with pytest.raises(InputError, match=r"a decoder, and 'family:' is for masked language models"):
        planned(write(family="F", adapt=None, data={"text": "text.txt"}, tasks=None))
    with pytest.raises(InputError, match="train_head"):
        planned(write(adapt={"train_head": True}))


def test_published_behaviour_of_decoders(write: Any) -> None:
    axes = {"behaviour": ["corrected", "published"], "method": "seq_bn_inv", "data": "text"}
    plan = planned(write(axes=axes, tasks=None))
    inverse = {step.cell["behaviour"]: step.settings["inverse_at_head"] for step in of_kind(plan, "adapt")}
    assert inverse == {"corrected": True, "published": False}
    assert len([step for step in of_kind(plan, "score") if "trained" not in step.inputs]) == 1
    unread = planned(write(axes={"masking_share": [0.1, 0.2], "data": "text"}, tasks=None))
    assert len(of_kind(unread, "adapt")) == 1


def test_decoders_are_priced(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricing, "CALIBRATION_SECONDS", 0.1)
    plan = planned(write())
    by_config = {one.kind: one for one in price_plan(plan, calibrate=False).runs}
    timed = {one.kind: one for one in price_plan(plan).runs}
    for kind in ("adapt", "score", "task"):
        assert timed[kind].tokens == by_config[kind].tokens > 0 and timed[kind].seconds > 0
        assert timed[kind].flops == pytest.approx(by_config[kind].flops, rel=0.5)
        assert timed[kind].disk_bytes == by_config[kind].disk_bytes


def test_a_decoder_that_is_not_here_is_known_by_the_objective(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for changes, variant in (
        ({"adapt": {"objective": "causal"}}, "causal"),
        ({"axes": {"objective": ["causal"]}}, "causal"),
        ({"preset": "llama-3-8b"}, "causal"),
        ({}, "default"),
    ):
        plan = planned(write(base="someone/some-model", **changes))
        assert {step.settings["variant"] for step in of_kind(plan, "score")} == {variant}
    # Nothing is fetched for the masked models that are known.
    monkeypatch.setattr(study, "is_causal", lambda name: pytest.fail("not asked"))
    assert of_kind(planned(write(base="FacebookAI/xlm-roberta-base")), "score")
