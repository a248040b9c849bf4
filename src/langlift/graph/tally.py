"""What a build counts on its way: rows read, edges dropped by reason, damaged rows with their place."""

import random
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from langlift.errors import InputError

SAMPLE = 20
"""How many damaged rows the manifest names, and how many dropped edges of each reason are kept to look at."""
MOST_NAMES = 1000


def printable(text: str) -> str:
    """The text with a mark in place of what must not reach a screen or file: controls, lone surrogates."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


class Edge(NamedTuple):
    """One triple read from line ``line`` of a source; languages as ConceptNet names them."""

    line: int
    head: str
    head_language: str
    relation: str
    tail: str
    tail_language: str
    weight: float


class Tally:
    """Counts over all sources of a build.

    ``dropped`` has a count for each reason and ``samples`` at most 20 random edges of it; the damaged rows are
    counted in ``damaged``, the first 20 named in ``damaged_rows``. With ``strict`` the first one is an error.
    """

    def __init__(self, strict: bool = False, seed: int = 0) -> None:
        self.rows = self.damaged = 0
        self.dropped: Counter[str] = Counter()
        self.unknown_relations: Counter[str] = Counter()
        self.licences: Counter[str] = Counter()
        self.damaged_rows: list[dict[str, Any]] = []
        self.samples: dict[str, list[dict[str, Any]]] = {}
        self._strict, self._random = strict, random.Random(seed)

    def count(self, counter: Counter[str], name: str) -> None:
        """Add one to ``name``; beyond 1,000 names, which only a damaged source has, to ``(others)``."""
        name = printable(name)
        counter[name if name in counter or len(counter) < MOST_NAMES else "(others)"] += 1

    def damage(self, source: Path, line: int, reason: str) -> None:
        """Count a damaged row.

        Raises:
            InputError: naming the row, when the tally is strict.
        """
        if self._strict:
            raise InputError(
                f"{source}:{line}: {printable(reason)}", "mend the row, or leave --strict out to skip such rows"
            )
        self.damaged += 1
        if len(self.damaged_rows) < SAMPLE:
            self.damaged_rows.append({"source": printable(str(source)), "line": line, "reason": printable(reason)})

    def drop(self, reason: str, source: Path, edge: Edge) -> None:
        """Count an edge that is left out on purpose, and perhaps keep it as a sample (reservoir sampling)."""
        self.dropped[reason] += 1
        sample = self.samples.setdefault(reason, [])
        place = len(sample) if len(sample) < SAMPLE else self._random.randrange(self.dropped[reason])
        if place < SAMPLE:
            shown = {"head": edge.head, "relation": edge.relation, "tail": edge.tail}
            sample[place : place + 1] = [
                {"reason": reason, **shown, "source": printable(str(source)), "line": edge.line}
            ]
