"""Experiment trackers (TensorBoard, Weights & Biases, MLflow), through transformers' callbacks; off by default."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from langlift.errors import InputError

TRACKERS = ("tensorboard", "wandb", "mlflow")
VARIABLE = "LANGLIFT_REPORT_TO"
"""The environment variable that names the trackers of this process and of those it starts, comma-separated."""


def use_trackers(names: str | None) -> None:
    """Set the trackers of this process; ``None`` leaves those of the environment.

    InputError if a tracker is unknown or not installed.
    """
    if names is not None:
        os.environ[VARIABLE] = names
    for name in _named():
        if name not in TRACKERS:
            raise InputError(f"--report-to {name}: no such tracker", f"one of {', '.join(TRACKERS)}")
        if find_spec(name) is None:
            raise InputError(f"--report-to {name}: the package {name} is not installed", f"pip install {name}")


def report_to_trackers(trainer: Any, folder: Path) -> None:
    """Let a Trainer report the run in ``folder``, by the folder's name; TensorBoard's files are written to it.

    Each tracker is configured by its own environment variables, such as ``MLFLOW_TRACKING_URI`` or ``WANDB_MODE``.
    """
    if not (names := _named()):
        return
    from transformers.integrations import get_reporting_integration_callbacks

    trainer.args.run_name = folder.resolve().name
    for name, callback in zip(names, get_reporting_integration_callbacks(names), strict=True):
        trainer.add_callback(callback)
        if name == "tensorboard" and "TENSORBOARD_LOGGING_DIR" not in os.environ:
            trainer.callback_handler.callbacks[-1].logging_dir = str(folder / name)


def _named() -> list[str]:
    names = (name.strip() for name in os.environ.get(VARIABLE, "").split(","))
    return [name for name in names if name not in ("", "none")]
