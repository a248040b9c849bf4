"""What a pass has read, on disk: Parquet files of edges, each with the counts of the rows that it comes from.

A part is written whole or not at all, so that a pass that was stopped goes on after the parts it finds.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from langlift.data_folder import SAMPLE
from langlift.graph.tally import Damage, Edge

FIELDS = {
    "line": pa.int64(),
    "head": pa.string(),
    "head_language": pa.string(),
    "relation": pa.string(),
    "tail": pa.string(),
    "tail_language": pa.string(),
    "weight": pa.float64(),
    "licence": pa.string(),
}
SCHEMA = pa.schema(list(FIELDS.items()))
"""The columns of a part: those of ``Edge``, and the number of the source."""
COUNTS = b"counts"
EDGES_A_PART = 50_000


@dataclass(frozen=True)
class PartCounts:
    """Of the rows behind a part: how many there are, how many are damaged, and the first 20 of those."""

    rows: int
    damaged: int
    first: Sequence[Damage]

    @classmethod
    def of(cls, rows: int, damaged: Sequence[Damage]) -> "PartCounts":
        """From all damaged rows, in any order."""
        return cls(rows, len(damaged), sorted(damaged)[:SAMPLE])


class Parts:
    """A folder of parts; a part is known by its source's number and its first line."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    @property
    def pattern(self) -> str:
        """What all parts are called, as a pattern of paths."""
        return str(self._folder / "*.parquet")

    def counts(self, source: int, line: int) -> PartCounts | None:
        """The counts of a part, None where there is no such part yet."""
        try:
            metadata = pq.read_schema(self._path(source, line)).metadata
        except FileNotFoundError:
            return None
        stored = json.loads(metadata[COUNTS])
        return PartCounts(stored["rows"], stored["damaged"], [Damage(*row) for row in stored["first"]])

    def write(self, source: int, line: int, table: pa.Table, counts: PartCounts) -> None:
        """Write a part; the columns of ``table`` are those of ``SCHEMA``."""
        table = table.append_column("source", pa.repeat(pa.scalar(source, pa.int32()), len(table)))
        table = table.replace_schema_metadata({COUNTS: json.dumps(asdict(counts))})
        path = self._path(source, line)
        staged = path.with_suffix(".writing")
        pq.write_table(table, staged, compression="lz4")
        staged.replace(path)

    def write_edges(self, source: int, edges: Iterable[Edge]) -> None:
        """Write edges that come one by one; their counts are kept elsewhere."""
        edges = iter(edges)
        nothing = PartCounts(0, 0, [])
        self.write(source, 0, edge_table([]), nothing)
        while some := list(islice(edges, EDGES_A_PART)):
            self.write(source, some[0].line, edge_table(some), nothing)

    def _path(self, source: int, line: int) -> Path:
        return self._folder / f"{source:04d}-{line:012d}.parquet"


def edge_table(edges: Sequence[Edge]) -> pa.Table:
    """Edges as a table."""
    columns = zip(*edges, strict=True) if edges else [()] * len(SCHEMA)
    return pa.table([pa.array(values, kind) for values, kind in zip(columns, SCHEMA.types, strict=True)], SCHEMA)
