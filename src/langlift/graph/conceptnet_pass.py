"""One pass over ConceptNet's dump, in memory that does not grow with the file.

Python cuts the file into blocks of rows and checks the form of every row (columns, UTF-8, NUL). DuckDB reads the
rows that are plain: NFC, single spaces, valid JSON. The others are left to ``conceptnet.edge_of_row``, which knows
what is wrong with a row.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv as pc

from langlift.graph.conceptnet import (
    EXTERNAL,
    LONGEST_LICENCE,
    LONGEST_TERM,
    NOT_STATED,
    edge_of_row,
    language_of_node,
)
from langlift.graph.parts import SCHEMA, PartCounts, Parts, edge_table
from langlift.graph.source_files import SourceFile
from langlift.graph.tally import Damage, Tally

Item = TypeVar("Item")
Answer = TypeVar("Answer")

COLUMNS = ("uri", "relation", "start", "end", "metadata")
NOT_SEPARATORS = bytes(byte for byte in range(256) if byte not in b"\t\n\0")
ROW_SEPARATORS = b"\t\t\t\t\n"
NOT_PLAIN = (
    r"^ |  | $|[\t-\r\x1c-\x1f\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]"
)
"""White space that ``clean_term`` would change."""
PLAIN_CHARACTERS = (
    r"!-.0-^`-~\x{c0}-\x{2ff}\x{388}-\x{3ff}\x{400}-\x{482}\x{48a}-\x{52f}\x{531}-\x{587}\x{5d0}-\x{5ea}"
    r"\x{620}-\x{64a}\x{671}-\x{6d3}\x{10a0}-\x{10ff}\x{1200}-\x{135a}\x{3041}-\x{3096}\x{30a1}-\x{30fc}"
    r"\x{3400}-\x{9fff}\x{ac00}-\x{d7a3}"
)
"""Characters that are NFC in whatever company: Latin, Greek, Arabic, Chinese and more; not ``/`` and ``_``."""
PLAIN_NODE = f"/c/[a-z]{{2,3}}(/[{PLAIN_CHARACTERS}]+(_[{PLAIN_CHARACTERS}]+)*)+"
"""A node that needs no closer look, in whatever segment the term stands: most of them, and this is quicker."""


@dataclass(frozen=True)
class Rows:
    """The rows of a block: ``data`` has those of five columns, which have the numbers ``lines``.

    ``odd`` rows hold carriage returns; ``count`` is how many rows there are in the block, with those left out.
    """

    first: int
    count: int
    lines: np.ndarray
    data: bytes
    odd: list[tuple[int, bytes]]
    damaged: list[Damage]


def read_conceptnet(
    file: SourceFile,
    source: int,
    parts: Parts,
    tally: Tally,
    codes: Sequence[str] | None,
    either_end: bool = False,
    term: str = "third_segment",
    threads: int = 1,
) -> None:
    """Write the edges whose start (or, with ``either_end``, start or end) is in a language into parts.

    ``codes`` are the languages' in ConceptNet; None means all edges. Only rows of the languages are checked for
    their content. Parts that are there already are not read again.

    Raises:
        InputError: the file cannot be read to its end; or a row is damaged and the tally strict.
    """
    with duckdb.connect(config={"threads": 1}) as connection:
        reader = _Reader(connection, codes, either_end, term)

        def work(rows: Rows) -> PartCounts:
            counts = parts.counts(source, rows.first)
            if counts is None:
                table, damaged = reader.read(rows)
                counts = PartCounts.of(rows.count, damaged)
                parts.write(source, rows.first, table, counts)
            return counts

        for counts in _in_order(work, _rows(file, codes), threads):
            tally.rows += counts.rows
            tally.damages(file.path, counts.first, counts.damaged)


class _Reader:
    """Turns rows into a table of edges; used by several threads at once."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, codes: Sequence[str] | None, either_end: bool, term: str
    ) -> None:
        self._connection, self._term, self._either_end = connection, term, either_end
        self._wanted = None if codes is None else frozenset(codes)
        self._query = _query(codes, either_end, term)

    def read(self, rows: Rows) -> tuple[pa.Table, list[Damage]]:
        """The edges, in no particular order, and the damaged rows."""
        dump = _columns(rows.data).append_column("line", pa.array(rows.lines))
        with self._connection.cursor() as cursor:
            cursor.register("dump", dump)
            found = cursor.sql(self._query).to_arrow_table()
        plain = found["plain"]
        left = np.searchsorted(rows.lines, found.filter(pa.compute.invert(plain))["line"].to_numpy())
        odd = [(row.pop("line"), list(row.values())) for row in dump.take(left).to_pylist()]
        for line, row in rows.odd:
            fields = row.decode("utf-8").split("\t")
            if self._is_wanted(fields):
                odd.append((line, fields))
        edges, damaged = [], list(rows.damaged)
        for line, fields in odd:
            try:
                edges.append(edge_of_row(line, fields, self._term))
            except ValueError as error:
                damaged.append(Damage(line, str(error)))
        table = found.filter(plain).drop_columns("plain").cast(SCHEMA)
        return (pa.concat_tables([table, edge_table(edges)]) if edges else table), damaged

    def _is_wanted(self, fields: Sequence[str]) -> bool:
        nodes = fields[2:4] if self._either_end else fields[2:3]
        return self._wanted is None or any(language_of_node(node) in self._wanted for node in nodes)


def _query(codes: Sequence[str] | None, either_end: bool, term: str) -> str:
    """SQL over ``dump``: the columns of an edge, and whether the row is plain, so that they can be trusted."""
    segment = 4 if term == "third_segment" else -1
    names = ", ".join(f"'{code}'" for code in codes or ())
    wanted = "true" if codes is None else f"head_language IN ({names})"
    if either_end and codes is not None:
        wanted += f" OR tail_language IN ({names})"

    def node(column: str) -> str:
        return (
            f"CASE WHEN starts_with({column}, '/c/') THEN split_part({column}, '/', 3) ELSE '' END AS "
            f"{'head' if column == 'start' else 'tail'}_language, "
            f"replace(split_part({column}, '/', {segment}), '_', ' ') AS "
            f"{'head' if column == 'start' else 'tail'}"
        )

    def is_plain(column: str, name: str) -> str:
        return (
            f"CASE WHEN regexp_full_match({column}, '{PLAIN_NODE}') THEN true "
            f"ELSE regexp_full_match({column}, '/c/[a-z]{{2,3}}/[^/]+(/.*)?') AND {name} <> '' "
            f"AND NOT regexp_matches({name}, '{NOT_PLAIN}') AND nfc_normalize({name}) = {name} END "
            f"AND strlen({column}) <= {LONGEST_TERM}"
        )

    return f"""
        WITH nodes AS (
            SELECT *, {node("start")}, {node('"end"')}, relation = '/r/{EXTERNAL}' AS external FROM dump
        ), stated AS (
            SELECT *, CASE WHEN NOT external AND starts_with(metadata, '{{') AND json_valid(metadata)
                THEN json_extract_string(metadata, ['$.license', '$.weight']) END AS facts
            FROM nodes WHERE {wanted}
        )
        SELECT line, CASE WHEN external THEN start ELSE head END AS head, head_language,
            substr(relation, 4) AS relation, CASE WHEN external THEN "end" ELSE tail END AS tail,
            CASE WHEN external THEN '' ELSE tail_language END AS tail_language,
            CASE WHEN external THEN 1.0 ELSE TRY_CAST(facts[2] AS DOUBLE) END AS weight,
            CASE WHEN NOT external THEN left(coalesce(facts[1], '{NOT_STATED}'), {LONGEST_LICENCE}) END AS licence,
            coalesce(CASE WHEN external THEN head_language <> '' ELSE
                starts_with(uri, '/a/') AND starts_with(relation, '/r/') AND strlen(relation) > 3
                AND isfinite(TRY_CAST(facts[2] AS DOUBLE))
                AND {is_plain("start", "head")} AND {is_plain('"end"', "tail")} END, false) AS plain
        FROM stated"""


def _columns(data: bytes) -> pa.Table:
    """The five columns of rows that end in LF and hold no carriage return."""
    if not data:
        return pa.table({name: pa.array([], pa.string()) for name in COLUMNS})
    return pc.read_csv(
        pa.py_buffer(data),
        pc.ReadOptions(use_threads=False, column_names=list(COLUMNS), block_size=max(len(data), 1)),
        pc.ParseOptions(delimiter="\t", quote_char=False, double_quote=False, ignore_empty_lines=False),
        pc.ConvertOptions(column_types={name: pa.string() for name in COLUMNS}, check_utf8=False),
    )


def _rows(file: SourceFile, codes: Sequence[str] | None) -> Iterator[Rows]:
    """The rows of each block; of languages, those that name one of them.

    A block is checked as a whole (tabs and line ends must alternate as they should). What is wrong in one that
    fails is cut out of it, and so are, where languages are asked for, the rows that name none of them.
    """
    names = codes and re.compile(
        rb"\t/c/(?:" + b"|".join(re.escape(code).encode() for code in codes) + rb")(?=[/\t\n])"
    )
    for first, block in file.blocks():
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
        odd: list[tuple[int, bytes]] = []
        damaged: list[Damage] = []
        count = block.count(b"\n")
        pieces = [(first, block)]
        if b"\r" in block or not _is_regular(block):
            pieces, suspects = _sort_out(first, block)
            for line, text in suspects:
                row = text.rstrip(b"\r")
                if not row:
                    count -= 1
                elif (reason := _damage(row)) is not None:
                    damaged.append(Damage(line, reason))
                elif not names or names.search(row + b"\n"):
                    odd.append((line, row))
        cut = [_cut(line, piece, names) if names else _all(line, piece) for line, piece in pieces]
        lines = np.concatenate([numbers for numbers, _ in cut]) if cut else np.empty(0, np.int64)
        yield Rows(first, count, lines, b"".join(data for _, data in cut), odd, damaged)


def _all(first: int, piece: bytes) -> tuple[np.ndarray, bytes]:
    """All rows with their numbers."""
    return np.arange(first, first + piece.count(b"\n")), piece


def _cut(first: int, piece: bytes, names: re.Pattern[bytes]) -> tuple[np.ndarray, bytes]:
    """Numbers and bytes of the rows that name a language."""
    lines: list[int] = []
    rows: list[bytes] = []
    line, position = first, 0
    for match in names.finditer(piece):
        if match.start() < position:
            continue
        begin = piece.rfind(b"\n", position, match.start()) + 1 or position
        end = piece.index(b"\n", match.end()) + 1
        line += piece.count(b"\n", position, begin)
        lines.append(line)
        rows.append(piece[begin:end])
        line, position = line + 1, end
    return np.array(lines, np.int64), b"".join(rows)


def _sort_out(first: int, block: bytes) -> tuple[list[tuple[int, bytes]], list[tuple[int, bytes]]]:
    """Stretches of regular rows, each with the number of its first, and all other rows with their numbers."""
    characters = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(characters == ord("\n")) + 1
    begins = np.concatenate(([0], ends[:-1]))
    tabs = np.searchsorted(np.flatnonzero(characters == ord("\t")), ends)
    suspect = np.diff(tabs, prepend=0) != len(COLUMNS) - 1
    for character in (c for c in b"\0\r" if c in block):
        suspect[np.searchsorted(ends, np.flatnonzero(characters == character), side="right")] = True
    if not _is_utf8(block):
        for row, (begin, end) in enumerate(zip(begins.tolist(), ends.tolist(), strict=True)):
            suspect[row] |= not _is_utf8(block[begin:end])
    rows = np.flatnonzero(suspect)
    suspects = [(first + int(row), block[begins[row] : ends[row] - 1]) for row in rows]
    edges = [-1, *rows.tolist(), len(ends)]
    pieces = [
        (first + before + 1, block[begins[before + 1] : ends[after - 1]])
        for before, after in pairwise(edges)
        if after > before + 1
    ]
    return pieces, suspects


def _damage(row: bytes) -> str | None:
    """What is wrong with the form of a row, None if nothing is."""
    columns = row.count(b"\t") + 1
    if b"\0" in row:
        return "a NUL byte"
    if columns != len(COLUMNS):
        return f"{columns} column{'s' * (columns > 1)}, not {len(COLUMNS)}"
    return None if _is_utf8(row) else "not valid UTF-8"


def _is_regular(block: bytes) -> bool:
    """Whether every line of a block has five columns, valid UTF-8 and no NUL."""
    separators = block.translate(None, NOT_SEPARATORS)
    return separators == ROW_SEPARATORS * (len(separators) // 5) and _is_utf8(block)


def _is_utf8(data: bytes) -> bool:
    # Arrow checks several times as fast as Python decodes.
    try:
        pa.array([data], pa.large_binary()).cast(pa.large_string())
    except pa.ArrowInvalid:
        return False
    return True


def _in_order(work: Callable[[Item], Answer], items: Iterable[Item], threads: int) -> Iterator[Answer]:
    """``work`` done by threads, the answers in the order of the items; few items are held at a time."""
    if threads == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
