"""The README.md of imported and exported adapter folders."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.method import METHODS, AdapterConfig
from langlift.bundled_models import BUNDLED

KEPT_FACTS = ("license", "language", "datasets")
"""What of the facts at the head of an imported folder's README is carried over."""
NO_BASE, UNNAMED = "YOUR_BASE_MODEL", "a base model that is not named"


def import_card(source: Path, identity: Mapping[str, Any], config: AdapterConfig, left: Sequence[str]) -> str:
    """The card of an imported adapter; ``left`` are the files of its folder that were not imported."""
    base = identity["model_name"]
    behind = f"Not imported from the same folder: {', '.join(left)}.\n\n" if left else ""
    readme = source / "README.md"
    origin = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    facts, text = split_front_matter(origin)
    original = f"\n## What its folder said of it\n\n{text}\n" if text else ""
    kept = "".join(
        f"{key}: {json.dumps(facts[key], default=str)}\n"
        for key in KEPT_FACTS
        if isinstance(facts.get(key), str | list)
    )
    return f"""---
{_base_fact(base)}library_name: langlift
tags: [langlift, {METHODS[config.method].tag}]
{kept}---

# Imported adapter: {identity["name"]}

A {config.method} adapter for {base or UNNAMED} ({identity["model_type"]}), imported by langlift from the
folder `{source.name}`. The weights are the same numbers; whoever shares them should name their authors
and licence.

{behind}## Use

    langlift score --base {base or NO_BASE} --adapter THIS_FOLDER --text your_sentences.txt
{original}"""


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """The facts at the head of a hub's README, and the text below."""
    match = re.match(r"---\r?\n(.*?)\r?\n---\r?\n", text, flags=re.DOTALL)
    if match is None:
        return {}, text.strip()
    try:
        facts = yaml.safe_load(match[1])
    except (yaml.YAMLError, ValueError, RecursionError):
        facts = None
    return facts if isinstance(facts, dict) else {}, text[match.end() :].strip()


def _base_fact(base: str) -> str:
    return f"base_model: {json.dumps(base)}\n" if base else ""


def export_card(
    layout: str, name: str, identity: Mapping[str, Any], config: AdapterConfig, language_adapter: str | None = None
) -> str:
    """The card of an exported adapter; ``language_adapter`` is the one that it was trained on top of."""
    base = identity.get("model_name") or ""
    place, where = repr(base or NO_BASE), ""
    if base in BUNDLED:
        folder = f"FOLDER_OF_{base.upper().replace('-', '_')}"
        place = repr(folder)
        where = f"""
The base model {base} comes with langlift and is not on the hub. Where langlift is installed, this writes it
as a folder for transformers:

    langlift export {base} --to transformers --out {folder}
"""
    model_class = identity.get("model_class") or "AutoModelForMaskedLM"
    stack, activate, below = "", 'model.set_active_adapters(model.load_adapter("THIS_FOLDER"))', ""
    if language_adapter:
        below = f"""
It was trained on top of the language adapter `{language_adapter}` and needs it below: export that one too,
from the folder `language_adapter` of the same run. The classification head is not part of the export.
"""
        stack = "from adapters.composition import Stack\n    "
        activate = """below = model.load_adapter("FOLDER_OF_THE_LANGUAGE_ADAPTER")
    task = model.load_adapter("THIS_FOLDER")
    model.set_active_adapters(Stack(below, task))"""
    if layout == "peft":
        use = f"""from peft import PeftModel
    from transformers import {model_class}

    model = {model_class}.from_pretrained({place})
    model = PeftModel.from_pretrained(model, "THIS_FOLDER")"""
    else:
        use = f"""import adapters
    {stack}from transformers import {model_class}

    model = {model_class}.from_pretrained({place})
    adapters.init(model)
    {activate}"""
    inverse = ""
    if isinstance(config, SeqBnConfig) and config.invertible and layout == "adapterhub":
        ours = "with" if config.inverse_at_head else "without"
        inverse = f"""
Trained {ours} the inverse of its invertible block before the masked head's decoder. The library runs that
inverse in its flexible heads (AutoAdapterModel with add_masked_lm_head), never in {model_class}.
"""
    return f"""---
{_base_fact(base)}library_name: {"peft" if layout == "peft" else "adapters"}
tags: [langlift, {"peft" if layout == "peft" else "adapter-transformers"}]
---

# Adapter {name} for {base or UNNAMED}

Exported by langlift.
{below}{inverse}
## Use

    {use}
{where}"""
