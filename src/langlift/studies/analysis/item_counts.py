"""Test items and their share in a metric, from the predictions or sentences' scores that a run keeps."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langlift.evaluation.metrics import entity_spans, universal
from langlift.studies.analysis.measures import (
    AS_PUBLISHED,
    CAUSAL_PER_CHARACTER,
    CAUSAL_PERPLEXITY,
    PERPLEXITY,
    measure_of,
)
from langlift.studies.folder import SENTENCES
from langlift.studies.store import StudyRun
from langlift.tasks.runner import PREDICTIONS

Counts = NDArray[np.float64]
Row = dict[str, Any]
AGREEMENT = 1e-8
"""The metric recounted from the items may differ from the run's by such a share (of 100 at least)."""


@dataclass(frozen=True)
class Items:
    """``counts`` [items, k] of one seed; ``score`` turns sums over items [..., k] into the metric."""

    gold: list[Any]
    counts: Counts
    score: Callable[[Counts], Counts]

    def total(self) -> float:
        """The metric over all items."""
        return float(self.score(self.counts.sum(axis=0)))


def read_items(runs: Sequence[StudyRun]) -> list[Items] | None:
    """The test items of a cell's seeds; None where some are not there or do not give the recorded value."""
    found = []
    for run in runs:
        counting, path = _counting(run), items_of(run)
        if counting is None or path is None or run.value is None:
            return None
        # Not splitlines: a text may hold what Unicode calls a line end.
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        items = counting(rows)
        if not abs(items.total() - run.value) <= AGREEMENT * max(100.0, run.value):
            return None
        found.append(items)
    return found or None


def items_of(run: StudyRun) -> Path | None:
    """The file of a run's test predictions, or of its sentences' scores, if there is exactly one."""
    direct = run.folder / (SENTENCES if run.kind == "score" else PREDICTIONS)
    if direct.exists():
        return direct
    inside = list(run.folder.glob(f"seed-*/{PREDICTIONS}"))
    return inside[0] if len(inside) == 1 else None


def labels_counted(rows: Sequence[Row]) -> Items:
    """Macro-F1: for every class the right, the predicted and the gold items. None predicted is no class."""
    gold, predicted = [row["gold"] for row in rows], [row["predicted"] for row in rows]
    classes = sorted({*gold, *predicted} - {None})
    is_gold = np.array([[label == name for name in classes] for label in gold], dtype=float)
    is_predicted = np.array([[label == name for name in classes] for label in predicted], dtype=float)
    return Items(gold, np.hstack([is_gold * is_predicted, is_predicted, is_gold]), _macro_f1)


def entities_counted(rows: Sequence[Row]) -> Items:
    """Entity F1: right, predicted and gold entities of every sentence."""
    counts = []
    for row in rows:
        gold, predicted = set(entity_spans(row["gold"])), set(entity_spans(row["predicted"]))
        counts.append((len(gold & predicted), len(predicted), len(gold)))
    return Items([row["gold"] for row in rows], np.array(counts, dtype=float), _f1)


def words_counted(rows: Sequence[Row]) -> Items:
    """Accuracy: right words and all words of every sentence."""
    pairs = [(row["gold"], row["predicted"]) for row in rows]
    counts = [(sum(a == b for a, b in zip(*pair, strict=True)), len(pair[0])) for pair in pairs]
    return Items([gold for gold, _ in pairs], np.array(counts, dtype=float), _share)


def attachments_counted(rows: Sequence[Row], labelled: bool = True) -> Items:
    """LAS (or UAS): words with the right head (and relation), and all words, of every sentence."""

    def right(gold: tuple[int, str], predicted: tuple[int, str]) -> bool:
        same_relation = universal(gold[1]) == universal(predicted[1])
        return gold[0] == predicted[0] and (same_relation or not labelled)

    counts = [(sum(map(right, row["gold"], row["predicted"])), len(row["gold"])) for row in rows]
    return Items([row["gold"] for row in rows], np.array(counts, dtype=float), _share)


def tokens_scored(rows: Sequence[Row]) -> Items:
    """Pseudo-perplexity: log-probability and tokens of every sentence. Items are the same if they are as many."""
    counts = [(row["log_probability"], row["tokens"]) for row in rows]
    return Items(list(range(len(rows))), np.array(counts, dtype=float), _perplexity)


def characters_scored(rows: Sequence[Row]) -> Items:
    """The same per character, where the run kept their numbers."""
    counts = [(row["log_probability"], row.get("characters", np.nan)) for row in rows]
    return Items(list(range(len(rows))), np.array(counts, dtype=float), _perplexity)


def sentences_scored(rows: Sequence[Row]) -> Items:
    """The variant "published": the mean of the sentences' own values."""
    counts = [(np.exp(-row["log_probability"] / row["tokens"]), 1) for row in rows]
    return Items(list(range(len(rows))), np.array(counts, dtype=float), lambda sums: sums[..., 0] / sums[..., 1])


COUNTING: dict[str, Callable[[Sequence[Row]], Items]] = {
    "macro_f1": labels_counted,
    "entity_f1": entities_counted,
    "accuracy": words_counted,
    "las": attachments_counted,
    "uas": lambda rows: attachments_counted(rows, labelled=False),
    PERPLEXITY: tokens_scored,
    AS_PUBLISHED: sentences_scored,
    CAUSAL_PERPLEXITY: tokens_scored,
    "per_character": characters_scored,
    CAUSAL_PER_CHARACTER: characters_scored,
}


def _counting(run: StudyRun) -> Callable[[Sequence[Row]], Items] | None:
    metric = measure_of(run).metric
    if run.kind == "score" and metric == PERPLEXITY and run.published:
        metric = AS_PUBLISHED
    return COUNTING.get(metric)


def _perplexity(sums: Counts) -> Counts:
    return np.exp(-sums[..., 0] / sums[..., 1])


def _macro_f1(sums: Counts) -> Counts:
    right, predicted, gold = np.split(sums, 3, axis=-1)
    occurs = predicted + gold > 0
    f1 = 2 * right / np.where(occurs, predicted + gold, 1)
    return 100.0 * f1.sum(axis=-1) / occurs.sum(axis=-1)


def _f1(sums: Counts) -> Counts:
    total = sums[..., 1] + sums[..., 2]
    return 100.0 * 2 * sums[..., 0] / np.where(total > 0, total, 1)


def _share(sums: Counts) -> Counts:
    return 100.0 * sums[..., 0] / sums[..., 1]
