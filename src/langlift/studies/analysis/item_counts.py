"""Test items and their share in a metric, from the predictions that a task run keeps."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langlift.evaluation.attachment import universal
from langlift.evaluation.entities import entity_spans
from langlift.studies.store import StudyRun
from langlift.tasks.runner import PREDICTIONS

Counts = NDArray[np.float64]
Row = dict[str, Any]
AGREEMENT = 1e-6
"""The metric recounted from the predictions may differ so much (of 100) from the one the run recorded."""


@dataclass(frozen=True)
class Items:
    """``counts`` [items, k] of one seed; ``score`` turns sums over items [..., k] into the metric, 0 to 100."""

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
        metric, path = run.cell.get("metric"), predictions_of(run)
        if metric not in COUNTING or path is None or run.value is None:
            return None
        # Not splitlines: a text may hold what Unicode calls a line end.
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        items = COUNTING[metric](rows)
        if abs(items.total() - run.value) > AGREEMENT:
            return None
        found.append(items)
    return found or None


def predictions_of(run: StudyRun) -> Path | None:
    """The file of a run's test predictions, if there is exactly one."""
    direct = run.folder / PREDICTIONS
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


COUNTING: dict[str, Callable[[Sequence[Row]], Items]] = {
    "macro_f1": labels_counted,
    "entity_f1": entities_counted,
    "accuracy": words_counted,
    "las": attachments_counted,
    "uas": lambda rows: attachments_counted(rows, labelled=False),
}


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
