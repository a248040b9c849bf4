"""The common parts of built data folders: splits, the sample of dropped texts, printable text."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from langlift.errors import printable

SPLITS = ("train", "dev", "test")
DROPPED, MANIFEST = "dropped.jsonl", "manifest.json"
MEGABYTE = 10**6
SAMPLE = 20
"""Maximum number of dropped texts or triples of each kind to keep as examples."""


def write_dropped(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the sample of dropped texts."""
    with (folder / DROPPED).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_dropped(folder: Path) -> list[dict[str, Any]]:
    """The sample of dropped texts of a built folder; a folder for scoring has none."""
    path = folder / DROPPED
    if not path.exists():
        return []
    # Not splitlines: a text may contain what Unicode calls a line end.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def excerpt(text: str) -> str:
    """The beginning of a text, printable."""
    return printable(text[:200]) + ("…" if len(text) > 200 else "")
