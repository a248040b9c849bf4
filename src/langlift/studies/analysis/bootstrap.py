"""Significance of differences: paired bootstrap of test items (Koehn 2004), or sign flips of languages."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import combinations, product
from math import comb
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from langlift.evaluation.metrics import entity_spans, universal
from langlift.studies.analysis.measures import (
    AS_PUBLISHED,
    CAUSAL_PER_CHARACTER,
    CAUSAL_PERPLEXITY,
    PERPLEXITY,
    Condition,
    Results,
    measure_of,
    spread,
)
from langlift.studies.folder import SENTENCES, StudyRun
from langlift.tasks.runner import PREDICTIONS

RESAMPLES = 2000
RANDOMISATIONS = 10_000
"""If there are more combinations of signs or of units, this many are drawn, with a fixed seed."""
SEED_STREAM = 10_000
"""Seeds are drawn independently of the items."""
MOST_CONDITIONS = 6
"""Up to this many conditions, all pairs are compared; else each with the one without adaptation."""
TEST_ITEMS, LANGUAGES, SEEDS = "test items and seeds", "languages", "seeds"
ALL = "all languages"
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


@dataclass(frozen=True)
class Difference:
    """How much better ``better`` is than ``than``, in units of the measure's gain, with a 95 % interval.

    ``units`` is the number of what was ``resampled``: test items and seeds by the bootstrap, with ``p`` twice the
    share of resamples on the other side of 0. If runs saved no items: languages, each the mean of its seeds (or
    the seeds of one language), with Student's t interval and the exact paired randomisation test (Fisher 1935),
    which cannot be significant with few units. ``p_holm`` is corrected (Holm 1979) for the other comparisons of
    the list. Interval and p are None for a single unit.
    """

    language: str
    better: str
    than: str
    difference: float
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    resampled: str
    units: int


Kind = TypeVar("Kind", bound=Difference)


@dataclass(frozen=True)
class Differences:
    """Comparisons over all languages, and language by language."""

    overall: list[Difference]
    by_language: list[Difference]


def compare(results: Results) -> Differences:
    """Compare every two conditions of a measure (if there are many, all with the reference or the first)."""
    items = {}
    for language, condition in results.filled:
        by_seed = sorted(results.runs(language, condition), key=lambda run: str(run.cell.get("seed")))
        items[language, condition.label] = read_items(by_seed)
    overall, by_language = [], []
    for than, better in _pairs_to_compare(results):
        names = (better.label, than.label)
        cells: list[tuple[list[Items], list[Items]]] = []
        means = []
        for language in results.languages:
            pairs = results.pairs(language, better, than)
            if not pairs:
                continue
            gains = [results.measure.gain(*pair) for pair in pairs]
            means.append(float(np.mean(gains)))
            ours, theirs = items[language, better.label], items[language, than.label]
            if ours and theirs and all(one.gold == ours[0].gold for one in [*ours, *theirs]):
                cells.append((ours, theirs))
                by_language.append(_of_items(results, language, names, cells[-1:]))
            else:
                by_language.append(_of_units(language, names, gains, SEEDS))
        if len(means) > 1:
            same_items = len(cells) == len(means)
            overall.append(
                _of_items(results, ALL, names, cells) if same_items else _of_units(ALL, names, means, LANGUAGES)
            )
    return Differences(corrected(overall), corrected(by_language))


@lru_cache(maxsize=4)
def drawn_times(count: int, resamples: int, stream: int = 0) -> NDArray[np.float64]:
    """How often each of ``count`` units is drawn in each resample; the same draws for every call of a stream."""
    drawn = np.random.default_rng(stream).integers(count, size=(resamples, count))
    weights = np.zeros((resamples, count))
    np.add.at(weights, (np.arange(resamples)[:, None], drawn), 1.0)
    return weights


def randomisation_p(values: Sequence[float]) -> float:
    """Two-sided: the share of combinations of signs (all up to 13 values) whose mean is at least as far from 0."""
    return _share_as_far(abs(_signs(len(values)) @ np.asarray(values)))


def permutation_p(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Two-sided: the share of divisions of the values into two such groups with means at least as far apart."""
    values, count = np.asarray([*ours, *theirs]), len(ours)
    if comb(len(values), count) <= RANDOMISATIONS:
        chosen = np.asarray(list(combinations(range(len(values)), count)))
    else:
        chosen = np.random.default_rng(0).random((RANDOMISATIONS, len(values))).argsort(axis=1)[:, :count]
        chosen[0] = range(count)
    return _share_as_far(abs(values[chosen].sum(axis=1) - count * values.mean()))


@lru_cache(maxsize=4)
def _signs(count: int) -> NDArray[np.float64]:
    """Combinations of signs, the observed one first: all, or random ones."""
    if 2**count <= RANDOMISATIONS:
        return np.asarray(list(product((1.0, -1.0), repeat=count)))
    signs = np.random.default_rng(0).choice((1.0, -1.0), (RANDOMISATIONS, count))
    signs[0] = 1.0
    return signs


def _share_as_far(distances: NDArray[np.float64]) -> float:
    """The share of distances that are not below the first, the observed one, but for rounding."""
    return float((distances >= distances[0] - 1e-9 * distances.max()).mean())


def two_sided_p(differences: NDArray[np.float64]) -> float:
    """Twice the smaller share of resampled differences on one side of 0, including the observed sample."""
    at_most, at_least = (differences <= 0).sum(), (differences >= 0).sum()
    return float(min(1.0, 2 * (1 + min(at_most, at_least)) / (1 + len(differences))))


def _pairs_to_compare(results: Results) -> list[tuple[Condition, Condition]]:
    conditions = results.conditions
    if len(conditions) <= MOST_CONDITIONS:
        return list(combinations(conditions, 2))
    pairs = [(results.reference(condition) or conditions[0], condition) for condition in conditions]
    return [(than, condition) for than, condition in pairs if than is not condition]


def _of_items(
    results: Results, language: str, names: tuple[str, str], cells: Sequence[tuple[list[Items], list[Items]]]
) -> Difference:
    """Test items and seeds are resampled in each language separately, the same ones for both conditions.

    Items alone (Koehn 2004) would ignore how much a condition's score changes with the seed.
    """
    gain = results.measure.gain
    observed, resampled, units = 0.0, np.zeros(RESAMPLES), 0
    for stream, (ours, theirs) in enumerate(cells):
        observed += gain(*(sum(one.total() for one in seeds) / len(seeds) for seeds in (ours, theirs)))
        resampled += gain(_resampled(ours, stream), _resampled(theirs, stream))
        units += len(ours[0].gold)
    resampled /= len(cells)
    low, high = (float(edge) for edge in np.percentile(resampled, [2.5, 97.5]))
    p = two_sided_p(resampled)
    return Difference(language, *names, observed / len(cells), low, high, p, p, TEST_ITEMS, units)


def _resampled(seeds: Sequence[Items], stream: int) -> NDArray[np.float64]:
    """The mean over resampled seeds of their scores on resampled items: float64 [resamples]."""
    weights = drawn_times(len(seeds[0].gold), RESAMPLES, stream)
    scores = np.column_stack([items.score(weights @ items.counts) for items in seeds])
    shares = drawn_times(len(seeds), RESAMPLES, SEED_STREAM + stream) / len(seeds)
    return np.asarray((scores * shares).sum(axis=1))


def _of_units(language: str, names: tuple[str, str], gains: Sequence[float], what: str) -> Difference:
    found = spread(gains)
    p = randomisation_p(gains) if len(gains) > 1 else None
    return Difference(language, *names, found.mean, found.low, found.high, p, p, what, len(gains))


def corrected(differences: Sequence[Kind]) -> list[Kind]:
    """With Holm's step-down correction of the p values (here: statsmodels collects garbage for every list)."""
    corrected_ones, largest = list(differences), 0.0
    known = sorted((d.p, at) for at, d in enumerate(differences) if d.p is not None)
    for rank, (p, at) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected_ones[at] = replace(differences[at], p_holm=largest)
    return corrected_ones


def read_items(runs: Sequence[StudyRun]) -> list[Items] | None:
    """The test items of a cell's seeds; None if some are missing or do not reproduce the recorded value."""
    found = []
    for run in runs:
        metric, files = measure_of(run).metric, run.files(SENTENCES if run.kind == "score" else PREDICTIONS)
        if run.kind == "score" and metric == PERPLEXITY and run.published:
            metric = AS_PUBLISHED
        if metric not in COUNTING or len(files) != 1 or run.value is None:
            return None
        # Not splitlines: a text may contain other line separators of Unicode.
        lines = files[0].read_text(encoding="utf-8").split("\n")
        items = COUNTING[metric]([json.loads(line) for line in lines if line])
        if not abs(items.total() - run.value) <= TOLERANCE * max(100.0, run.value):
            return None
        found.append(items)
    return found or None


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
