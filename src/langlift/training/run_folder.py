"""The files of a run's folder; ``run.py`` writes them."""

import json
from pathlib import Path
from typing import Any

import yaml

from langlift.config.yaml_reader import load_yaml
from langlift.errors import InputError

CHECKPOINTS = "checkpoints"
RECIPE = "recipe.yaml"
VERSIONS = "versions.json"
METRICS = "metrics.json"
PROGRESS = "progress.jsonl"
LEARNING_CURVES = "learning_curves.svg"


def is_finished(folder: Path) -> bool:
    """Whether a run has written its metrics, which it does last."""
    return (folder / METRICS).exists()


def read_recipe(folder: Path) -> dict[str, Any]:
    """The recipe of a run; empty if there is none, or if it is damaged."""
    try:
        recipe = load_yaml((folder / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        recipe = None
    return recipe if isinstance(recipe, dict) else {}


def read_metrics(folder: Path) -> dict[str, Any]:
    """The metrics of a finished run; InputError if the file is damaged."""
    try:
        metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        metrics = None
    if not isinstance(metrics, dict):
        raise InputError(f"{folder / METRICS}: damaged", "restore the file, or run again with another --out")
    return metrics
