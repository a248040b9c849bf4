"""Experiment trackers: off by default; their files hold the measures of ``progress.jsonl``."""

import dataclasses
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from test_training import MALTESE, MALTESE_LANGUAGE, QUICK

from langlift.backbones.loading import NANO
from langlift.training.adaptation import adapt
from langlift.training.trackers import VARIABLE, use_trackers

RECIPE = dataclasses.replace(QUICK, steps=4, validate_every=2)


def recorded(folder: Path, name: str) -> list[float]:
    lines = (folder / "progress.jsonl").read_text(encoding="utf-8").splitlines()
    return [value for value in (json.loads(line).get(name) for line in lines) if value is not None]


def test_tensorboard_has_the_measures_of_the_run(
    tiny_xlm_roberta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    adapt(MALTESE_LANGUAGE, str(tiny_xlm_roberta), MALTESE, tmp_path / "without", RECIPE)
    assert not (tmp_path / "without" / "tensorboard").exists()
    monkeypatch.setenv(VARIABLE, "tensorboard")
    adapt(MALTESE_LANGUAGE, str(tiny_xlm_roberta), MALTESE, tmp_path / "with", RECIPE)
    events = EventAccumulator(str(tmp_path / "with" / "tensorboard")).Reload()
    found = [event.value for event in events.Scalars("eval/loss")]
    assert found == pytest.approx(recorded(tmp_path / "with", "validation_loss")) and len(found) == 5
    assert len(events.Scalars("train/loss")) == len(recorded(tmp_path / "with", "loss")) > 0
    weights = [(tmp_path / name / "adapter.safetensors").read_bytes() for name in ("without", "with")]
    assert weights[0] == weights[1]


def test_mlflow_has_the_measures_of_the_run(
    tiny_xlm_roberta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs mlflow, which langlift does not install")
    where = (tmp_path / "mlflow").as_uri()
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", where)
    monkeypatch.setenv(VARIABLE, "mlflow")
    adapt(MALTESE_LANGUAGE, str(tiny_xlm_roberta), MALTESE, tmp_path / "maltese", RECIPE)
    client = mlflow.MlflowClient(where)
    (run,) = client.search_runs(["0"])
    assert run.info.run_name == "maltese"
    found = [metric.value for metric in client.get_metric_history(run.info.run_id, "eval_loss")]
    assert found == pytest.approx(recorded(tmp_path / "maltese", "validation_loss"))


def test_an_unknown_or_missing_tracker_is_refused_before_anything_else(langlift, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    arguments = ("adapt", "Maltese", "--base", NANO, "--data", MALTESE, "--out", tmp_path / "run", "--report-to")
    wrong = langlift(*arguments, "tensorbord")
    assert (wrong.code, wrong.err) == (
        2,
        "Error: --report-to tensorbord: no such tracker\nHint: one of tensorboard, wandb, mlflow\n",
    )
    if find_spec("wandb") is None:
        missing = langlift(*arguments, "tensorboard,wandb")
        assert missing.code == 2 and "pip install wandb" in missing.err
    assert not (tmp_path / "run").exists()
    use_trackers("none")
