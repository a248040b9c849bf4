"""Reads ConceptNet's dump in blocks of rows, in memory that does not grow with the file.

Python checks the form of every row (columns, UTF-8, NUL). DuckDB reads the plain ones (NFC, single spaces, valid
JSON); all others go to ``conceptnet.edge_of_row``, which defines what a row means.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import duckdb
import numpy as np
import pyarrow as pa

from langlift.data_folder import SAMPLE
from langlift.graph.conceptnet import EXTERNAL, LONGEST_LICENCE, LONGEST_TERM, NOT_STATED, edge_of_row
from langlift.graph.edge_store import EdgeStore, edge_table
from langlift.graph.source_files import Counts, Edge, SourceFile, Tally

COLUMNS = 5
PLAIN_NODE = r"/c/[a-z]{2,3}(?:/[^/_\pZ\p{Cc}]+(?:_[^/_\pZ\p{Cc}]+)*)+"
"""A node whose white space ``clean_term`` would not change, whichever segment is the term."""
PLAIN_ROW = rf"^/a/[^\t]*\t/r/[^\t]+\t{PLAIN_NODE}\t{PLAIN_NODE}\t"


def read_conceptnet(
    file: SourceFile,
    source: int,
    store: EdgeStore,
    tally: Tally,
    codes: Sequence[str] | None,
    either_end: bool = False,
    term: str = "third_segment",
) -> None:
    """Store the edges whose start (or, with ``either_end``, start or end) is in a language.

    ``codes`` are what ConceptNet calls the languages; None means all edges. The form of every row is checked, its
    content only in rows of the languages. Blocks that are stored already are not parsed again. InputError if the
    file cannot be read to its end, or a row is damaged and the tally strict.
    """
    query = _query(codes, either_end, term)

    def work(first: int, block: bytes) -> Counts:
        counts = store.counts(source, first)
        if counts is None:
            with store.cursor() as cursor:
                table, counts = _read_block(first, block, cursor, query, term)
            store.add(source, first, table, counts)
        return counts

    waiting: deque[Future[Counts]] = deque()
    with ThreadPoolExecutor(store.threads) as pool:
        for first, block in file.blocks():
            waiting.append(pool.submit(work, first, block))
            if len(waiting) >= 2 * store.threads - 1:  # one thread does not read ahead
                tally.add(file.path, waiting.popleft().result())
        while waiting:
            tally.add(file.path, waiting.popleft().result())


def _read_block(
    first: int, block: bytes, cursor: duckdb.DuckDBPyConnection, query: str, term: str
) -> tuple[pa.Table, Counts]:
    """The edges of a block, in no particular order, and its counts."""
    rows, count, damaged = _rows(first, block)
    cursor.register("dump", rows)
    found = cursor.sql(query).to_arrow_table()
    plain = found["row"].is_null()
    others = found.filter(pa.compute.invert(plain))
    edges: list[Edge] = []
    for line, row in zip(others["line"].to_pylist(), others["row"].to_pylist(), strict=True):
        try:
            edges.append(edge_of_row(line, row.removesuffix("\n").split("\t"), term))
        except ValueError as error:
            damaged.append((line, str(error)))
    table = pa.concat_tables([found.filter(plain).drop_columns("row"), edge_table(edges)])
    return table, Counts(count, len(damaged), sorted(damaged)[:SAMPLE])


def _rows(first: int, block: bytes) -> tuple[pa.Table, int, list[tuple[int, str]]]:
    """The rows of a block whose form is right; the number of all, without empty lines; the damaged ones."""
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
    characters = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(characters == ord("\n")) + 1
    begins = np.concatenate(([0], ends)).astype(np.int32)
    # The rows stay where they are: nothing is copied.
    rows = pa.Array.from_buffers(pa.string(), len(ends), [None, pa.py_buffer(begins), pa.py_buffer(block)])
    suspects: Iterable[int] = range(len(ends))
    with suppress(pa.ArrowInvalid):  # not UTF-8
        rows.validate(full=True)
        if b"\0" not in block:
            tabs = np.searchsorted(np.flatnonzero(characters == ord("\t")), begins)
            suspects = np.flatnonzero(np.diff(tabs) != COLUMNS - 1).tolist()
    reasons = {row: _damage(block[begins[row] : ends[row] - 1]) for row in suspects}
    wrong = [row for row, reason in reasons.items() if reason is not None]
    table = pa.table({"line": np.arange(first, first + len(ends)), "row": rows})
    if wrong:
        table = table.filter(pa.array(~np.isin(np.arange(len(ends)), wrong)))
    damaged = [(first + row, reason) for row, reason in reasons.items() if reason]
    return table, len(ends) - list(reasons.values()).count(""), damaged


def _damage(row: bytes) -> str | None:
    """What is wrong with the form of a row; None if it is valid, empty for an empty line."""
    columns = row.count(b"\t") + 1
    if b"\0" in row:
        return "a NUL byte"
    if columns != COLUMNS:
        return f"{columns} column{'s' * (columns > 1)}, not {COLUMNS}" if row.strip(b"\r") else ""
    try:
        row.decode()
    except UnicodeDecodeError:
        return "not valid UTF-8"
    return None


def _query(codes: Sequence[str] | None, either_end: bool, term: str) -> str:
    """SQL over ``dump``: the columns of an edge, and ``row`` where the row is not plain and they mean nothing."""
    segment = 4 if term == "third_segment" else -1
    named = wanted = "true"
    if codes is not None:
        named = " OR ".join(f"contains(row, '\t/c/{code}')" for code in codes)  # cheaper than to split all rows
        names = ", ".join(f"'{code}'" for code in codes)
        wanted = f"head_language IN ({names})" + f" OR tail_language IN ({names})" * either_end

    def node(column: str, name: str) -> str:
        return (
            f"CASE WHEN starts_with({column}, '/c/') THEN split_part({column}, '/', 3) ELSE '' END "
            f"AS {name}_language, replace(split_part({column}, '/', {segment}), '_', ' ') AS {name}"
        )

    return f"""
        WITH fields AS (
            SELECT line, row, string_split(row, '\t') AS field FROM dump WHERE {named}
        ), nodes AS (
            SELECT *, {node("field[3]", "head")}, {node("field[4]", "tail")},
                field[2] = '/r/{EXTERNAL}' AND head_language <> '' AS external
            FROM fields
        ), facts AS (
            SELECT *, TRY(json_extract_string(field[5], ['$.license', '$.weight'])) AS fact
            FROM nodes WHERE {wanted}
        )
        SELECT line, if(external, field[3], head) AS head, head_language, substr(field[2], 4) AS relation,
            if(external, field[4], tail) AS tail, if(external, '', tail_language) AS tail_language,
            if(external, 1.0, TRY_CAST(fact[2] AS DOUBLE)) AS weight,
            if(external, NULL, left(coalesce(fact[1], '{NOT_STATED}'), {LONGEST_LICENCE})) AS licence,
            CASE WHEN external THEN NULL WHEN regexp_matches(row, '{PLAIN_ROW}')
                AND strlen(field[3]) <= {LONGEST_TERM} AND strlen(field[4]) <= {LONGEST_TERM}
                AND nfc_normalize(head) = head AND nfc_normalize(tail) = tail
                AND field[2] <> '/r/{EXTERNAL}' AND isfinite(weight) THEN NULL ELSE row END AS row
        FROM facts"""
