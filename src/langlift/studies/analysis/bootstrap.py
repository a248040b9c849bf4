"""Is a condition better than another? Paired bootstrap of test items (Koehn 2004), or sign flips of languages."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from langlift.studies.analysis.item_counts import Items, read_items
from langlift.studies.analysis.measures import Condition, Measure, Results
from langlift.studies.analysis.spread import spread
from langlift.studies.store import StudyRun

RESAMPLES = 2000
SEED_STREAM = 10_000
"""Seeds are drawn independently of the items."""
EXACT = 12
"""With up to so many units all combinations of signs are tried."""
MOST_CONDITIONS = 6
"""Up to so many conditions all pairs are compared; else each with the one without adaptation."""
TEST_ITEMS, LANGUAGES, SEEDS = "test items and seeds", "languages", "seeds"
ALL = "all languages"


@dataclass(frozen=True)
class Difference:
    """How much better ``better`` is than ``than``, in units of the measure's gain, with a 95 % interval.

    ``units`` are what was ``resampled``: test items and seeds by the bootstrap, ``p`` being twice the share of
    resamples on the other side of 0. Where runs kept no items: languages, each the mean of its seeds (or the
    seeds of one language), with Student's t interval and the exact paired randomisation test (Fisher 1935), which
    few units cannot make significant. ``p_holm`` is corrected (Holm 1979) for the other comparisons of the list.
    Interval and p are None with a single unit.
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
                by_language.append(_of_items(results.measure, language, names, [(ours, theirs)]))  # type: ignore[list-item]
            else:
                by_language.append(_of_units(language, names, _gains(results, language, better, than), SEEDS))
        if len(both) > 1:
            if len(counted) == len(both):
                overall.append(_of_items(results.measure, ALL, names, counted))  # type: ignore[arg-type]
            else:
                gains = [float(np.mean(_gains(results, language, better, than))) for language in both]
                overall.append(_of_units(ALL, names, gains, LANGUAGES))
    return Differences(_corrected(overall), _corrected(by_language))


@lru_cache(maxsize=4)
def drawn_times(count: int, resamples: int, stream: int = 0) -> NDArray[np.float64]:
    """How often each of ``count`` units is drawn in each resample: the same draws in every call of a stream."""
    drawn = np.random.default_rng(stream).integers(count, size=(resamples, count))
    weights = np.zeros((resamples, count))
    np.add.at(weights, (np.arange(resamples)[:, None], drawn), 1.0)
    return weights


def randomisation_p(values: Sequence[float]) -> float:
    """Two-sided: the share of all combinations of signs whose mean is as far from 0 as the observed one."""
    count = len(values)
    if count <= EXACT:
        signs = np.array(list(product((-1.0, 1.0), repeat=count)))
    else:
        drawn = np.random.default_rng(0).choice((-1.0, 1.0), size=(9_999, count))
        signs = np.vstack([np.ones(count), drawn])
    means = np.abs(signs @ np.asarray(values)) / count
    return float(np.mean(means >= abs(float(np.mean(values))) * (1 - 1e-12)))


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
    measure: Measure, language: str, names: tuple[str, str], cells: Sequence[tuple[list[Items], list[Items]]]
) -> Difference:
    """Test items and seeds are resampled in each language by itself, the same ones for both conditions.

    Items alone (Koehn 2004) would leave out how much a condition's score changes with the seed.
    """
    observed, resampled, units = 0.0, np.zeros(RESAMPLES), 0
    for place, (ours, theirs) in enumerate(cells):
        weights = drawn_times(len(ours[0].gold), RESAMPLES, place)
        observed += measure.gain(_mean_total(ours), _mean_total(theirs))
        ours_drawn = drawn_times(len(ours), RESAMPLES, SEED_STREAM + place) / len(ours)
        theirs_drawn = drawn_times(len(theirs), RESAMPLES, SEED_STREAM + place) / len(theirs)
        value = (_scores(ours, weights) * ours_drawn).sum(axis=1)
        before = (_scores(theirs, weights) * theirs_drawn).sum(axis=1)
        resampled += measure.gain(value, before)
        units += len(ours[0].gold)
    resampled /= len(cells)
    low, high = (float(edge) for edge in np.percentile(resampled, [2.5, 97.5]))
    p = two_sided_p(resampled)
    return Difference(language, *names, observed / len(cells), low, high, p, p, TEST_ITEMS, units)


def _of_units(language: str, names: tuple[str, str], gains: Sequence[float], what: str) -> Difference:
    found = spread(gains)
    p = randomisation_p(gains) if len(gains) > 1 else None
    return Difference(language, *names, found.mean, found.low, found.high, p, p, what, len(gains))


def _gains(results: Results, language: str, better: Condition, than: Condition) -> list[float]:
    return [results.measure.gain(*pair) for pair in results.pairs(language, better, than)]


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
