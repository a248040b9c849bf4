"""Edges in a DuckDB file: stored block by block, then deduplicated, corrupted, split and turned into sentences.

Memory is bounded. Each query processes all languages that are prepared together, so that many small ones cost
little more than one.
"""

import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from langlift.data_folder import SAMPLE, SPLITS
from langlift.errors import LangliftError, printable
from langlift.graph.conceptnet import EXTERNAL
from langlift.graph.plan import Plan
from langlift.graph.sentence_templates import Template, own_words
from langlift.graph.source_files import Counts, Edge

NUMBERS = {"line": pa.int64(), "weight": pa.float64()}
SCHEMA = pa.schema({name: NUMBERS.get(name, pa.string()) for name in Edge._fields})
"""The columns of stored edges, after the number of the source."""
MEMORY_LIMIT = "512MB"
"""The memory limit of the database; what does not fit goes to disk."""
MAX_THREADS = 4
EDGES_AT_ONCE = 50_000
SENTENCES_AT_ONCE = 20_000
HELD_OUT_SHARE = 0.1
"""Share of the sentences in dev, and in test."""
MAX_NAMES = 1000
"""Maximum number of names that are counted individually; only free text as names exceeds it."""
TAILS_TRIED = 8
COUNTED = {
    "relations": ("relation", "reason IS NULL"),
    "heads": ("head_language", "reason IS NULL"),
    "tails": ("tail_language", "reason IS NULL"),
    "licences": ("licence", "licence IS NOT NULL"),
    "dropped": ("reason", "reason IS NOT NULL"),
    "unknown_relations": ("relation", "reason = 'unknown_relation'"),
    "noise": ("noise", "noise IS NOT NULL"),
}
"""What is counted by name for each language: a column of ``candidates``, and the rows."""


@dataclass(frozen=True)
class Prepared:
    """A language that is ready to be written.

    ``codes`` are its codes in ConceptNet. ``sizes`` are the numbers of sentences in train, dev and test,
    ``largest_group`` that of the largest group that must stay in one split. ``counts`` has the counts by name for
    each key of ``COUNTED``, most frequent first. ``dropped`` is a random sample of dropped edges, at most 20 for
    each reason.
    """

    codes: list[str]
    sizes: list[int]
    largest_group: int
    counts: dict[str, dict[str, int]]
    own_words: dict[str, str]
    dropped: list[dict[str, Any]]


@contextmanager
def open_store(folder: Path, plan: Plan, out: Path, threads: int | None = None) -> Iterator["EdgeStore"]:
    """The store in an existing folder; LangliftError naming ``out`` if the disk is full."""
    if threads is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = min(MAX_THREADS, cores)
    try:
        with duckdb.connect(
            str(folder / "edges.duckdb"),
            config={"memory_limit": MEMORY_LIMIT, "temp_directory": str(folder / "spill"), "threads": threads},
        ) as database:
            yield EdgeStore(database, plan, threads)
    except (duckdb.OperationalError, duckdb.FatalException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise LangliftError(f"{out}: cannot be written ({reason})", "check free space and permissions") from error


class EdgeStore:
    """Stores edges (``add``), prepares languages (``prepare``) and returns their sentences (``lines``).

    Edges are added in blocks, each identified by its source's number and its first line. A block is stored with
    its counts in one transaction, so that an interrupted pass continues after the stored blocks.
    """

    def __init__(self, database: duckdb.DuckDBPyConnection, plan: Plan, threads: int) -> None:
        self.threads = threads
        self._database, self._plan = database, plan
        dumps = ", ".join(map(str, plan.numbers("conceptnet"))) or "NULL"
        self._in_dump = f"source IN ({dumps})"
        self._run("SET enable_progress_bar = false")
        self._run("PRAGMA disable_checkpoint_on_shutdown")  # most stores are deleted then
        self._run("CREATE TABLE IF NOT EXISTS blocks (source INTEGER, line BIGINT, counts VARCHAR)")
        database.register("no_edges", edge_table([]))
        self._run("CREATE TABLE IF NOT EXISTS edges AS SELECT 0 AS source, * FROM no_edges")

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection for another thread."""
        return self._database.cursor()

    def counts(self, source: int, line: int) -> Counts | None:
        """The counts of a block, or None if it is not stored yet."""
        with self.cursor() as cursor:
            query = "SELECT counts FROM blocks WHERE source = ? AND line = ?"
            found = cursor.execute(query, [source, line]).fetchone()
        return None if found is None else Counts(*json.loads(found[0]))

    def add(self, source: int, line: int, edges: pa.Table, counts: Counts) -> None:
        """Store a block; the columns of ``edges`` are those of ``SCHEMA``. Several threads may do so at once."""
        with self.cursor() as cursor:
            cursor.register("block", edges)
            cursor.execute("BEGIN")
            cursor.execute(f"INSERT INTO edges SELECT {source}, * FROM block")
            cursor.execute("INSERT INTO blocks VALUES (?, ?, ?)", [source, line, json.dumps(counts)])
            cursor.execute("COMMIT")

    def add_edges(self, source: int, edges: Iterable[Edge]) -> None:
        """Store edges that are counted elsewhere."""
        edges = iter(edges)
        while some := list(islice(edges, EDGES_AT_ONCE)):
            self.add(source, some[0].line, edge_table(some), Counts(0))

    def codes(self) -> dict[str, int]:
        """Number of edges that start (or, with ``ends: either``, end) in each language, largest first."""
        tails = f" UNION ALL SELECT tail_language FROM edges WHERE tail_language <> '' AND {self._in_dump}"
        heads = "SELECT head_language AS code FROM edges" + tails * (self._plan.recipe.ends == "either")
        return dict(self._rows(f"SELECT code, count(*) FROM ({heads}) GROUP BY code ORDER BY 2 DESC, 1"))

    def prepare(self, codes: Mapping[str, Collection[str]]) -> dict[str, Prepared]:
        """Remove duplicates, add noise and split; ``lines`` then returns the sentences.

        ``codes`` gives the codes of each language in the sources.
        """
        recipe = self._plan.recipe
        self._load(codes)
        own = self._add_templates()
        if recipe.duplicates == "drop":
            self._remove_duplicates()
        if recipe.noise:
            self._add_noise(recipe.noise)
        self._split(recipe.split == "by_sentence")
        sums = ", ".join(f"sum(if(split = {number}, size, 0))::BIGINT" for number in range(len(SPLITS)))
        sizes = self._by_language(f"SELECT language, max(size), {sums} FROM groups GROUP BY language")
        dropped = self._by_language(
            f"""SELECT language, reason, head, relation, tail, source, line FROM candidates
            WHERE reason IS NOT NULL QUALIFY row_number() OVER (
                PARTITION BY language, reason ORDER BY md5($seed || head || tail), source, line
            ) <= {SAMPLE} ORDER BY ALL""",
            {"seed": self._seed},
        )
        names = ("reason", "head", "relation", "tail", "source", "line")
        named = " UNION ALL ".join(
            f"SELECT language, '{what}' AS what, {column} AS name, count(*) AS count FROM candidates "
            f"WHERE {condition} GROUP BY ALL"
            for what, (column, condition) in COUNTED.items()
        )
        counted = self._by_language(
            f"""SELECT language, what, if(place <= {MAX_NAMES}, name, '(others)'), sum(count)::BIGINT FROM (
                SELECT *, row_number() OVER (PARTITION BY language, what ORDER BY count DESC, name) AS place
                FROM ({named})
            ) GROUP BY ALL ORDER BY min(place)"""
        )
        prepared = {}
        for language in codes:
            [[largest, *split_sizes]] = sizes.get(language, [[0] * (1 + len(SPLITS))])
            counts: dict[str, Counter[str]] = {what: Counter() for what in COUNTED}
            for what, name, count in counted.get(language, ()):
                counts[what][printable(name)] += count
            prepared[language] = Prepared(
                codes=[code for code in codes[language] if code != language],
                sizes=split_sizes,
                largest_group=largest,
                counts={what: dict(found) for what, found in counts.items()},
                own_words={name: own[name] for name in sorted(counts["relations"]) if name in own},
                dropped=[dict(zip(names, row, strict=True)) for row in dropped.get(language, ())],
            )
        return prepared

    def lines(self) -> Iterator[tuple[str, str, pa.Buffer]]:
        """The sentences as lines of JSON, in pieces (language, split, bytes).

        Languages follow one another, each with train, dev and test; within a split, sentences are in the order of
        the sources. In a build with noise, a sentence says whether it was corrupted.
        """
        noise = ", 'noise': noise" if self._plan.recipe.noise else ""
        query = f"""
            SELECT language || '/' || {list(SPLITS)}[split + 1] AS place, to_json({{
                'text': before || one || between_ || other || after_,
                'head': {{
                    'text': head, 'language': head_language, 'start': head_at, 'end': head_at + length(head)
                }},
                'relation': {{'name': relation, 'start': words_at, 'end': words_at + width}},
                'tail': {{
                    'text': tail, 'language': tail_language, 'start': tail_at, 'end': tail_at + length(tail)
                }},
                'weight': weight{noise}
            }})::VARCHAR || chr(10) AS sentence
            FROM (
                SELECT *, if(head_first, head, tail) AS one, if(head_first, tail, head) AS other,
                    length(before) AS one_at, one_at + length(one) + length(between_) AS other_at,
                    if(head_first, one_at, other_at) AS head_at, if(head_first, other_at, one_at) AS tail_at,
                    lead + CASE piece WHEN 0 THEN 0 WHEN 1 THEN one_at + length(one)
                        ELSE other_at + length(other) END AS words_at
                FROM (
                    SELECT * EXCLUDE (name, reason, licence, size)
                    FROM grouped JOIN groups USING (language, name) JOIN templates USING (relation)
                    ORDER BY language, split, source, line
                )
            )"""
        for batch in self._database.sql(query).to_arrow_reader(SENTENCES_AT_ONCE):
            runs = pa.compute.run_end_encode(batch["place"])
            offsets = pa.array([0, *runs.run_ends.to_pylist()], pa.int32())
            texts = pa.compute.binary_join(pa.ListArray.from_arrays(offsets, batch["sentence"]), "")
            for place, text in zip(runs.values, texts, strict=True):
                language, split = place.as_py().split("/")
                yield language, split, text.as_buffer()

    def _load(self, codes: Mapping[str, Collection[str]]) -> None:
        """Fill ``candidates``: the edges of the languages, with the reason if an edge is dropped.

        In ConceptNet's dumps a relation without a template is dropped; in other sources its name gives the words.
        """
        pairs = [(language, code) for language, names in codes.items() for code in names]
        self._table("wanted", language=[pair[0] for pair in pairs], code=[pair[1] for pair in pairs])
        edges = "SELECT language, edges.* FROM edges JOIN wanted ON head_language = code"
        if self._plan.recipe.ends == "either":
            edges += f"""
                UNION ALL SELECT language, edges.* FROM edges JOIN wanted ON tail_language = code
                WHERE {self._in_dump} AND (language, head_language) NOT IN (SELECT language, code FROM wanted)"""
        self._run(
            f"""CREATE OR REPLACE TEMP TABLE candidates AS SELECT *, CASE
                WHEN {self._in_dump} AND relation = '{EXTERNAL}' THEN 'external_url'
                WHEN {self._in_dump} AND relation NOT IN $known THEN 'unknown_relation'
                WHEN head = tail THEN 'self_loop' END AS reason, NULL::VARCHAR AS noise
            FROM ({edges})""",
            {"known": list(self._plan.templates)},
        )

    def _add_templates(self) -> dict[str, str]:
        """Fill ``templates`` for the candidates' relations; returns the words made from names."""
        missing = "SELECT DISTINCT relation FROM candidates WHERE reason IS NULL AND relation NOT IN $known"
        own = {name: own_words(name) for (name,) in self._rows(missing, {"known": list(self._plan.templates)})}
        templates = self._plan.templates | {name: Template.of_predicate(words) for name, words in own.items()}
        names = ("relation", "before", "between_", "after_", "head_first", "piece", "lead", "width")
        rows = [(name, *astuple(template), *template.words) for name, template in templates.items()]
        self._table("templates", **dict(zip(names, zip(*rows, strict=True), strict=True)))
        return {printable(name): printable(words) for name, words in own.items()}

    def _remove_duplicates(self) -> None:
        """Keep one edge of those with the same head, relation and tail: the first with the highest weight."""
        # Few edges share a hash, so few need to be sorted.
        self._run("""
            UPDATE candidates SET reason = 'duplicate' WHERE rowid IN (
                WITH repeated AS (
                    SELECT hash(language, head, relation, tail) AS key FROM candidates WHERE reason IS NULL
                    GROUP BY key HAVING count(*) > 1
                )
                SELECT rowid FROM candidates
                WHERE reason IS NULL AND hash(language, head, relation, tail) IN (SELECT key FROM repeated)
                QUALIFY row_number() OVER (
                    PARTITION BY language, head, relation, tail ORDER BY weight DESC, source, line
                ) > 1
            )""")

    def _add_noise(self, share: float) -> None:
        """Corrupt a share of each language's edges (arXiv 2502.10140, future work).

        Edges are put in a random order, and the first of them are corrupted: every second one has head and tail
        swapped, the others get the tail of one of the next edges in that order. Loops and edges that the graph has
        are avoided: a swap becomes a random tail, and an edge for which eight tails fail is ``unchanged``.
        """
        self._run(
            f"""
            CREATE OR REPLACE TEMP TABLE candidates AS
            WITH numbered AS MATERIALIZED (
                SELECT *, count(*) OVER (PARTITION BY language) AS total, row_number() OVER (
                    PARTITION BY language
                    ORDER BY md5($seed || head || ' ' || relation || ' ' || tail), source, line
                ) - 1 AS place
                FROM candidates WHERE reason IS NULL
            ), chosen AS (
                SELECT * FROM numbered WHERE place < round_even($share * total, 0)
            ), attempts AS (
                SELECT language, source, line, relation, 0 AS attempt, 'swap' AS how, tail AS head,
                    tail_language AS head_language, head AS tail, head_language AS tail_language
                FROM chosen WHERE place % 2 = 0 AND relation NOT IN (
                    -- symmetric relations: swapping their arguments does not corrupt them
                    'Antonym', 'DistinctFrom', 'EtymologicallyRelatedTo', 'LocatedNear', 'RelatedTo', 'SimilarTo',
                    'Synonym'
                )
                UNION ALL
                SELECT chosen.language, chosen.source, chosen.line, chosen.relation, step AS attempt, 'tail',
                    chosen.head, chosen.head_language, other.tail, other.tail_language
                FROM chosen CROSS JOIN range(1, {TAILS_TRIED + 1}) AS steps(step)
                JOIN numbered AS other
                    ON other.language = chosen.language AND other.place = (chosen.place + step) % chosen.total
                WHERE other.tail <> chosen.head
            ), taken AS (
                SELECT * FROM attempts ANTI JOIN numbered USING (language, head, relation, tail)
                QUALIFY row_number() OVER (PARTITION BY language, source, line ORDER BY attempt) = 1
            )
            SELECT candidates.* REPLACE (
                if(how IS NULL, candidates.head, taken.head) AS head,
                if(how IS NULL, candidates.head_language, taken.head_language) AS head_language,
                if(how IS NULL, candidates.tail, taken.tail) AS tail,
                if(how IS NULL, candidates.tail_language, taken.tail_language) AS tail_language,
                if(chosen.line IS NOT NULL, coalesce(how, 'unchanged'), NULL) AS noise
            )
            FROM candidates
            LEFT JOIN taken USING (language, source, line)
            LEFT JOIN (SELECT language, source, line FROM chosen) AS chosen USING (language, source, line)""",
            {"share": share, "seed": self._seed},
        )

    def _split(self, by_sentence: bool) -> None:
        """Fill ``groups``, each with its split, 80/10/10 as nearly as the groups allow.

        A group is a start concept with all its edges. If two concepts are linked in both directions, their groups
        are joined. Groups are drawn in an order that depends on the seed; one with more than a tenth of a
        language's edges goes to train. ``by_sentence`` makes every sentence a group.
        """
        if by_sentence:
            named = "SELECT *, source || ' ' || line AS name FROM candidates"
        else:
            self._join_reciprocal()
            named = (
                "SELECT candidates.*, coalesce(name, head) AS name FROM candidates LEFT JOIN joined "
                "ON joined.language = candidates.language AND joined.concept = head"
            )
        self._run(f"CREATE OR REPLACE TEMP VIEW grouped AS {named} WHERE reason IS NULL")
        self._run(
            f"""CREATE OR REPLACE TEMP TABLE groups AS
            WITH sizes AS (
                SELECT language, name, count(*) AS size FROM grouped GROUP BY ALL
            ), shares AS (
                SELECT *, sum(size) OVER (PARTITION BY language) AS total,
                    greatest(1, round_even({HELD_OUT_SHARE} * total, 0)) AS share
                FROM sizes
            ), drawn AS (
                SELECT *, sum(size) FILTER (size <= share) OVER (
                    PARTITION BY language ORDER BY md5($seed || name), name
                ) AS place FROM shares
            )
            SELECT language, name, size, CASE WHEN size > share THEN 0 WHEN place <= share THEN 1
                WHEN place <= 2 * share THEN 2 ELSE 0 END AS split FROM drawn""",
            {"seed": self._seed},
        )

    def _join_reciprocal(self) -> None:
        """Fill ``joined``: concepts linked in both directions, each with the name of its group."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        self._run("""
            CREATE OR REPLACE TEMP TABLE pairs AS SELECT DISTINCT language, head, tail FROM candidates AS ahead
            WHERE reason IS NULL AND head < tail AND EXISTS (
                SELECT 1 FROM candidates AS back WHERE reason IS NULL
                AND back.language = ahead.language AND back.head = ahead.tail AND back.tail = ahead.head
            )""")
        self._run("""
            CREATE OR REPLACE TEMP TABLE nodes AS
            SELECT *, row_number() OVER (ORDER BY language, concept) - 1 AS node FROM
            (SELECT language, head AS concept FROM pairs UNION SELECT language, tail FROM pairs)""")
        links = self._run("""
            SELECT a.node AS one, b.node AS other FROM pairs
            JOIN nodes AS a ON pairs.language = a.language AND head = a.concept
            JOIN nodes AS b ON pairs.language = b.language AND tail = b.concept""").fetchnumpy()
        [(count,)] = self._rows("SELECT count(*) FROM nodes")
        weights = np.ones(len(links["one"]), np.int8)
        graph = coo_array((weights, (links["one"], links["other"])), shape=(count, count))
        _, labels = connected_components(graph, directed=False)
        self._table("components", node=np.arange(count), label=labels)
        self._run(
            "CREATE OR REPLACE TEMP TABLE joined AS SELECT language, concept, "
            "min(concept) OVER (PARTITION BY label) AS name FROM nodes JOIN components USING (node)"
        )

    @property
    def _seed(self) -> str:
        return f"{self._plan.recipe.seed} "

    def _table(self, name: str, **columns: Any) -> None:
        self._database.register("columns_of_table", pa.table(columns))
        self._run(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM columns_of_table")
        self._database.unregister("columns_of_table")

    def _by_language(self, query: str, parameters: Any = None) -> dict[str, list[list[Any]]]:
        """The rows of a query, without their first column, by that column."""
        found: dict[str, list[list[Any]]] = {}
        for language, *row in self._rows(query, parameters):
            found.setdefault(language, []).append(row)
        return found

    def _run(self, query: str, parameters: Any = None) -> duckdb.DuckDBPyConnection:
        return self._database.execute(query, parameters)

    def _rows(self, query: str, parameters: Any = None) -> list[Any]:
        # Fetched completely: an open result would block the next query.
        return self._run(query, parameters).fetchall()


def edge_table(edges: Sequence[Edge]) -> pa.Table:
    """Edges as a table."""
    columns = zip(*edges, strict=True) if edges else [()] * len(SCHEMA)
    return pa.table([pa.array(values, kind) for values, kind in zip(columns, SCHEMA.types, strict=True)], SCHEMA)
