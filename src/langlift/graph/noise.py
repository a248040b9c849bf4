"""Noise for the study of robustness: some edges say what the graph does not (arXiv 2502.10140, future work)."""

CORRUPTED = "noise"
"""The column that says how an edge was corrupted: ``swap``, ``tail`` or, where there was no way, ``unchanged``."""
SYMMETRIC = (
    "Antonym",
    "DistinctFrom",
    "EtymologicallyRelatedTo",
    "LocatedNear",
    "RelatedTo",
    "SimilarTo",
    "Synonym",
)
"""ConceptNet's relations that hold in both directions: to swap their arguments corrupts nothing."""
TAILS_TRIED = 8


def corrupted_edges() -> str:
    """SQL that replaces the table ``edges`` by one in which a share of each language's edges is corrupted.

    Edges are put in a random order ($seed); the first $share of them is corrupted: every second one has head and
    tail swapped, the others get the tail of one of the next edges in that order. What would be a loop, or an edge
    that the graph has, is not taken: a swap becomes a random tail, and an edge for which eight tails fail stays.
    """
    symmetric = ", ".join(f"'{relation}'" for relation in SYMMETRIC)
    return f"""
        CREATE OR REPLACE TABLE edges AS
        WITH numbered AS MATERIALIZED (
            SELECT *, count(*) OVER (PARTITION BY language) AS total, row_number() OVER (
                PARTITION BY language ORDER BY md5($seed || head || ' ' || relation || ' ' || tail), source, line
            ) - 1 AS place
            FROM edges WHERE reason IS NULL
        ), chosen AS (
            SELECT * FROM numbered WHERE place < round_even($share * total, 0)
        ), ways AS (
            SELECT language, source, line, relation, 0 AS way, 'swap' AS how, tail AS head,
                tail_language AS head_language, head AS tail, head_language AS tail_language
            FROM chosen WHERE place % 2 = 0 AND relation NOT IN ({symmetric})
            UNION ALL
            SELECT chosen.language, chosen.source, chosen.line, chosen.relation, step AS way, 'tail',
                chosen.head, chosen.head_language, other.tail, other.tail_language
            FROM chosen CROSS JOIN range(1, {TAILS_TRIED + 1}) AS steps(step)
            JOIN numbered AS other
                ON other.language = chosen.language AND other.place = (chosen.place + step) % chosen.total
            WHERE other.tail <> chosen.head
        ), taken AS (
            SELECT * FROM ways ANTI JOIN numbered USING (language, head, relation, tail)
            QUALIFY row_number() OVER (PARTITION BY language, source, line ORDER BY way) = 1
        )
        SELECT edges.* REPLACE (
            CASE WHEN how IS NULL THEN edges.head ELSE taken.head END AS head,
            CASE WHEN how IS NULL THEN edges.head_language ELSE taken.head_language END AS head_language,
            CASE WHEN how IS NULL THEN edges.tail ELSE taken.tail END AS tail,
            CASE WHEN how IS NULL THEN edges.tail_language ELSE taken.tail_language END AS tail_language,
            CASE WHEN chosen.line IS NOT NULL THEN coalesce(how, 'unchanged') END AS {CORRUPTED}
        )
        FROM edges
        LEFT JOIN taken USING (language, source, line)
        LEFT JOIN (SELECT language, source, line FROM chosen) AS chosen USING (language, source, line)"""
