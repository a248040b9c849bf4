"""Large models asked in a study: planned, priced, run and reported beside small trained ones."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from prompt_server import prompt_server
from test_prompting import right
from tiny_llama import make_tiny_llama

from langlift.errors import InputError
from langlift.studies.checking import check_data
from langlift.studies.folder import RUN, RUNS
from langlift.studies.planning import StudyPlan, plan_study
from langlift.studies.pricing import price_plan
from langlift.studies.study_file import STUDY, read_study

URL = "http://127.0.0.1:9/v1"


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory, maltese_lines: list[str]) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("llama"), maltese_lines)


@pytest.fixture
def write(tmp_path: Path, tiny_xlm_roberta: Path, topic_folder: Path) -> Any:
    """Write a study of topics: a task adapter on the tiny model, and what the block prompt says."""

    def written(prompt: Any, **changes: Any) -> Path:
        content = {
            "base": str(tiny_xlm_roberta),
            "languages": ["mlt"],
            "axes": {"seed": [1, 2]},
            "tasks": {"topic": {"data": str(topic_folder), "use": ["alone"]}},
            "task": {"epochs": 1, "precision": "float32"},
            "prompt": prompt,
        } | changes
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}, sort_keys=False))
        return path

    return written


def planned(path: Path) -> StudyPlan:
    return plan_study(read_study(path))


def asked(plan: StudyPlan) -> list[Any]:
    return [step for step in plan.steps if step.kind == "prompt"]


def wise(url: str) -> dict[str, str]:
    return {"model": url, "model_name": "org/wise"}


def test_small_and_large_models_in_one_study(langlift: Any, write: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with prompt_server(right) as server:
        block = {"model": wise(server.url), "shots": [0, 2], "concurrency": 2}
        done = langlift("study", "run", write(block), "--out", out, "--json")
        assert done.code == 0, done.err
        # Without examples the seeds ask the same: once. With them each seed has examples of its own.
        assert done.json["finished_now"] == 2 + 1 + 2
        assert len(server.requests) == 3 * 12
        again = langlift("study", "run", out, "--json")
        assert (again.json["finished_before"], again.json["finished_now"]) == (5, 0)
        # How it is asked changes no run; what counts as right makes new ones, whose answers are there.
        slower = langlift("study", "run", write({**block, "concurrency": 1}), "--out", out, "--json")
        assert slower.json["finished_now"] == 0
        counted = langlift(
            "study", "run", write({**block, "unparsed": "left_out"}), "--out", out, "--set-aside", "--json"
        )
        assert counted.json["finished_now"] == 3 and len(server.requests) == 3 * 12
    runs = [json.loads(path.read_text()) for path in (out / RUNS).glob(f"prompt-*/{RUN}")]
    assert {(run["cell"]["shots"], run["cell"]["seed"]) for run in runs} == {(0, 1), (2, 1), (2, 2)}
    for run in runs:
        assert run["name"].startswith("prompt-wise-topic-prompted-mlt_Latn-shots.")
        assert run["cell"]["base"] == "org/wise" and run["cell"]["metric"] == "macro_f1"
        assert run["result"]["value"] == 100.0 and (run["result"]["asked"], run["result"]["kept"]) == (0, 12)
        folder = out / RUNS / run["name"] / f"seed-{run['cell']['seed']}"
        assert len((folder / "test_predictions.jsonl").read_text().splitlines()) == 12
    assert len(list((out / "answers").iterdir())) == 1
    assert [step.hash for step in planned(out).steps] == [step.hash for step in planned(out / STUDY).steps]
    told = langlift("report", out, "--out", tmp_path / "r.html", "--tables", tmp_path / "t", "--json")
    assert told.code == 0, told.err
    table = (tmp_path / "t" / "topic-macro_f1.csv").read_text()
    assert "prompted, 2" in table.replace("shots ", "") and "alone" in table
    both = (tmp_path / "t" / "topic-macro_f1-small-and-large.csv").read_text().splitlines()
    for how, count in (("trained here", 1), ("prompted here", 2), ("published, 3-shot", 15), ("zero-shot", 2)):
        assert sum(how in row for row in both) == count
    page = (tmp_path / "r.html").read_text()
    assert "Not the same experiment" in page and "prompts, examples and how answers are read" in page


def test_a_model_here_is_priced_and_asked(langlift: Any, write: Any, llama: Path, tmp_path: Path) -> None:
    path = write({"model": str(llama), "shots": 1, "answer_tokens": 4}, base=None, task=None)
    shown = langlift("study", "plan", path, "--no-calibrate", "--json")
    assert shown.code == 0, shown.err
    prices = shown.json["runs"]
    assert [one["kind"] for one in prices] == ["prompt", "prompt"]
    assert shown.json["summary"][-1]["requests"] == 24
    assert "requests" in langlift("study", "plan", path, "--no-calibrate").out
    done = langlift("study", "run", path, "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    for price in prices:
        result = json.loads((tmp_path / "out" / RUNS / price["name"] / RUN).read_text())["result"]
        assert price["requests"] == result["asked"] == 12
        assert price["tokens"] == result["prompt_tokens"] > 0
    assert langlift("report", tmp_path / "out", "--out", tmp_path / "r.html", "--json").code == 0


def test_hashes_of_prompt_runs(write: Any, tmp_path: Path, topic_folder: Path) -> None:
    block: dict[str, Any] = {"model": wise(URL), "shots": [0, 3]}
    before = {step.hash for step in asked(planned(write(block)))}
    assert len(before) == 3
    for change in ({"timeout": 9}, {"failures": "wrong"}, {"price_in": 1.0}, {"precision": "float32"}):
        assert {step.hash for step in asked(planned(write({**block, **change})))} == before
    for change in ({"answer_tokens": 7}, {"structured": "off"}, {"model": {**wise(URL), "model_name": "other"}}):
        assert not before & {step.hash for step in asked(planned(write({**block, **change})))}
    text = "instruction: '{{ labels }}'\nquestion: '{{ text }}'\nanswer: '{{ label }}'\n"
    (tmp_path / "mlt_Latn.yaml").write_text(text)
    own = asked(planned(write({**block, "template": {"topic": "{language}.yaml"}})))
    assert not before & {step.hash for step in own}
    assert own[0].call.template == tmp_path / "mlt_Latn.yaml"
    behaviours = planned(write(block, axes={"behaviour": ["corrected", "published"]}))
    assert {s.cell["behaviour"]: s.settings["unparsed"] for s in asked(behaviours) if not s.cell["shots"]} == {
        "corrected": "wrong", "published": "left_out",
    }  # fmt: skip
    warm = asked(planned(write({"model": wise(URL), "temperature": 0.7})))
    assert [step.cell["seed"] for step in warm] == [1, 2]
    trained = {step.hash for step in planned(write(block)).steps} - before
    assert trained == {step.hash for step in planned(write(None)).steps}, "the others stay what they are"


def test_what_is_wrong_is_told_with_its_line(
    write: Any, tmp_path: Path, topic_folder: Path, langlift: Any
) -> None:
    (tmp_path / "bad.yaml").write_text("question: '{{ text }}'\n")
    path = tmp_path / "study.yaml"
    path.write_text(f"""\
languages: mlt
tasks:
  topic: {topic_folder}
  pos: {topic_folder}
prompt:
  model:
    - http://127.0.0.1:9/v1
    - {{model: "http://me:hush@127.0.0.1:9/v1", model_name: a}}
    - {{model: "http://127.0.0.1:9/v1"}}
    - {{model: ./here, model_name: a}}
    - ./nowhere
    - {{model: "http://127.0.0.1:9/v1", model_name: a, modelname: b}}
  tasks: [topic, pos, ner]
  shots: [0, -1, 0]
  template: {{topic: bad.yaml, sentiment: bad.yaml}}
  temprature: 1
  concurrency: 0
""")
    result = langlift("study", "plan", path, "--json")
    assert result.code == 2
    told = result.error["error"]
    for expected in (
        f"{path}:7: a server needs model_name",
        f"{path}:8: --model: the URL contains a user",
        f"{path}:9: a server needs model_name, the name by which it knows the model",
        f"{path}:10: model_name and key_variable are for the URL of a server",
        f"{path}:11: ./nowhere: no such model folder",
        f"{path}:12: unknown key of a model 'modelname' (did you mean model_name?)",
        f"{path}:13: 'pos' cannot be prompted (topic, sentiment, ner)",
        f"{path}:13: ner has no data under tasks:",
        f"{path}:14: shots must be at least 0, not -1",
        f"{path}:15: {tmp_path}/bad.yaml: no instruction; no answer",
        f"{path}:15: unknown prompted task 'sentiment'",
        f"{path}:16: unknown setting 'temprature' (did you mean temperature?)",
        f"{path}:17: concurrency must be at least 1, not 0",
    ):
        assert expected in told, (expected, told)
    assert "hush" not in result.out + result.err and "no base" not in told
    for block, said in (({"shots": 1}, "prompt has no model"), ({"model": []}, "model is empty")):
        with pytest.raises(InputError, match=said):
            read_study(write(block))
    with pytest.raises(InputError, match="none of the tasks can be prompted"):
        read_study(write({"model": wise(URL)}, tasks={"pos": {"data": str(topic_folder)}}))


def test_what_only_the_data_and_the_model_tell(
    write: Any, tiny_bert: Path, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    for block, said in (
        ({"model": str(tiny_bert)}, "not a causal model"),
        ({"model": str(llama), "shots": 41}, "40 examples"),
        ({"model": {**wise(URL), "key_variable": "NO_SUCH_KEY"}}, "NO_SUCH_KEY"),
    ):
        with pytest.raises(InputError, match=said):
            check_data(planned(write(block)))
    plan = planned(write({"model": "someone/some-model"}))  # a hub id, and no hub
    check_data(plan)
    price = next(one for one in price_plan(plan, calibrate=False).runs if one.kind == "prompt")
    assert (price.requests, price.tokens) == (12, None)
