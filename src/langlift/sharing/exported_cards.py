"""The README.md of exported models: how to use them without langlift, and what was checked."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from langlift.model_cards import render_card, split_front_matter
from langlift.sharing.parity import LIMIT, Parity
from langlift.tasks.task import TASKS

KEPT_FACTS = ("language", "license", "base_model", "datasets")
BY_VERB = {"classify": "onnx_texts.md", "parse": "onnx_trees.md"}
"""Cards of ONNX folders by what the task does; others label words."""


def plain_card(
    origin: Mapping[str, Any], kind: str, tag: str | None, words: str | None, parity: Parity, source: Path
) -> str:
    """The card of a plain transformers model; ``words`` says which token of a word has its label, of a tagger."""
    pipeline = tag or ("text-generation" if kind == "AutoModelForCausalLM" else "fill-mask")
    values = {"kind": kind, "words": words, "loss": None}
    return _card("export_transformers.md", origin, "transformers", pipeline, parity, source, values)


def onnx_card(
    origin: Mapping[str, Any],
    described: Mapping[str, Any],
    parity: Parity,
    loss: Mapping[str, Any] | None,
    source: Path,
) -> str:
    """The card of an ONNX folder; ``described`` is its ``labels.json`` and ``loss`` what 8 bits cost."""
    task = TASKS.get(described["task"])
    template = BY_VERB.get(task.verb, "onnx_words.md") if task else "onnx_language_model.md"
    pipeline = task.pipeline_tag if task else described["task"]
    return _card(template, origin, "onnx", pipeline, parity, source, {"described": described, "loss": loss})


def _card(
    template: str,
    origin: Mapping[str, Any],
    library: str,
    pipeline: str,
    parity: Parity,
    source: Path,
    values: Mapping[str, Any],
) -> str:
    readme = next(
        (path for path in (source / "README.md", source / "model" / "README.md") if path.is_file()), None
    )
    facts, text = split_front_matter(readme.read_text(encoding="utf-8", errors="replace") if readme else "")
    kept = {key: facts[key] for key in KEPT_FACTS if facts.get(key)}
    if origin["base"]:
        kept.setdefault("base_model", origin["base"])
    front = {**kept, "library_name": library, "pipeline_tag": pipeline, "tags": ["langlift", pipeline]}
    # Its title becomes a line, and how the run itself is used is no use here.
    text = re.sub(r"^## Use\n.*?(?=^## |\Z)", "", text, flags=re.MULTILINE | re.DOTALL).strip()
    text = re.sub(r"\A# (.*)", r"**\1**", text)
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True).rstrip()
    return render_card(template, front=head, origin=origin, parity=parity, limit=LIMIT, text=text, **values)
