"""Correlations of gains over languages: with data sizes and pseudo-perplexity (as in arXiv 2502.10140)."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log10
from statistics import mean
from typing import Any

from langlift.errors import InputError
from langlift.language_facts import exposure
from langlift.languages import find_language
from langlift.studies.analysis.measures import PERPLEXITY, Condition, Results
from langlift.studies.store import StudyRun

FEWEST_LANGUAGES = 4
"""Of three points almost any two rows correlate."""
DATA_SIZES = ("train_bytes", "data_bytes", "bytes", "max_bytes")
"""Entries of a run's result or cell, or of the runs it needs, that say how much was adapted on."""
PRE_TRAINING = "pre-training data, MB"
ADAPTATION = "adaptation data, MB"
SURPRISE = "pseudo-perplexity before"


@dataclass(frozen=True)
class Correlation:
    """Of ``y`` with the decimal logarithm of ``x`` over languages; ``points`` has (x, y) by language.

    Spearman's ``spearman`` needs no logarithm. ``p`` values are two-sided. ``y`` is "gain" or "score".
    """

    measure: str
    condition: str
    x: str
    y: str
    points: Mapping[str, tuple[float, float]]
    pearson: float
    pearson_p: float
    spearman: float
    spearman_p: float


def correlate(all_results: Sequence[Results], runs: Sequence[StudyRun]) -> list[Correlation]:
    """Each condition's mean gain over seeds with each x that is known of four languages or more.

    A condition without adaptation has no gain: its score is taken.
    """
    by_hash = {run.hash: run for run in runs if run.hash}
    surprise = _surprise(all_results)
    found = []
    for results in all_results:
        if results.measure.is_loss:
            continue
        for condition in results.conditions:
            values = {name: results.gains(name, condition) for name in results.languages}
            y = "gain" if any(values.values()) else "score"
            if y == "score":
                values = {name: results.values(name, condition) for name in results.languages}
            for x, sizes in _axes(results, condition, by_hash, surprise).items():
                points = {
                    name: (sizes[name], mean(values[name]))
                    for name in results.languages
                    if values[name] and sizes.get(name)
                }
                if x == SURPRISE and results.measure.metric == PERPLEXITY and y == "score":
                    continue  # with itself
                if one := correlation(results.measure.title, condition.label, x, y, points):
                    found.append(one)
    return found


def correlation(
    measure: str, condition: str, x: str, y: str, points: Mapping[str, tuple[float, float]]
) -> Correlation | None:
    """Pearson's with log10 x and Spearman's; None for too few points, or where one side does not vary."""
    from scipy.stats import pearsonr, spearmanr

    if len(points) < FEWEST_LANGUAGES:
        return None
    logs, values = [log10(a) for a, _ in points.values()], [b for _, b in points.values()]
    if len(set(logs)) < 2 or len(set(values)) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # near-constant input
        pearson, spearman = pearsonr(logs, values), spearmanr(logs, values)
    return Correlation(
        measure,
        condition,
        x,
        y,
        points,
        float(pearson.statistic),
        float(pearson.pvalue),
        float(spearman.statistic),
        float(spearman.pvalue),
    )


def data_megabytes(run: StudyRun, by_hash: Mapping[str, StudyRun]) -> float | None:
    """How much a run was adapted on: as it says itself, or the runs that it builds on, the nearest first."""
    waiting, seen = [run], {run.hash}
    while waiting:
        current = waiting.pop(0)
        for place in (current.result, current.cell):
            size = next((place[key] for key in DATA_SIZES if place.get(key)), None)
            if size is not None:
                return float(size) / 1e6
        for needed in current.needs:
            if needed in by_hash and needed not in seen:
                seen.add(needed)
                waiting.append(by_hash[needed])
    return None


def _axes(
    results: Results,
    condition: Condition,
    by_hash: Mapping[str, StudyRun],
    surprise: Mapping[tuple[str, str], float],
) -> dict[str, dict[str, float]]:
    """What gains may go with -> language -> value."""
    base = str(condition.settings.get("base", ""))

    def of(value: Callable[[StudyRun], float | None]) -> dict[str, float]:
        found = {}
        for name in results.languages:
            known = [v for run in results.runs(name, condition) if (v := value(run)) is not None]
            if known:
                found[name] = mean(known)
        return found

    return {
        PRE_TRAINING: {name: size for name in results.languages if (size := pre_training_megabytes(base, name))},
        ADAPTATION: of(lambda run: data_megabytes(run, by_hash)),
        SURPRISE: {name: v for name in results.languages if (v := surprise.get((base, name))) is not None},
    }


def pre_training_megabytes(base: str, language: str) -> float | None:
    """How much of a language the base model saw, as published for XLM-R and mBERT; None where not known, or none."""
    try:
        return exposure(base, find_language(language)).megabytes
    except InputError:
        return None


def _surprise(all_results: Sequence[Results]) -> dict[tuple[str, str], float]:
    """(base, language) -> pseudo-perplexity of the base before adaptation, as far as the study measured it."""
    found: dict[tuple[str, str], float] = {}
    for results in all_results:
        if results.measure.metric != PERPLEXITY:
            continue
        for condition in results.conditions:
            base = str(condition.settings.get("base", ""))
            for language in results.languages:
                values: list[Any] = [run.result.get("before") for run in results.runs(language, condition)]
                if condition.is_reference:
                    values = results.values(language, condition)
                known = [float(value) for value in values if value is not None]
                if known:
                    found.setdefault((base, language), mean(known))
    return found
