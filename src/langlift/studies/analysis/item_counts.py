"""Test items and their contribution to a metric, from the predictions or sentence scores that a run saved."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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
from langlift.studies.folder import SENTENCES, StudyRun
from langlift.tasks.runner import PREDICTIONS

Counts = NDArray[np.float64]
Row = dict[str, Any]
TOLERANCE = 1e-8
"""Relative difference allowed between the run's metric (or 100) and the one computed from the items."""


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
    """The test items of a cell's seeds; None if some are missing or do not reproduce the recorded value."""
    found = []
    for run in runs:
        metric, path = measure_of(run).metric, _items_file(run)
        if run.kind == "score" and metric == PERPLEXITY and run.published:
            metric = AS_PUBLISHED
        if metric not in COUNTING or path is None or run.value is None:
            return None
        # Not splitlines: a text may contain other line separators of Unicode.
        items = COUNTING[metric](
            [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        )
        if not abs(items.total() - run.value) <= TOLERANCE * max(100.0, run.value):
            return None
        found.append(items)
    return found or None


def _items_file(run: StudyRun) -> Path | None:
    direct = run.folder / (SENTENCES if run.kind == "score" else PREDICTIONS)
    found = [direct] if direct.exists() else list(run.folder.glob(f"seed-*/{PREDICTIONS}"))
    return found[0] if len(found) == 1 else None


def labels_counted(rows: Sequence[Row]) -> Items:
    """Macro-F1: the correct, predicted and gold items of every class. None predicted is not a class."""
    gold, predicted = [row["gold"] for row in rows], [row["predicted"] for row in rows]
    classes = sorted({*gold, *predicted} - {None})
    is_gold = np.array([[label == name for name in classes] for label in gold], dtype=float)
    is_predicted = np.array([[label == name for name in classes] for label in predicted], dtype=float)
    return Items(gold, np.hstack([is_gold * is_predicted, is_predicted, is_gold]), _macro_f1)


def entities_counted(rows: Sequence[Row], strict: bool = False) -> Items:
    """Entity F1 (or strict entity F1): correct, predicted and gold entities of every sentence."""

    def count(row: Row) -> tuple[int, int, int]:
        gold, predicted = (set(entity_spans(row[key], strict)) for key in ("gold", "predicted"))
        return len(gold & predicted), len(predicted), len(gold)

    return Items([row["gold"] for row in rows], np.array(list(map(count, rows)), dtype=float), _f1)


def words_counted(rows: Sequence[Row], correct: Callable[[Any, Any], bool] = lambda a, b: a == b) -> Items:
    """Accuracy: correct words and all words of every sentence."""
    counts = [(sum(map(correct, row["gold"], row["predicted"])), len(row["gold"])) for row in rows]
    return Items(
        [row["gold"] for row in rows],
        np.array(counts, dtype=float),
        lambda sums: 100.0 * sums[..., 0] / sums[..., 1],
    )


def attachments_counted(rows: Sequence[Row], labelled: bool = True) -> Items:
    """LAS (or UAS): words with the correct head (and relation), and all words, of every sentence."""

    def correct(gold: tuple[int, str], predicted: tuple[int, str]) -> bool:
        return gold[0] == predicted[0] and (not labelled or universal(gold[1]) == universal(predicted[1]))

    return words_counted(rows, correct)


def tokens_scored(rows: Sequence[Row], unit: str = "tokens") -> Items:
    """Pseudo-perplexity: log probability and tokens (or characters, if the run saved them) of every sentence.

    Items are the same if there are as many.
    """
    counts = [(row["log_probability"], row.get(unit, np.nan)) for row in rows]
    return Items(
        list(range(len(rows))), np.array(counts, dtype=float), lambda sums: np.exp(-sums[..., 0] / sums[..., 1])
    )


def sentences_scored(rows: Sequence[Row]) -> Items:
    """The variant "published": the mean of the sentences' own values."""
    counts = [(np.exp(-row["log_probability"] / row["tokens"]), 1) for row in rows]
    return Items(list(range(len(rows))), np.array(counts, dtype=float), lambda sums: sums[..., 0] / sums[..., 1])


COUNTING: dict[str, Callable[[Sequence[Row]], Items]] = {
    "macro_f1": labels_counted,
    "entity_f1": entities_counted,
    "strict_entity_f1": partial(entities_counted, strict=True),
    "accuracy": words_counted,
    "las": attachments_counted,
    "uas": partial(attachments_counted, labelled=False),
    PERPLEXITY: tokens_scored,
    AS_PUBLISHED: sentences_scored,
    CAUSAL_PERPLEXITY: tokens_scored,
    "per_character": partial(tokens_scored, unit="characters"),
    CAUSAL_PER_CHARACTER: partial(tokens_scored, unit="characters"),
}


def _macro_f1(sums: Counts) -> Counts:
    correct, predicted, gold = np.split(sums, 3, axis=-1)
    occurs = predicted + gold > 0
    f1 = 2 * correct / np.where(occurs, predicted + gold, 1)
    return 100.0 * f1.sum(axis=-1) / occurs.sum(axis=-1)


def _f1(sums: Counts) -> Counts:
    total = sums[..., 1] + sums[..., 2]
    return 100.0 * 2 * sums[..., 0] / np.where(total > 0, total, 1)
