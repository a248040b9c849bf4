"""What an export is: its result, its files, and the run it came from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from langlift.checkpoints.adapter_folder import read_identity
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
"""What of a model folder is the model and its tokenizer."""
SECTIONS = ("adapt", "adapt-family", "task", "pretrain")
"""Where a recipe has its settings."""


@dataclass(frozen=True)
class Exported:
    """What ``langlift export`` wrote.

    ``sizes`` are the files' in bytes. Plain models and ONNX are tried before they are kept: on ``items``
    (sentences, words or gaps) the largest difference to the logits of the run is ``difference``, and
    ``agreement`` the share of the same answers. ``int8`` is what 8 bits cost, if they were asked for: ``items``,
    ``agreement``, ``metric``, ``score_float32``, ``score_int8``, ``test_examples``, ``bytes_float32``,
    ``bytes_int8``.
    """

    folder: str
    name: str
    layout: str
    files: list[str]
    sizes: dict[str, int] = field(default_factory=dict)
    items: int = 0
    difference: float | None = None
    agreement: float | None = None
    int8: dict[str, Any] | None = None


def file_sizes(folder: Path) -> dict[str, int]:
    """The files of a folder and their sizes in bytes, by name."""
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def origin_of(source: Path, base: str = "") -> dict[str, Any]:
    """What an export says of the run: ``name``, ``method`` and ``base``, as far as the run recorded them."""
    recipe = read_recipe(source)
    inputs = inputs_in(recipe)
    recorded = inputs.get("base")
    if (source / CONFIG_FILE).is_file():  # a family's adapter is for the base with the family's vocabulary
        recorded = read_identity(source).get("model_name") or recorded
    return {"name": source.resolve().name, "method": settings_in(recipe).get("method"), "base": base or recorded}


def read_recipe(source: Path) -> dict[str, Any]:
    """A run's recipe, or that of its first seed; empty where there is none."""
    places = [source / RECIPE, *sorted(source.glob(f"seed-*/{RECIPE}"))]
    for place in places:
        try:
            recipe = yaml.safe_load(place.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if isinstance(recipe, dict):
            return recipe
    return {}


def inputs_in(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What a recipe says of base, language and data."""
    inputs = recipe.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def settings_in(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a recipe, whatever command they are of."""
    return next((recipe[name] for name in SECTIONS if isinstance(recipe.get(name), dict)), {})


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty where there is none, or it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
