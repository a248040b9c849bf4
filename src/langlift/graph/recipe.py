"""The recipe of a graph."""

from dataclasses import dataclass

from langlift.config.settings import MAX_SEED, setting


@dataclass(frozen=True)
class GraphRecipe:
    """How triples become sentences. The published values are last_segment, by_sentence and keep."""

    term: str = setting(
        "third_segment",
        "ConceptNet: which segment of /c/mt/qattus/n is the term (qattus or n)",
        choices=("third_segment", "last_segment"),
    )
    split: str = setting(
        "by_concept",
        "Unit of splitting: concepts with all their sentences, or single sentences",
        choices=("by_concept", "by_sentence"),
    )
    duplicates: str = setting("drop", "What to do with repeated sentences", choices=("drop", "keep"))
    ends: str = setting("start", "ConceptNet: which end of an edge must be in LANG", choices=("start", "either"))
    noise: float = setting(
        0.0, "Share of the triples to corrupt, to study robustness", minimum=0, maximum=1, option=True
    )
    seed: int = setting(0, "Seed of the split and the noise", minimum=0, maximum=MAX_SEED, option=True)
