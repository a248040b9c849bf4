"""What a build counts on its way: rows read, edges dropped by reason, damaged rows with their place."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from langlift.data_folder import SAMPLE, Samples, printable
from langlift.errors import InputError

MOST_NAMES = 1000


def count_name(counter: Counter[str], name: str) -> None:
    """Add one to ``name``; beyond 1,000 names, which only free text for names gives, to ``(others)``."""
    name = printable(name)
    counter[name if name in counter or len(counter) < MOST_NAMES else "(others)"] += 1


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

    ``dropped`` has a count for each reason and ``samples`` random edges of it; the damaged rows are counted in
    ``damaged``, the first 20 named in ``damaged_rows``. With ``strict`` the first one is an error.
    """

    def __init__(self, strict: bool = False, seed: int = 0) -> None:
        self.rows = self.damaged = 0
        self.dropped: Counter[str] = Counter()
        self.unknown_relations: Counter[str] = Counter()
        self.licences: Counter[str] = Counter()
        self.damaged_rows: list[dict[str, Any]] = []
        self.samples = Samples(seed)
        self._strict = strict

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
        """Count an edge that is left out on purpose, and perhaps keep it as a sample."""
        self.dropped[reason] += 1
        shown = {"head": edge.head, "relation": edge.relation, "tail": edge.tail}
        self.samples.offer(
            reason, {"reason": reason, **shown, "source": printable(str(source)), "line": edge.line}
        )
