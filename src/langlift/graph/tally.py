"""Edges as they are read, and the counts of rows and damaged rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from langlift.data_folder import SAMPLE
from langlift.errors import InputError, printable


class Edge(NamedTuple):
    """One triple, read from line ``line`` of a source; languages are named as the source names them."""

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


class Counts(NamedTuple):
    """The number of rows in a block, the number of damaged ones, and the first 20 of these."""

    rows: int
    damaged: int = 0
    first: Sequence[Damage] = ()


class Tally:
    """Counts over all sources of a build; ``damaged_rows`` are the first 20 damaged rows."""

    def __init__(self, strict: bool = False) -> None:
        self.rows = self.damaged = 0
        self.damaged_rows: list[dict[str, Any]] = []
        self._strict = strict

    def add(self, source: Path, counts: Counts) -> None:
        """Add the counts of a block; InputError if a row is damaged, and the tally is strict."""
        self.rows += counts.rows
        self.damaged += counts.damaged
        for line, reason in counts.first:
            if self._strict:
                raise InputError(
                    f"{source}:{line}: {printable(reason)}", "fix the row, or leave out --strict to skip such rows"
                )
            if len(self.damaged_rows) < SAMPLE:
                row = {"source": printable(str(source)), "line": line, "reason": printable(reason)}
                self.damaged_rows.append(row)

    def damage(self, source: Path, line: int, reason: str) -> None:
        """Count a damaged row; raises as ``add`` does."""
        self.add(source, Counts(1, 1, [Damage(line, reason)]))

    def first_damage(self) -> str:
        """The first damaged row in brackets, for a message; empty if there is none."""
        return " (the first: {source}:{line}: {reason})".format(**self.damaged_rows[0]) if self.damaged else ""
