"""The README.md of exported models: how to use them without langlift, and the parity check."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from langlift.model_cards import render_card, split_front_matter
from langlift.sharing.parity import LIMIT, Parity

KEPT_FACTS = ("language", "license", "base_model", "datasets")


def export_card(
    template: str,
    library: str,
    pipeline_tag: str,
    origin: Mapping[str, Any],
    parity: Parity,
    source: Path,
    **values: Any,
) -> str:
    """The card of an export; it includes the run's own card, except for how the run is used."""
    readme = next((path for path in (source / "README.md", source / "model/README.md") if path.is_file()), None)
    facts, text = split_front_matter(readme.read_text(encoding="utf-8", errors="replace") if readme else "")
    kept = {key: facts[key] for key in KEPT_FACTS if facts.get(key)}
    if origin["base"]:
        kept.setdefault("base_model", origin["base"])
    front = {**kept, "library_name": library, "pipeline_tag": pipeline_tag, "tags": ["langlift", pipeline_tag]}
    text = re.sub(r"^## Use\n.*?(?=^## |\Z)", "", text, flags=re.MULTILINE | re.DOTALL).strip()
    text = re.sub(r"\A# (.*)", r"**\1**", text)
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True).rstrip()
    return render_card(template, front=head, origin=origin, parity=parity, limit=LIMIT, text=text, **values)
