"""Paired bootstrap (Efron and Tibshirani 1993; of test items: Koehn 2004): is a condition better than another?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from langlift.studies.analysis.item_counts import Items, read_items
from langlift.studies.analysis.measures import Condition, Results
from langlift.studies.store import StudyRun

RESAMPLES = 2000
SEED_STREAM = 10_000
"""Seeds are drawn independently of the items."""
FEWEST_PAIRS = 5
"""With fewer pairs, resampling says more than is known: three of one sign would always come out as certain."""
MOST_CONDITIONS = 6
"""Up to so many conditions all pairs are compared; else each with the one without adaptation."""
TEST_ITEMS, PAIRS = "test items and seeds", "languages × seeds"
ALL = "all languages"


@dataclass(frozen=True)
class Difference:
    """How much better ``better`` is than ``than``, in units of the measure's gain, with a 95 % interval.

    ``p`` is two-sided: twice the share of resamples on the other side of 0. ``p_holm`` is corrected (Holm 1979)
    for the other comparisons of the same list. Interval and p are None with fewer than ``FEWEST_PAIRS`` units.
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


@dataclass(frozen=True)
class Differences:
    """Comparisons over all languages, and language by language."""

    overall: list[Difference]
    by_language: list[Difference]


def compare(results: Results) -> Differences:
    """Every two conditions of a measure (of many, all with the reference, or without one with the first)."""
    items = {
        (language, condition.label): read_items(sorted(results.runs(language, condition), key=_seed))
        for language in results.languages
        for condition in results.conditions
    }
    overall, by_language = [], []
    for than, better in _compared(results):
        both = [
            language
            for language in results.languages
            if results.values(language, better) and results.values(language, than)
        ]
        counted = [
            (items[language, better.label], items[language, than.label])
            for language in both
            if _same_items(items[language, better.label], items[language, than.label])
        ]
        names = (better.label, than.label)
        for language in both:
            ours, theirs = items[language, better.label], items[language, than.label]
            if _same_items(ours, theirs):
                by_language.append(_of_items(language, names, [(ours, theirs)]))  # type: ignore[list-item]
            else:
                by_language.append(_of_pairs(language, names, _pair_gains(results, [language], better, than)))
        if len(both) > 1:
            if len(counted) == len(both):
                overall.append(_of_items(ALL, names, counted))  # type: ignore[arg-type]
            else:
                overall.append(_of_pairs(ALL, names, _pair_gains(results, both, better, than)))
    return Differences(_corrected(overall), _corrected(by_language))


def resampled_means(values: Sequence[float], resamples: int = RESAMPLES) -> NDArray[np.float64]:
    """The means of resamples of ``values`` with replacement: float64 [resamples]."""
    return _weights(len(values), resamples) @ np.asarray(values) / len(values)


def two_sided_p(differences: NDArray[np.float64]) -> float:
    """Twice the smaller share of resampled differences on one side of 0, the observed sample counted as one."""
    at_most, at_least = (differences <= 0).sum(), (differences >= 0).sum()
    return float(min(1.0, 2 * (1 + min(at_most, at_least)) / (1 + len(differences))))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction."""
    order = np.argsort(p_values, kind="stable")
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def _compared(results: Results) -> list[tuple[Condition, Condition]]:
    conditions = results.conditions
    if len(conditions) <= MOST_CONDITIONS:
        return list(combinations(conditions, 2))
    return [
        (than, condition)
        for condition in conditions
        if (than := results.reference(condition) or conditions[0]) is not condition
    ]


def _same_items(one: list[Items] | None, other: list[Items] | None) -> bool:
    return one is not None and other is not None and all(i.gold == one[0].gold for i in [*one, *other])


def _of_items(
    language: str, names: tuple[str, str], cells: Sequence[tuple[list[Items], list[Items]]]
) -> Difference:
    """Test items and seeds are resampled in each language by itself, the same ones for both conditions.

    Items alone (Koehn 2004) would leave out how much a condition's score changes with the seed.
    """
    observed, resampled, units = 0.0, np.zeros(RESAMPLES), 0
    for place, (ours, theirs) in enumerate(cells):
        weights = _weights(len(ours[0].gold), RESAMPLES, place)
        observed += _mean_total(ours) - _mean_total(theirs)
        ours_drawn = _weights(len(ours), RESAMPLES, SEED_STREAM + place) / len(ours)
        theirs_drawn = _weights(len(theirs), RESAMPLES, SEED_STREAM + place) / len(theirs)
        resampled += (_scores(ours, weights) * ours_drawn).sum(axis=1)
        resampled -= (_scores(theirs, weights) * theirs_drawn).sum(axis=1)
        units += len(ours[0].gold)
    return _difference(language, names, observed / len(cells), resampled / len(cells), TEST_ITEMS, units)


def _of_pairs(language: str, names: tuple[str, str], gains: Sequence[float]) -> Difference:
    observed = float(np.mean(gains))
    if len(gains) < FEWEST_PAIRS:
        return Difference(language, *names, observed, None, None, None, None, PAIRS, len(gains))
    return _difference(language, names, observed, resampled_means(gains), PAIRS, len(gains))


def _difference(
    language: str,
    names: tuple[str, str],
    observed: float,
    resampled: NDArray[np.float64],
    what: str,
    units: int,
) -> Difference:
    low, high = np.percentile(resampled, [2.5, 97.5])
    p = two_sided_p(resampled)
    return Difference(language, *names, observed, float(low), float(high), p, p, what, units)


def _pair_gains(results: Results, languages: Sequence[str], better: Condition, than: Condition) -> list[float]:
    pairs = [pair for language in languages for pair in results.pairs(language, better, than)]
    return [results.measure.gain(*pair) for pair in pairs]


def _corrected(differences: Sequence[Difference]) -> list[Difference]:
    known = [d.p for d in differences if d.p is not None]
    corrected = iter(holm(known))
    return [replace(d, p_holm=next(corrected)) if d.p is not None else d for d in differences]


def _mean_total(seeds: Sequence[Items]) -> float:
    return sum(items.total() for items in seeds) / len(seeds)


def _scores(seeds: Sequence[Items], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each seed's score in each resample of the items: float64 [resamples, seeds]."""
    return np.column_stack([items.score(weights @ items.counts) for items in seeds])


def _seed(run: StudyRun) -> str:
    return str(run.cell.get("seed"))


@lru_cache(maxsize=4)
def _weights(count: int, resamples: int, stream: int = 0) -> NDArray[np.float64]:
    """How often each of ``count`` units is drawn in each resample: the same draws in every call of a stream."""
    drawn = np.random.default_rng(stream).integers(count, size=(resamples, count))
    weights = np.zeros((resamples, count))
    np.add.at(weights, (np.arange(resamples)[:, None], drawn), 1.0)
    return weights
