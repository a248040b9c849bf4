"""Edges of one or several languages in DuckDB: duplicates, noise, splits and sentences, in bounded memory.

Every query is for all languages that are loaded, so that a hundred small ones cost little more than one.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from langlift.data_folder import SAMPLE, SPLITS, printable
from langlift.graph.conceptnet import EXTERNAL
from langlift.graph.noise import CORRUPTED, corrupted_edges
from langlift.graph.sentence_templates import Template

MEMORY_LIMIT = "512MB"
"""Of the database; what does not fit goes to disk, beside the data folder."""
HELD_OUT_SHARE = 0.1
"""Of the sentences, for dev and for test each."""
MOST_NAMES = 1000
"""So many names are counted one by one; only free text for names gives more."""
SENTENCES_AT_ONCE = 20_000


@dataclass(frozen=True)
class Names:
    """Counts by name of what stands in the sentences of a language, the largest first."""

    relations: dict[str, int]
    heads: dict[str, int]
    tails: dict[str, int]
    licences: dict[str, int]
    dropped: dict[str, int]
    unknown_relations: dict[str, int]
    own_words: dict[str, str]
    noise: dict[str, int]


class EdgeStore:
    """Reads edges from parts (``load``), then removes duplicates, adds noise, splits and writes, in that order.

    What does not fit into memory stands in ``folder``, which must exist. ``pattern`` says what the parts are
    called.
    """

    def __init__(self, pattern: str, folder: Path, threads: int) -> None:
        self._pattern = pattern
        self._database = duckdb.connect(
            config={"memory_limit": MEMORY_LIMIT, "temp_directory": str(folder / "spill"), "threads": threads}
        )
        self._run("SET enable_progress_bar = false")

    def __enter__(self) -> "EdgeStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._database.close()

    def codes(self, dumps: Sequence[int] = ()) -> dict[str, int]:
        """How many edges start in each language, by the code that the source has for it, most first.

        Those that end in one count for it too, where they are in a source of ``dumps``.
        """
        query = (
            "SELECT code, count(*) FROM (SELECT head_language AS code FROM read_parquet($parts) "
            "UNION ALL SELECT tail_language FROM read_parquet($parts) "
            "WHERE tail_language <> '' AND source IN (SELECT unnest($dumps::INTEGER[]))) "
            "GROUP BY code ORDER BY 2 DESC, 1"
        )
        return dict(self._rows(query, {"parts": self._pattern, "dumps": list(dumps)}))

    def load(
        self,
        codes: Mapping[str, Collection[str]],
        either_end: bool,
        dumps: Sequence[int],
        templates: Mapping[str, Template],
    ) -> None:
        """Take the edges of some languages, with the reason why an edge becomes no sentence.

        ``codes`` says how each language is called in the sources; ``dumps`` are the numbers of those sources in
        which a relation without a template is dropped (in others it gets its own words).
        """
        pairs = [(language, code) for language, names in codes.items() for code in names]
        self._table("wanted", {"language": [pair[0] for pair in pairs], "code": [pair[1] for pair in pairs]})
        self._run(
            "CREATE OR REPLACE TABLE templates (relation VARCHAR, head_first BOOLEAN, before VARCHAR, "
            "between_ VARCHAR, after_ VARCHAR, piece INTEGER, lead INTEGER, width INTEGER)"
        )
        self.add_templates(templates)
        edges = (
            "SELECT wanted.language, edge.* FROM read_parquet($parts) AS edge JOIN wanted ON head_language = code"
        )
        if either_end:
            edges += (
                " UNION ALL SELECT wanted.language, edge.* FROM read_parquet($parts) AS edge "
                "JOIN wanted ON tail_language = code WHERE source IN (SELECT unnest($dumps)) "
                "AND NOT EXISTS (SELECT 1 FROM wanted AS other "
                "WHERE other.language = wanted.language AND other.code = head_language)"
            )
        self._run(
            "CREATE OR REPLACE TABLE edges AS SELECT edges.*, CASE "
            f"WHEN source IN (SELECT unnest($dumps)) AND edges.relation = '{EXTERNAL}' THEN 'external_url' "
            "WHEN source IN (SELECT unnest($dumps)) AND templates.relation IS NULL THEN 'unknown_relation' "
            f"WHEN head = tail THEN 'self_loop' END AS reason, NULL::VARCHAR AS {CORRUPTED} "
            f"FROM ({edges}) AS edges LEFT JOIN templates USING (relation)",
            {"parts": self._pattern, "dumps": list(dumps)},
        )

    def relations(self) -> list[str]:
        """The relations that have no template, and become sentences all the same."""
        query = "SELECT DISTINCT relation FROM edges ANTI JOIN templates USING (relation) WHERE reason IS NULL"
        return [relation for (relation,) in self._rows(query)]

    def add_templates(self, templates: Mapping[str, Template]) -> None:
        """Take the templates of further relations."""
        columns = zip(
            *(
                (relation, template.head_first, template.before, template.between, template.after, *template.words)
                for relation, template in templates.items()
            ),
            strict=True,
        )
        if templates:
            self._table("more", dict(zip("abcdefgh", columns, strict=True)))
            self._run("INSERT INTO templates SELECT * FROM more")

    def remove_duplicates(self) -> None:
        """Keep one edge of those with the same head, relation and tail: the heaviest, of equals the first."""
        # Few edges have the hash of another, so few need to be sorted.
        self._run(
            "CREATE OR REPLACE TABLE repeated AS SELECT hash(language, head, relation, tail) AS key FROM edges "
            "WHERE reason IS NULL GROUP BY key HAVING count(*) > 1"
        )
        self._run(
            "UPDATE edges SET reason = 'duplicate' WHERE rowid IN (SELECT number FROM ("
            "SELECT rowid AS number, row_number() OVER (PARTITION BY language, head, relation, tail "
            "ORDER BY weight DESC, source, line) AS place FROM edges WHERE reason IS NULL "
            "AND hash(language, head, relation, tail) IN (SELECT key FROM repeated)) WHERE place > 1)"
        )

    def corrupt(self, share: float, seed: int) -> None:
        """Corrupt a share of each language's edges."""
        self._run(corrupted_edges(), {"share": share, "seed": f"{seed} "})

    def split(self, by_sentence: bool, seed: int) -> None:
        """Give each edge a split, 80/10/10 as nearly as the groups allow.

        A group is a start concept with all its edges. Where two concepts are linked both ways, each is the start
        of one of the edges, so their groups are joined. Groups are drawn in an order that depends on the seed; one
        with more than a tenth of a language's edges goes to train. ``by_sentence`` makes every sentence a group.
        """
        if by_sentence:
            self._run("CREATE OR REPLACE TABLE joined (language VARCHAR, concept VARCHAR, name VARCHAR)")
        else:
            self._join_reciprocal()
        key = "source || ' ' || line" if by_sentence else "coalesce(name, head)"
        self._run(
            f"CREATE OR REPLACE VIEW grouped AS SELECT edges.*, {key} AS name FROM edges "
            "LEFT JOIN joined ON joined.language = edges.language AND joined.concept = head WHERE reason IS NULL"
        )
        self._run(
            "CREATE OR REPLACE TABLE groups AS SELECT language, name, size, CASE WHEN size > share THEN 0 "
            "WHEN total <= share THEN 1 WHEN total <= 2 * share THEN 2 ELSE 0 END AS split FROM (SELECT *, "
            "sum(size) FILTER (size <= share) OVER (PARTITION BY language ORDER BY md5($seed || name), name) "
            f"AS total FROM (SELECT *, greatest(1, round_even({HELD_OUT_SHARE} * sum(size) "
            "OVER (PARTITION BY language), 0)) AS share FROM "
            "(SELECT language, name, count(*) AS size FROM grouped GROUP BY ALL)))",
            {"seed": f"{seed} "},
        )

    def sizes(self) -> dict[str, tuple[list[int], int]]:
        """For each language that has sentences: how many train, dev and test have, and the largest group."""
        sums = ", ".join(f"(sum(size) FILTER (split = {number}))::BIGINT" for number in range(len(SPLITS)))
        rows = self._rows(f"SELECT language, max(size), {sums} FROM groups GROUP BY language")
        return {language: ([size or 0 for size in sizes], largest) for language, largest, *sizes in rows}

    def names(self, own_words: Mapping[str, str]) -> dict[str, Names]:
        """The counts of each language; at most 1,000 names, the rest are counted as ``(others)``."""
        counted = {
            "relations": self._counted("relation", "reason IS NULL"),
            "heads": self._counted("head_language", "reason IS NULL"),
            "tails": self._counted("tail_language", "reason IS NULL"),
            "licences": self._counted("licence", "licence IS NOT NULL"),
            "dropped": self._counted("reason", "reason IS NOT NULL"),
            "unknown_relations": self._counted("relation", "reason = 'unknown_relation'"),
            "noise": self._counted(CORRUPTED, f"{CORRUPTED} IS NOT NULL"),
        }
        languages = [language for (language,) in self._rows("SELECT DISTINCT language FROM wanted")]
        found = {}
        for language in languages:
            of_language = {what: counts.get(language, {}) for what, counts in counted.items()}
            own = {name: own_words[name] for name in of_language["relations"] if name in own_words}
            shown = {what: _printable(counts) for what, counts in of_language.items()}
            words = {printable(name): printable(words) for name, words in sorted(own.items())}
            found[language] = Names(**shown, own_words=words)
        return found

    def dropped(self, seed: int) -> dict[str, list[dict[str, Any]]]:
        """For each language, at most 20 random edges for each reason why edges were dropped."""
        rows = self._rows(
            "SELECT language, reason, head, relation, tail, source, line FROM edges WHERE reason IS NOT NULL "
            "QUALIFY row_number() OVER (PARTITION BY language, reason "
            f"ORDER BY md5($seed || head || tail), source, line) <= {SAMPLE} ORDER BY ALL",
            {"seed": f"{seed} "},
        )
        names = ("reason", "head", "relation", "tail", "source", "line")
        found: dict[str, list[dict[str, Any]]] = {}
        for language, *row in rows:
            found.setdefault(language, []).append(dict(zip(names, row, strict=True)))
        return found

    def lines(self, noise: bool) -> Iterator[tuple[str, str, memoryview]]:
        """The sentences as lines of JSON, in pieces (language, split, bytes).

        The languages come one after the other, each with train, dev and test; within a split the sentences stand
        in the order of the sources. With ``noise`` a sentence says whether it was corrupted.
        """
        first, second = (
            "CASE WHEN head_first THEN head ELSE tail END",
            "CASE WHEN head_first THEN tail ELSE head END",
        )
        mark = f", 'noise': {CORRUPTED}" if noise else ""
        start = (
            "lead + CASE WHEN piece > 0 THEN length(before) + length(one) ELSE 0 END "
            "+ CASE WHEN piece > 1 THEN length(between_) + length(other) ELSE 0 END"
        )
        query = f"""
            SELECT language, split, to_json({{
                'text': before || one || between_ || other || after_,
                'head': {{
                    'text': head, 'language': head_language, 'start': head_at, 'end': head_at + length(head)
                }},
                'relation': {{'name': relation, 'start': {start}, 'end': {start} + width}},
                'tail': {{
                    'text': tail, 'language': tail_language, 'start': tail_at, 'end': tail_at + length(tail)
                }},
                'weight': weight{mark}
            }})::VARCHAR || chr(10) AS sentence
            FROM (
                SELECT *, {first} AS one, {second} AS other, length(before) AS one_at,
                    length(before) + length(one) + length(between_) AS other_at,
                    CASE WHEN head_first THEN one_at ELSE other_at END AS head_at,
                    CASE WHEN head_first THEN other_at ELSE one_at END AS tail_at
                FROM grouped JOIN groups USING (language, name) JOIN templates USING (relation)
            )
            ORDER BY language, split, source, line"""
        for batch in self._database.sql(query).to_arrow_reader(SENTENCES_AT_ONCE):
            yield from _pieces(batch)

    def _join_reciprocal(self) -> None:
        """Fill ``joined``: concepts that are linked both ways, and the name of the group that each is in."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        self._run(
            "CREATE OR REPLACE TABLE pairs AS SELECT DISTINCT language, head, tail FROM edges AS ahead "
            "WHERE reason IS NULL AND head < tail AND EXISTS (SELECT 1 FROM edges AS back WHERE reason IS NULL "
            "AND back.language = ahead.language AND back.head = ahead.tail AND back.tail = ahead.head)"
        )
        self._run(
            "CREATE OR REPLACE TABLE nodes AS SELECT *, "
            "row_number() OVER (ORDER BY language, concept) - 1 AS node FROM "
            "(SELECT language, head AS concept FROM pairs UNION SELECT language, tail FROM pairs)"
        )
        ends = self._run(
            "SELECT a.node AS one, b.node AS other FROM pairs "
            "JOIN nodes AS a ON pairs.language = a.language AND head = a.concept "
            "JOIN nodes AS b ON pairs.language = b.language AND tail = b.concept"
        ).fetchnumpy()
        [(count,)] = self._rows("SELECT count(*) FROM nodes")
        links = coo_array((np.ones(len(ends["one"]), np.int8), (ends["one"], ends["other"])), shape=(count, count))
        _, labels = connected_components(links, directed=False)
        self._table("components", {"node": pa.array(np.arange(count)), "label": pa.array(labels)})
        self._run(
            "CREATE OR REPLACE TABLE joined AS SELECT language, concept, "
            "min(concept) OVER (PARTITION BY label) AS name FROM nodes JOIN components USING (node)"
        )

    def _counted(self, column: str, condition: str) -> dict[str, dict[str, int]]:
        """For each language, how often each name stands in a column, the most frequent first."""
        rows = self._rows(
            f"SELECT language, if(place <= {MOST_NAMES}, name, '(others)') AS shown, sum(count)::BIGINT FROM ("
            "SELECT *, row_number() OVER (PARTITION BY language ORDER BY count DESC, name) AS place FROM "
            f"(SELECT language, {column} AS name, count(*) AS count FROM edges WHERE {condition} GROUP BY ALL)) "
            "GROUP BY ALL ORDER BY min(place)"
        )
        counted: dict[str, dict[str, int]] = {}
        for language, name, count in rows:
            counted.setdefault(language, {})[name] = count
        return counted

    def _table(self, name: str, columns: Mapping[str, Iterable[Any]]) -> None:
        """Make a table from columns in memory."""
        self._database.register("columns_of_table", pa.table(dict(columns)))
        self._run(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM columns_of_table")
        self._database.unregister("columns_of_table")

    def _run(self, query: str, parameters: Any = None) -> duckdb.DuckDBPyConnection:
        return self._database.execute(query, parameters)

    def _rows(self, query: str, parameters: Any = None) -> list[Any]:
        # Fetched to the end: a result that is still open would block the next query.
        return self._run(query, parameters).fetchall()


def _pieces(batch: pa.RecordBatch) -> Iterator[tuple[str, str, memoryview]]:
    """(language, split, bytes) for each run of one language and split in a batch of lines."""
    languages = batch.column("language").dictionary_encode()
    splits, lines = batch.column("split").to_numpy(), batch.column("sentence")
    _, offsets, text = lines.buffers()
    ends = np.frombuffer(offsets, np.int32)[lines.offset : lines.offset + len(lines) + 1]
    changes = np.diff(languages.indices.to_numpy() * len(SPLITS) + splits)
    starts = [0, *(np.flatnonzero(changes) + 1).tolist()]
    for begin, end in zip(starts, [*starts[1:], len(batch)], strict=True):
        if end > begin:
            yield languages[begin].as_py(), SPLITS[splits[begin]], memoryview(text)[ends[begin] : ends[end]]


def _printable(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts under names that are fit for a screen."""
    shown: dict[str, int] = {}
    for name, count in counts.items():
        shown[printable(name)] = shown.get(printable(name), 0) + count
    return shown
