"""The claims of arXiv 2502.10140 tested on its own tables: contrasts of methods, paired by language."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from langlift.studies.analysis import bootstrap
from langlift.studies.analysis.bootstrap import ALL, Difference
from langlift.studies.analysis.measures import AS_PUBLISHED, Measure
from langlift.studies.published import MODELS, PERPLEXITIES, published_rows
from langlift.tasks.task import TASKS

RESAMPLES = 10_000
SEEN, UNSEEN, BOTH = "seen in pre-training", "unseen", "unseen minus seen"
MEASURES = {
    PERPLEXITIES.table: Measure(None, AS_PUBLISHED),
    **{task.published.table: Measure(name, task.metric.name) for name, task in TASKS.items() if task.published},
}
"""What was measured, by the name of its table."""
NONE, FULL = "base", "glot_fft"
ADAPTERS = {"seq_bn": "Seq_bn", "lora": "LoRA", "seq_bn_inv": "Seq_bn_inv"}
GRAPH, TEXT, FUSED = ([f"{kind}_{method}" for method in ADAPTERS] for kind in ("cn", "glot", "fusion"))
LARGE_MODELS = [name for name in next(iter(published_rows("llm_tc").values())) if name != "language"]
Columns = tuple[str, str]
"""Two columns of the tables, compared with each other."""
Gain = tuple[bool, float]
"""Whether the base has seen a language, and the gain in it."""
QUESTIONS: Mapping[str, tuple[str, Sequence[Columns]]] = {
    "text": ("Does adaptation on text help?", [(column, NONE) for column in [*TEXT, FULL]]),
    "graph": ("Does adaptation on a knowledge graph help?", [(column, NONE) for column in GRAPH]),
    "full": ("Is full fine-tuning better than adapters?", [(FULL, column) for column in TEXT]),
    "adapters": (
        "Which adapter is best?",
        [(some[i], some[j]) for some in (TEXT, GRAPH) for i, j in ((2, 0), (2, 1), (1, 0))],
    ),
    "data": ("Does text teach more than a graph?", list(zip(TEXT, GRAPH, strict=True))),
    "fusion": (
        "Does the fusion of text and graph help?",
        [pair for one in zip(FUSED, TEXT, GRAPH, strict=True) for pair in ((one[0], o) for o in (*one[1:], NONE))],
    ),
    "exposure": (
        "Do languages outside the pre-training data gain more?",
        [(column, NONE) for column in [*TEXT, FULL, *GRAPH]],
    ),
    "prompted": (
        "Are small adapted models better than large prompted ones?",
        [(TEXT[2], m) for m in LARGE_MODELS],
    ),
}
"""Each question with its contrasts: columns of the tables, the first minus the second."""


@dataclass(frozen=True)
class Contrast(Difference):
    """A difference between two columns of the published tables, positive if ``better`` is better than ``than``.

    ``question`` is a key of ``QUESTIONS``; ``language`` says which languages: all, or those that ``base`` has (or
    has not) seen in pre-training, or, of the question "exposure", the gain in the unseen minus that in the seen.
    ``measure`` is the table's: pppl, tc, sa, ner. Scores differ by points, pseudo-perplexities by the natural
    logarithm of their ratio (0.69 is half). The 95 % interval is the percentile bootstrap's over languages;
    ``p`` that of sign flips (of permuted groups for "exposure"), corrected in ``p_holm`` for all contrasts of the
    same question and the same kind of ``language``: both models and all measures.
    """

    question: str
    base: str
    measure: str


def published_contrasts() -> list[Contrast]:
    """All contrasts, by question, kind of languages, measure, base model and pair of columns."""
    found: list[Contrast] = []
    for question, (_, pairs) in QUESTIONS.items():
        for language in (BOTH,) if question == "exposure" else (ALL, SEEN, UNSEEN):
            family = [
                _contrast(question, base, table, pair, language, gains)
                for table in MEASURES
                for base in MODELS
                for pair in pairs
                if (gains := _gains(table, base, *pair))
            ]
            found += bootstrap.corrected(family)
    return found


def _gains(table: str, base: str, better: str, than: str) -> list[Gain]:
    """In each language that has both figures."""
    found = []
    for (model, language), row in published_rows(table).items():
        figures = {**published_rows(f"llm_{table}").get((None, language), {}), **row}
        if model == base and figures.get(better) and figures.get(than):
            value, before = float(figures[better]), float(figures[than])
            gain = log(before / value) if MEASURES[table].is_perplexity else value - before
            found.append((row["in_pretraining"] == "true", gain))
    return found


def _contrast(question: str, base: str, table: str, names: Columns, language: str, gains: list[Gain]) -> Contrast:
    seen, unseen = ([gain for known, gain in gains if known is one] for one in (True, False))
    groups = {ALL: [[*seen, *unseen]], SEEN: [seen], UNSEEN: [unseen], BOTH: [unseen, seen]}[language]
    means = [
        bootstrap.drawn_times(len(group), RESAMPLES, stream) @ np.asarray(group) / len(group)
        for stream, group in enumerate(groups)
    ]
    observed = float(np.mean(groups[0])) - sum(float(np.mean(group)) for group in groups[1:])
    low, high = map(float, np.percentile(means[0] - sum(means[1:]), [2.5, 97.5]))
    p = bootstrap.permutation_p(*groups) if len(groups) > 1 else bootstrap.randomisation_p(groups[0])
    units = sum(map(len, groups))
    return Contrast(language, *names, observed, low, high, p, p, bootstrap.LANGUAGES, units, question, base, table)
