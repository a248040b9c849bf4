"""Edges on disk: DuckDB removes duplicates and chooses splits, in memory that does not grow with their number."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import duckdb

from langlift.graph.tally import Edge

MEMORY_LIMIT = "512MB"
"""Of the database; what does not fit goes to disk, beside the data folder."""
HELD_OUT_SHARE = 0.1
"""Of the sentences, for dev and for test each."""
ROWS_AT_ONCE = 10_000
COLUMNS = {
    "source": "INTEGER",
    "line": "BIGINT",
    "head": "VARCHAR",
    "head_language": "VARCHAR",
    "relation": "VARCHAR",
    "tail": "VARCHAR",
    "tail_language": "VARCHAR",
    "weight": "DOUBLE",
}
FIELDS = ", ".join(COLUMNS)


class StoredEdge(NamedTuple):
    """An edge, the number of its source, and the split it stands in."""

    split: str
    source: int
    edge: Edge


class EdgeStore:
    """Takes edges one by one (``add``), then removes duplicates, splits, and gives them back, in that order.

    What it writes stands in ``folder``, which must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._rows = folder / "edges.tsv"
        self._writer = self._rows.open("w", encoding="utf-8", newline="")
        self._database = duckdb.connect(
            str(folder / "edges.duckdb"),
            config={
                "memory_limit": MEMORY_LIMIT,
                "temp_directory": str(folder / "spill"),
                "threads": min(4, os.cpu_count() or 1),
                "preserve_insertion_order": False,
            },
        )
        self._database.execute("SET enable_progress_bar = false")

    def __enter__(self) -> "EdgeStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.close()
        self._database.close()

    def add(self, source: int, edge: Edge) -> None:
        """Take an edge of the source with that number."""
        self._writer.write("\t".join((str(source), *map(str, edge))) + "\n")

    def remove_duplicates(self, keep: bool = False) -> tuple[int, int, list[tuple[int, Edge]]]:
        """Keep one edge of those with the same head, relation and tail: the heaviest, of equals the first.

        With ``keep`` all stay. Returns how many are left, how many were removed, and at most 20 of those.
        """
        self._writer.close()
        types = ", ".join(f"'{name}': '{kind}'" for name, kind in COLUMNS.items())
        # Terms hold no tab, line end or NUL, so nothing in them can be taken for syntax.
        self._run(
            "CREATE TABLE ranked AS SELECT *, row_number() OVER ("
            "PARTITION BY head, relation, tail ORDER BY weight DESC, source, line) AS place "
            f"FROM read_csv(?, columns = {{{types}}}, auto_detect = false, header = false, delim = '\t', "
            "quote = '', escape = '', comment = '')",
            str(self._rows),
        )
        self._rows.unlink()
        first = "true" if keep else "place = 1"
        self._run(f"CREATE TABLE edges AS SELECT {FIELDS} FROM ranked WHERE {first}")
        removed = self._run(
            f"SELECT {FIELDS} FROM ranked WHERE NOT {first} ORDER BY md5(head || tail), source, line LIMIT 20"
        ).fetchall()
        left, all_ = self._number("SELECT count(*) FROM edges"), self._number("SELECT count(*) FROM ranked")
        self._run("DROP TABLE ranked")
        return left, all_ - left, [(source, Edge(*fields)) for source, *fields in removed]

    def split(self, by_sentence: bool, seed: int) -> None:
        """Give each edge a split, 80/10/10 as nearly as the groups allow.

        A group is a start concept with all its edges. Where two concepts are linked both ways, each is the start
        of one of the edges, so their groups are joined. Groups are drawn in an order that depends on the seed; one
        with more than a tenth of all edges goes to train. ``by_sentence`` makes every sentence a group of its own.
        """
        if by_sentence:
            self._run("CREATE TABLE joined (concept VARCHAR, name VARCHAR)")
            key = "source || ' ' || line"
        else:
            self._join_reciprocal()
            key = "coalesce(name, head)"
        self._run(
            f"CREATE TABLE grouped AS SELECT edges.*, {key} AS name FROM edges LEFT JOIN joined ON head = concept"
        )
        share = max(1, round(HELD_OUT_SHARE * self._number("SELECT count(*) FROM edges")))
        self._run(
            "CREATE TABLE splits AS SELECT name, "
            "CASE WHEN size > $share THEN 'train' WHEN total <= $share THEN 'dev' "
            "WHEN total <= 2 * $share THEN 'test' ELSE 'train' END AS split FROM (SELECT name, size, "
            "sum(size) FILTER (size <= $share) OVER (ORDER BY md5($seed || name), name) AS total "
            "FROM (SELECT name, count(*) AS size FROM grouped GROUP BY name))",
            {"share": share, "seed": f"{seed} "},
        )

    def largest_group(self) -> int:
        """How many edges the largest group has."""
        return self._number("SELECT max(size) FROM (SELECT count(*) AS size FROM grouped GROUP BY name)")

    def edges(self) -> Iterator[StoredEdge]:
        """All edges with their splits, in the order in which they were read."""
        rows = self._run(f"SELECT split, {FIELDS} FROM grouped JOIN splits USING (name) ORDER BY source, line")
        while batch := rows.fetchmany(ROWS_AT_ONCE):
            for split, source, *fields in batch:
                yield StoredEdge(split, source, Edge(*fields))

    def _join_reciprocal(self) -> None:
        """Fill ``joined``: concepts that are linked both ways, and the name of the group that each is in."""
        import numpy as np
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        self._run(
            "CREATE TABLE pairs AS SELECT DISTINCT head, tail FROM edges AS ahead WHERE head < tail AND EXISTS "
            "(SELECT 1 FROM edges AS back WHERE back.head = ahead.tail AND back.tail = ahead.head)"
        )
        self._run(
            "CREATE TABLE nodes AS SELECT concept, row_number() OVER (ORDER BY concept) - 1 AS node "
            "FROM (SELECT head AS concept FROM pairs UNION SELECT tail FROM pairs)"
        )
        ends = self._run(
            "SELECT a.node AS one, b.node AS other FROM pairs JOIN nodes AS a ON head = a.concept "
            "JOIN nodes AS b ON tail = b.concept"
        ).fetchnumpy()
        count = self._number("SELECT count(*) FROM nodes")
        links = coo_array((np.ones(len(ends["one"]), np.int8), (ends["one"], ends["other"])), shape=(count, count))
        _, labels = connected_components(links, directed=False)
        components = {"node": np.arange(count), "label": labels}
        self._database.register("components", components)
        self._run(
            "CREATE TABLE joined AS SELECT concept, min(concept) OVER (PARTITION BY label) AS name "
            "FROM nodes JOIN components USING (node)"
        )

    def _run(self, query: str, parameters: Any = None) -> duckdb.DuckDBPyConnection:
        if isinstance(parameters, str):
            parameters = [parameters]
        return self._database.execute(query, parameters)

    def _number(self, query: str) -> int:
        # Fetched to the end: a result that is still open would block the next query.
        [(number,)] = self._run(query).fetchall()
        return int(number or 0)
