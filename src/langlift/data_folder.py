"""What built data folders have in common: their splits, the sample of what was dropped, texts fit for a screen."""

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SPLITS = ("train", "dev", "test")
DROPPED, MANIFEST = "dropped.jsonl", "manifest.json"
MEGABYTE = 10**6
SAMPLE = 20
"""So many of each kind of dropped text or triple are kept to look at."""
JOINERS = "\u200c\u200d"


class Samples:
    """At most ``SAMPLE`` random rows of each name: reservoir sampling, every row has the same chance to stay."""

    def __init__(self, seed: int) -> None:
        self._kept: dict[str, list[dict[str, Any]]] = {}
        self._met: dict[str, int] = {}
        self._random = random.Random(seed)

    def offer(self, name: str, row: dict[str, Any]) -> None:
        """Perhaps keep a row."""
        kept = self._kept.setdefault(name, [])
        met = self._met[name] = self._met.get(name, 0) + 1
        place = len(kept) if len(kept) < SAMPLE else int(self._random.random() * met)
        if place < SAMPLE:
            kept[place : place + 1] = [row]

    def rows(self) -> list[dict[str, Any]]:
        """All rows that are kept, those of one name together."""
        return [row for rows in self._kept.values() for row in rows]


def write_dropped(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the sample of what was dropped."""
    with (folder / DROPPED).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_dropped(folder: Path) -> list[dict[str, Any]]:
    """The sample of what was dropped in a built folder; a folder for scoring has none."""
    path = folder / DROPPED
    if not path.exists():
        return []
    # Not splitlines: a text may hold what Unicode calls a line end.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest, whole or not at all."""
    staged = folder / f".{MANIFEST}.writing"
    staged.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    staged.replace(folder / MANIFEST)


def printable(text: str) -> str:
    """The text with a mark in place of what must not reach a screen: controls, lone surrogates; joiners stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in JOINERS else "\ufffd" for c in text)


def excerpt(text: str, most: int = 200) -> str:
    """The beginning of a text, fit for a screen."""
    return printable(text[:most]) + ("…" if len(text) > most else "")
