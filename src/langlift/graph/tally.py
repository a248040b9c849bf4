"""What a pass over the sources counts: rows, and damaged rows with their place."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from langlift.data_folder import SAMPLE, printable
from langlift.errors import InputError


class Edge(NamedTuple):
    """One triple read from line ``line`` of a source; languages as ConceptNet names them."""

    line: int
    head: str
    head_language: str
    relation: str
    tail: str
    tail_language: str
    weight: float
    licence: str | None = None


class Damage(NamedTuple):
    """A row that cannot be read, and why."""

    line: int
    reason: str


class Tally:
    """Counts over all sources of a build.

    The damaged rows are counted in ``damaged``, the first 20 named in ``damaged_rows``. With ``strict`` the first
    one is an error.
    """

    def __init__(self, strict: bool = False) -> None:
        self.rows = self.damaged = 0
        self.damaged_rows: list[dict[str, Any]] = []
        self._strict = strict

    def damage(self, source: Path, line: int, reason: str) -> None:
        """Count a damaged row.

        Raises:
            InputError: naming the row, when the tally is strict.
        """
        self.damages(source, [Damage(line, reason)], 1)

    def damages(self, source: Path, first: Iterable[Damage], count: int) -> None:
        """Count ``count`` damaged rows, of which the ``first`` are given.

        Raises:
            InputError: naming the first, when there is one and the tally is strict.
        """
        self.damaged += count
        for line, reason in first:
            if self._strict:
                raise InputError(
                    f"{source}:{line}: {printable(reason)}",
                    "mend the row, or leave --strict out to skip such rows",
                )
            if len(self.damaged_rows) < SAMPLE:
                row = {"source": printable(str(source)), "line": line, "reason": printable(reason)}
                self.damaged_rows.append(row)
