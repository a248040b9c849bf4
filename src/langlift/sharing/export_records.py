"""The records and cards of exports, and reading the records of the run itself."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from langlift.checkpoints.adapter_folder import read_identity
from langlift.checkpoints.exporting import Exported, file_sizes
from langlift.checkpoints.layouts import CONFIG_FILE
from langlift.files import write_json
from langlift.model_cards import render_card, split_front_matter
from langlift.sharing.reference import LIMIT, Parity
from langlift.tasks.prediction import is_task_run, seed_folder
from langlift.training import run_folder

EXPORT_FILE, README = "export.json", "README.md"
KEPT_FACTS = ("language", "license", "base_model", "datasets")
"""Keys of a card's front matter that exports keep."""
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


def finish_export(
    out: Path,
    staging: Path,
    source: Path,
    base: str,
    parity: Parity,
    library: str,
    facts: Mapping[str, Any],
    template: str,
    pipeline_tag: str,
    **values: Any,
) -> Exported:
    """Write ``export.json`` and the card of an export into ``staging``; returns its result.

    ``facts`` are recorded too; ``base`` replaces the recorded base model. The card includes the run's own, except
    for how the run is used.
    """
    recipe = read_recipe(source)
    recorded = inputs_in(recipe).get("base")
    if (source / CONFIG_FILE).is_file():  # in a family, the base with the family's vocabulary
        recorded = read_identity(source).get("model_name") or recorded
    origin: dict[str, Any] = {
        "name": source.resolve().name,
        "method": settings_in(recipe).get("method"),
        "base": base or recorded,
    }
    measured = asdict(parity)
    front, text = split_front_matter(read_readme(seed_folder(source) if is_task_run(source) else source))
    front = {key: front[key] for key in KEPT_FACTS if front.get(key)}
    if origin["base"]:
        front.setdefault("base_model", origin["base"])
    front |= {"library_name": library, "pipeline_tag": pipeline_tag, "tags": ["langlift", pipeline_tag]}
    text = re.sub(r"^## Use\n.*?(?=^## |\Z)", "", text, flags=re.MULTILINE | re.DOTALL).strip()
    card = render_card(
        template,
        front=front,
        origin=origin,
        parity=parity,
        limit=LIMIT,
        text=re.sub(r"\A# (.*)", r"**\1**", text),
        loss=facts.get("int8"),
        **values,
    )
    (staging / README).write_text(card, encoding="utf-8")
    write_json(staging / EXPORT_FILE, {"format": library, **origin, **measured, **facts})
    sizes = file_sizes(staging)
    return Exported(str(out), origin["name"], library, list(sizes), sizes, **measured, int8=facts.get("int8"))


def read_readme(folder: Path) -> str:
    """The card of a run or a model; empty if there is none."""
    path = next((path for path in (folder / README, folder / "model" / README) if path.is_file()), None)
    return path.read_text(encoding="utf-8", errors="replace") if path else ""


def read_recipe(source: Path) -> dict[str, Any]:
    """The recipe of a run or of its first seed; empty if there is none, or if it is damaged."""
    return next(filter(None, map(run_folder.read_recipe, (source, *sorted(source.glob("seed-*"))))), {})


def inputs_in(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The base, language and data in a recipe."""
    return recipe.get("inputs") or {}


def settings_in(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a recipe."""
    return recipe.get(str(recipe.get("command"))) or {}
