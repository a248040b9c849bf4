"""What the exports of a run record about it, and reading the run's own records."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from langlift.checkpoints.adapter_folder import read_identity
from langlift.checkpoints.exporting import Exported, file_sizes
from langlift.checkpoints.layouts import CONFIG_FILE
from langlift.training.run_folder import RECIPE

EXPORT_FILE = "export.json"
MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
)
"""The files of a model and its tokenizer in a model folder."""


def finish_export(out: Path, staging: Path, record: Mapping[str, Any], card: str) -> Exported:
    """Write ``export.json`` and the card of an export into ``staging``; returns its result."""
    write_json(staging / EXPORT_FILE, record)
    (staging / "README.md").write_text(card, encoding="utf-8")
    sizes = file_sizes(staging)
    measured = {key: record[key] for key in ("items", "difference", "agreement")}
    return Exported(
        str(out), record["name"], record["format"], list(sizes), sizes, **measured, int8=record.get("int8")
    )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an indented JSON object."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def origin_of(source: Path, base: str = "") -> dict[str, Any]:
    """A run's ``name``, and its ``method`` and ``base`` if recorded; ``base`` takes precedence."""
    recipe = read_recipe(source)
    recorded = inputs_in(recipe).get("base")
    if (source / CONFIG_FILE).is_file():  # in a family, the base with the family's vocabulary
        recorded = read_identity(source).get("model_name") or recorded
    return {
        "name": source.resolve().name,
        "method": settings_in(recipe).get("method"),
        "base": base or recorded,
    }


def read_recipe(source: Path) -> dict[str, Any]:
    """The recipe of a run or of its first seed; empty if there is none, or if it is damaged."""
    for path in (source / RECIPE, *sorted(source.glob(f"seed-*/{RECIPE}"))):
        try:
            recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if isinstance(recipe, dict):
            return recipe
    return {}


def inputs_in(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The base, language and data in a recipe."""
    inputs: dict[str, Any] = recipe.get("inputs") or {}
    return inputs


def settings_in(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a recipe."""
    settings: dict[str, Any] = recipe.get(str(recipe.get("command"))) or {}
    return settings


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty if there is none, or if it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
