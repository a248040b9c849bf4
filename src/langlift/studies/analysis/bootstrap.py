"""Significance of differences: paired bootstrap of test items (Koehn 2004), or sign flips of languages."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, product
from math import comb
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from langlift.studies.analysis.item_counts import Items, read_items
from langlift.studies.analysis.measures import Condition, Results, spread

RESAMPLES = 2000
RANDOMISATIONS = 10_000
"""If there are more combinations of signs or of units, this many are drawn, with a fixed seed."""
SEED_STREAM = 10_000
"""Seeds are drawn independently of the items."""
MOST_CONDITIONS = 6
"""Up to this many conditions, all pairs are compared; else each with the one without adaptation."""
TEST_ITEMS, LANGUAGES, SEEDS = "test items and seeds", "languages", "seeds"
ALL = "all languages"


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
    items = {
        (language, condition.label): read_items(
            sorted(results.runs(language, condition), key=lambda run: str(run.cell.get("seed")))
        )
        for language in results.languages
        for condition in results.conditions
    }
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
