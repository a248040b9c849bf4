"""Studies run, killed, failed and run again: what is missing is done, nothing twice, with the same results."""

import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import pytest
import yaml
from interrupted import forked

from langlift.errors import InputError, LangliftError
from langlift.studies import execution
from langlift.studies.folder import FAILED, PRECISION, RUN, RUNS, is_done, locked_folder, read_run
from langlift.studies.planning import plan_study
from langlift.studies.running import ray_engine, run_study, status_of
from langlift.studies.study_file import STUDY, read_study
from langlift.training import precision

VOLATILE = {
    "seconds", "tokens_per_second", "rows_per_second", "peak_memory_bytes", "data", "adapter", "language_adapter",
    "cost",
}  # fmt: skip
"""What two runs of the same work may say differently: times, memory and where they lie."""


class Heard:
    """A watcher that keeps what it hears."""

    def __init__(self):
        self.events = []

    def started(self, step):
        self.events.append(("started", step.name))

    def progress(self, step, what, done, total, note):
        self.events.append(("progress", step.name))

    def ended(self, step, outcome):
        self.events.append(("ok" if outcome.ok else "skipped" if outcome.skipped else "failed", step.name))

    def names(self, event):
        return [name for kind, name in self.events if kind == event]


@pytest.fixture(scope="module")
def file(tmp_path_factory, maltese_lines, tiny_xlm_roberta, topic_folder):
    """A study of 12 runs that take seconds: a graph, two adapters, scores, alignment, topics in three uses."""
    return study_file(tmp_path_factory.mktemp("study"), maltese_lines, tiny_xlm_roberta, topic_folder)


def study_file(folder, maltese_lines, tiny_xlm_roberta, topic_folder, seeds=(1,), variants=("default",)):
    blocks = ["\n".join(maltese_lines[i : i + 5]) for i in range(0, 60, 5)]
    (folder / "text.txt").write_text("\n\n".join(blocks))
    content = {
        "base": str(tiny_xlm_roberta),
        "languages": "mlt",
        "data": {"text": "text.txt", "graph": "conceptnet:bundled:{language}_graph.tsv"},
        "axes": {"method": "seq_bn", "seed": list(seeds)},
        "score": {"text": "text", "sentences": 3, "variant": list(variants)},
        "alignment": {"text": {"mlt": "text.txt"}, "with": str(tiny_xlm_roberta), "layers": "every"},
        "tasks": {"topic": {"data": str(topic_folder), "use": ["alone", "stacked", "fused"]}},
        "adapt": {"steps": 6, "batch_size": 4, "save_steps": 2, "precision": "float32"},
        "task": {"epochs": 1, "precision": "float32"},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "tiny.yaml"


@pytest.fixture(scope="module")
def plan(file):
    return plan_study(read_study(file))


@pytest.fixture(scope="module")
def whole(plan, tmp_path_factory):
    """The study run at one go: its folder, what was heard, and the seconds it took."""
    out, heard = tmp_path_factory.mktemp("whole") / "out", Heard()
    result = run_study(plan, out, heard)
    assert result.failures == [] and result.finished_now == result.runs == len(plan.steps) == 12
    return out, heard, result.seconds


def results(out):
    """Everything that a study's runs found, but for times: run.json, metrics, weights and predictions."""
    found = {}
    for folder in sorted((out / RUNS).iterdir()):
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(out / RUNS))
            if path.name in (RUN, "metrics.json"):
                found[name] = without_volatile(json.loads(path.read_text()))
            elif path.suffix in (".safetensors", ".jsonl") and path.name != "progress.jsonl":
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def without_volatile(content):
    if isinstance(content, dict):
        return {key: without_volatile(value) for key, value in content.items() if key not in VOLATILE}
    return [without_volatile(one) for one in content] if isinstance(content, list) else content


def stamps(out):
    return {path: path.stat().st_mtime_ns for path in (out / RUNS).rglob("*") if path.is_file()}


def test_without_its_base_a_study_does_not_begin(file, tmp_path):
    other = file.parent / "absent.yaml"
    content = yaml.safe_load(file.read_text()) | {"base": "nobody/no-such-model"}
    del content["alignment"]
    other.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match="nobody/no-such-model"):
        run_study(plan_study(read_study(other)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_score_within_words_counts_per_character(file, tmp_path):
    content = yaml.safe_load(file.read_text())
    content["score"]["variant"] = ["default", "within_word_l2r"]
    other = file.parent / "variants.yaml"
    other.write_text(yaml.safe_dump(content))
    scores = [s for s in plan_study(read_study(other)).steps if s.kind == "score" and "trained" not in s.inputs]
    found = {}
    for step in scores:
        assert execution.execute(step, tmp_path).ok
        found[step.settings["variant"]] = json.loads((tmp_path / step.name / RUN).read_text())["result"]
    assert found["within_word_l2r"]["value"] == found["within_word_l2r"]["per_character"]
    assert found["default"]["value"] > found["default"]["per_character"]


def test_every_run_says_what_it_is_and_what_it_found(whole, plan, file):
    out, heard, _ = whole
    assert {path.name for path in out.iterdir()} == {STUDY, RUNS, PRECISION}
    assert {path.name for path in (out / RUNS).iterdir()} == {step.name for step in plan.steps}
    for step in plan.steps:
        run = json.loads((out / RUNS / step.name / RUN).read_text())
        assert set(run) == {"kind", "name", "hash", "cell", "needs", "result", "cost", "published"}
        assert (run["kind"], run["name"], run["hash"], run["cell"]) == (step.kind, step.name, step.hash, step.cell)
        assert set(run["cost"]) == {"tokens", "flops", "seconds", "peak_memory_bytes"}
        metrics = json.loads((out / RUNS / step.name / "metrics.json").read_text())
        value, cost = run["result"]["value"], run["cost"]
        if step.kind == "adapt":
            assert (value, run["result"]["before"]) == (
                metrics["validation_loss"],
                metrics["validation_loss_before"],
            )
            assert cost["tokens"] == metrics["tokens"] > 0 and cost["flops"] == metrics["flops"] > 0
        elif step.kind == "score":
            assert value == metrics["pseudo_perplexity"] and metrics["sentences"] == 3
            rows = [json.loads(row) for row in (out / RUNS / step.name / "sentences.jsonl").open()]
            assert sum(row["tokens"] for row in rows) == metrics["tokens"]
        elif step.kind == "alignment":
            assert value == metrics["cka"] == metrics["by_layer"][1]["cka"] and 0.9 < value < 1 - 1e-6
            assert len(metrics["by_layer"]) == 2 and metrics["by_layer"][0]["cka"] != value
        elif step.kind in ("task", "fuse"):
            assert value == metrics["mean"] == metrics["seeds"][0] and len(metrics["seeds"]) == 1
            assert (out / RUNS / step.name / "seed-1" / "test_predictions.jsonl").is_file()
        else:
            assert value == metrics["kept"] > 100
    needs = {json.loads((out / RUNS / s.name / RUN).read_text())["cell"].get("use"): s for s in plan.steps}
    fused = json.loads((out / RUNS / needs["fused"].name / RUN).read_text())
    assert len(fused["needs"]) == 2 and fused["cell"]["data"] == "text,graph"
    assert heard.names("started") == heard.names("ok") == [step.name for step in plan.steps]
    assert set(heard.names("progress")) <= set(heard.names("started"))
    assert [s.hash for s in plan_study(read_study(out)).steps] == [s.hash for s in plan.steps], (
        "its own study.yaml"
    )


def test_auto_is_one_precision_for_the_whole_study(file, tmp_path, monkeypatch):
    """Even where the check on one batch passes in every other run only."""
    content = yaml.safe_load(file.read_text())
    content |= {"adapt": {"steps": 2, "batch_size": 4}, "task": {"epochs": 1}, "alignment": None}
    content["tasks"]["topic"]["use"] = ["alone", "stacked"]
    other = file.parent / "auto.yaml"
    other.write_text(yaml.safe_dump({key: one for key, one in content.items() if one}))
    choices = itertools.cycle([(False, "made up"), (True, "made up")])
    monkeypatch.setattr(precision, "_choose", lambda *_: next(choices))
    plan = plan_study(read_study(other))
    assert run_study(plan, tmp_path / "out").failures == []
    found = {s.name: read_run(s.folder_in(tmp_path / "out" / RUNS)).precisions for s in plan.steps}
    trained = [one for name, one in found.items() if not name.startswith("graph")]
    assert len(trained) == 8 and all(one == {"float32"} for one in trained), found


def test_a_rerun_repeats_nothing(whole, plan):
    out, before, heard = whole[0], stamps(whole[0]), Heard()
    result = run_study(plan, out, heard)
    assert (result.finished_before, result.finished_now, heard.events) == (12, 0, [])
    assert stamps(out) == before


def killed(file, out, after):
    """Run a study in a child of this process, and kill it; whether it was still at work."""
    child = forked(lambda: run_study(plan_study(read_study(file)), out, Heard()))
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_killed_at_random_moments_it_ends_in_the_same_results(whole, plan, file, tmp_path):
    out, moments = tmp_path / "killed", random.Random(7)
    cut = [killed(file, out, moments.uniform(0.15, 0.5) * whole[2]) for _ in range(3)]
    assert cut[0] and any((out / RUNS).iterdir())
    counted = [step for step in plan.steps if is_done(out / RUNS, step)]
    heard = Heard()
    result = run_study(plan, out, heard)
    assert heard.names("started") == [step.name for step in plan.steps if step not in counted]
    assert (result.finished_before, result.failures) == (len(counted), [])
    assert results(out) == results(whole[0])


@pytest.mark.parametrize("damage", ["", "{", '{"hash": "another"}'])
def test_what_is_half_written_is_not_counted(whole, plan, tmp_path, damage):
    out = tmp_path / "out"
    step = plan.steps[0]
    (out / RUNS / step.name).mkdir(parents=True)
    (out / RUNS / step.name / RUN).write_text(damage)
    (out / RUNS / step.name / ".versions.json.writing").write_text("{")
    assert not is_done(out / RUNS, step)
    assert execution.execute(step, out / RUNS).ok and is_done(out / RUNS, step)
    name = step.name
    assert {key: value for key, value in results(whole[0]).items() if key.startswith(name)} == results(out)


def test_a_run_that_fails_does_not_stop_the_others(whole, plan, file, tmp_path, monkeypatch, langlift):
    out, adapt = tmp_path / "out", execution.adapt

    def failing(language, base, data, *others, **more):
        if data[0].is_dir():
            raise LangliftError("the loss became nan at step 3", "use a lower learning rate")
        return adapt(language, base, data, *others, **more)

    monkeypatch.setattr(execution, "adapt", failing)
    result = langlift("study", "run", file, "--out", out, "--json")
    assert result.code == 1
    failures = {(one["run"].rsplit("-", 1)[0], one["skipped"]) for one in result.json["failures"]}
    assert failures == {
        ("adapt-mlt_Latn-seq_bn-graph-1", False),
        ("score-mlt_Latn-seq_bn-graph-1", True),
        ("alignment-mlt_Latn-seq_bn-graph-tiny-xlm-roberta0-1", True),
        ("task-topic-stacked-mlt_Latn-seq_bn-graph-1", True),
        ("fuse-topic-fused-mlt_Latn-seq_bn-text_graph-1", True),
    }
    assert result.json["finished_now"] == 7
    assert "failed  adapt-mlt_Latn-seq_bn-graph-1" in result.err
    found = status_of(plan, out)
    assert found.counts == {"finished": 7, "running": 0, "stopped": 0, "failed": 1, "missing": 4}
    assert next(one.shown for one in found.runs if one.state == "failed") == "the loss became nan at step 3"
    shown = langlift("study", "status", out)
    assert "failed" in shown.out and "missing" not in shown.out and "4 missing" in shown.err

    monkeypatch.setattr(execution, "adapt", adapt)
    again = langlift("study", "run", out, "--json")  # the study's folder says all that is needed
    assert (again.code, again.json["finished_before"], again.json["finished_now"]) == (0, 7, 5)
    assert results(out) == results(whole[0]) and not list(out.rglob(FAILED))


def test_an_error_that_nobody_foresaw_is_a_failure_too(plan, tmp_path, monkeypatch):
    def broken(*arguments, **more):
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr(execution, "score_model", broken)
    outcome = execution.execute(plan.steps[0], tmp_path)
    assert outcome.error == "ZeroDivisionError: division by zero"
    assert json.loads((tmp_path / plan.steps[0].name / FAILED).read_text())["error"] == outcome.error


def test_an_interrupt_stops_at_once_and_counts_nothing(plan, file, tmp_path, monkeypatch, langlift):
    def interrupted(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(execution, "train_task", interrupted)
    result = langlift("study", "run", file, "--out", tmp_path / "out")
    assert result.code == 130 and "run the same command again" in result.err
    found = status_of(plan, tmp_path / "out")
    assert (found.counts["finished"], found.counts["failed"], found.counts["stopped"]) == (1, 0, 1)


def test_two_processes_do_not_run_one_study(plan, tmp_path):
    out = tmp_path / "out"
    with locked_folder(out, "study"), pytest.raises(LangliftError, match="another process is working"):
        run_study(plan, out, Heard())
    with locked_folder(out / RUNS / plan.steps[0].name, "run"):
        assert status_of(plan, out).runs[0].state == "running"
    assert status_of(plan, out).runs[0].state == "stopped"


def test_runs_that_the_study_does_not_have_are_not_mixed_in(whole, file, tmp_path):
    other = tmp_path / "other.yaml"
    content = yaml.safe_load(file.read_text()) | {
        "tasks": None,
        "alignment": None,
        "axes": {"data": "text", "seed": 2},
    }
    content |= {"data": {"text": str(file.parent / "text.txt")}}
    other.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
    out, changed = tmp_path / "out", plan_study(read_study(other))
    strange = out / RUNS / "adapt-old-12345678"
    strange.mkdir(parents=True)
    (strange / RUN).write_text("{}")
    with pytest.raises(InputError, match="contains 1 runs that are not in this study") as refusal:
        run_study(changed, out, Heard())
    assert "--set-aside" in refusal.value.hint
    result = run_study(changed, out, Heard(), set_aside=True)
    assert result.finished_now == 3 and not result.failures
    assert (out / "set-aside" / strange.name / RUN).is_file() and not strange.exists()


def test_one_more_axis_repeats_no_finished_run(whole, file, tmp_path):
    content = yaml.safe_load(file.read_text())
    content["axes"]["behaviour"] = "corrected"
    more = file.parent / "more.yaml"
    more.write_text(yaml.safe_dump(content, sort_keys=False))
    plan, out = plan_study(read_study(more)), tmp_path / "out"
    shutil.copytree(whole[0] / RUNS, out / RUNS)
    assert not any((out / RUNS / step.name).exists() for step in plan.steps if "behaviour" in step.cell)
    assert status_of(plan, out).counts["finished"] == 12
    failed = next((out / RUNS).glob("task-topic-stacked-*text-1-*"))
    shutil.rmtree(failed)
    failed.mkdir()
    (failed / FAILED).write_text("{}")
    result = run_study(plan, out, Heard())
    assert (result.finished_before, result.finished_now) == (11, 1), result.failures
    cells = [json.loads((step.folder_in(out / RUNS) / RUN).read_text())["cell"] for step in plan.steps]
    assert cells == [dict(step.cell) for step in plan.steps]
    assert {path.name for path in (out / RUNS).iterdir()} == {path.name for path in (whole[0] / RUNS).iterdir()}


def test_a_folder_with_other_things_is_refused(plan, tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="contains other files"):
        run_study(plan, tmp_path, Heard())
    with pytest.raises(InputError, match="is a file"):
        run_study(plan, tmp_path / "thesis.tex", Heard())


def test_status_and_show(whole, langlift, tmp_path):
    out = whole[0]
    found = langlift("study", "status", out, "--json").json
    assert found["counts"]["finished"] == 12 and all(one["value"] is not None for one in found["runs"])
    assert "12 of 12 finished" in langlift("study", "status", out).out
    fused = next((out / RUNS).glob("fuse-*"))
    shown = langlift("study", "show", fused, "--json").json
    assert len(shown["needs"]) == 2 and all(name.startswith("adapt-mlt_Latn") for name in shown["needs"])
    assert shown["metrics"]["mean"] == shown["result"]["value"]
    assert "result:\n  value: " in langlift("study", "show", fused).out
    planned = langlift("study", "plan", out, "--no-calibrate", "--json").json
    assert all(one["finished"] for one in planned["runs"]) and planned["summary"][-1]["tokens"] == 0
    for arguments, said in (
        (["show", tmp_path], "not a finished run of a study"),
        (["status", tmp_path], "no study.yaml in this folder"),
        (["run", out / STUDY], "the folder of the runs is missing"),
    ):
        refused = langlift("study", *arguments, "--json")
        assert refused.code == 2 and said in refused.error["error"]


@pytest.fixture(scope="module")
def larger(tmp_path_factory, maltese_lines, tiny_xlm_roberta, topic_folder):
    """A study of 27 runs, run at one go: its file, its results, and the seconds it took."""
    folder = tmp_path_factory.mktemp("larger")
    variants = ("default", "within_word_l2r")
    file = study_file(folder, maltese_lines, tiny_xlm_roberta, topic_folder, (1, 2), variants)
    plan = plan_study(read_study(file))
    result = run_study(plan, folder / "out", Heard())
    assert result.failures == [] and result.finished_now == result.runs == len(plan.steps) == 27
    return file, results(folder / "out"), result.seconds


def command(file, out, *more):
    return [sys.executable, "-m", "langlift", "study", "run", str(file), "--out", str(out), *more]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_killed_twenty_times_it_ends_in_the_same_results(larger, tmp_path):
    (file, expected, seconds), moments = larger, random.Random(11)
    kills, rounds = 0, 1
    while kills < 20:
        out = tmp_path / str(rounds)
        process = subprocess.Popen(command(file, out), env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        while not (out / RUNS).exists() and process.poll() is None:
            time.sleep(0.05)
        # Mostly within the work of a few runs; now and then while the command still loads or checks.
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=max(0.0, moments.uniform(-0.1, 0.4)) * seconds)
        if process.poll() is not None:  # done before it could be killed: compare, and once more from the beginning
            assert process.returncode == 0 and results(out) == expected
            rounds += 1
            continue
        process.kill()
        process.wait()
        kills += 1
    subprocess.run(command(file, out), env=ENVIRONMENT, check=True, stderr=subprocess.DEVNULL)
    assert results(out) == expected


def test_an_address_where_no_cluster_is_is_told_at_once(plan, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed (extra: studies)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(LangliftError, match="nothing answers there"):
        run_study(plan, tmp_path / "out", engine=ray_engine(address))


def workers_below(process):
    """The processes, of a driver's cluster or a node, that work on a run."""
    import psutil

    found = []
    for one in psutil.Process(process).children(recursive=True):
        with suppress(psutil.Error):  # it may have ended meanwhile
            found += [one] if "ray::execute" in " ".join(one.cmdline()) else []
    return found


def waited_for(driver, what):
    """What ``what`` finds at last, or nothing once the driver has ended."""
    while driver.poll() is None:
        if found := what():
            return found
        time.sleep(0.05)
    return []


def killed_with(family):
    """What is left of a driver's cluster, or of a node, once its first process is killed."""
    import psutil

    _, left = psutil.wait_procs(family, timeout=5)
    for one in left:
        with suppress(psutil.Error):
            one.kill()


@pytest.mark.slow
def test_on_ray_with_two_workers_twenty_kills_change_nothing(larger, tmp_path):
    """Ten workers are killed while they work on a run, and ten drivers with all below them."""
    pytest.importorskip("ray", reason="Ray is not installed (extra: studies)")
    import psutil

    (file, expected, seconds), moments = larger, random.Random(5)
    workers = drivers = 0
    rounds, out, finished = 0, tmp_path / "0", False
    while workers < 10 or drivers < 10:
        rounds += 1
        assert rounds < 40, f"{workers} workers and {drivers} drivers killed"
        if finished:  # before its driver could be killed: once more from the beginning
            out = tmp_path / str(rounds)
        arguments = command(file, out, "--ray", "local", "--workers", "2")
        driver = subprocess.Popen(arguments, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        waited_for(driver, lambda: workers_below(driver.pid))  # noqa: B023
        with suppress(subprocess.TimeoutExpired):
            driver.wait(timeout=moments.uniform(0, 0.1) * seconds)
        with suppress(psutil.Error):
            for worker in workers_below(driver.pid)[:1]:
                worker.kill()
                workers += 1
        with suppress(subprocess.TimeoutExpired):
            driver.wait(timeout=moments.uniform(0.05, 0.3) * seconds)
        if finished := driver.poll() is not None:
            assert driver.returncode == 0 and results(out) == expected
            continue
        family = psutil.Process(driver.pid).children(recursive=True)
        driver.kill()
        driver.wait()
        killed_with(family)
        drivers += 1
    subprocess.run(arguments, env=ENVIRONMENT, check=True, timeout=900, stderr=subprocess.DEVNULL)
    assert results(out) == expected


@pytest.mark.slow
def test_on_a_cluster_that_loses_a_machine(larger, tmp_path, monkeypatch):
    """Two nodes with a worker each; one is pulled while it works, and the other completes the study."""
    pytest.importorskip("ray", reason="Ray is not installed (extra: studies)")
    import psutil
    from ray.cluster_utils import Cluster

    (file, expected, _), out = larger, tmp_path / "out"
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        pulled = cluster.add_node(num_cpus=1)
        (raylet,) = pulled.all_processes["raylet"]
        arguments = command(file, out, "--ray", cluster.address)
        with subprocess.Popen(arguments, env=ENVIRONMENT, stderr=subprocess.DEVNULL) as driver:
            try:
                assert waited_for(driver, lambda: workers_below(raylet.process.pid)), "the node was given no run"
                family = psutil.Process(raylet.process.pid).children(recursive=True)
                cluster.remove_node(pulled, allow_graceful=False)
                killed_with(family)
                assert driver.wait(timeout=900) == 0
            finally:
                driver.kill()
    finally:
        cluster.shutdown()
    assert results(out) == expected
