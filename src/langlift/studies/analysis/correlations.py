"""Correlations of gains over languages: with data sizes and perplexities (as in arXiv 2502.10140)."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import permutations
from math import atanh, log10, sqrt, tanh
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from langlift.config.yaml_reader import load_yaml
from langlift.data_folder import SPLITS
from langlift.errors import InputError
from langlift.language_facts import exposure
from langlift.languages import find_language
from langlift.studies.analysis.measures import CAUSAL_PERPLEXITY, PERPLEXITY, Results, language_of
from langlift.studies.folder import StudyRun
from langlift.studies.step import BUILDS, DATA
from langlift.studies.study_file import STUDY

FEWEST_LANGUAGES = 4
"""With three, almost any two rows correlate."""
FEWEST_FOR_T = 10
"""With fewer languages, p values are exact, from all permutations, instead of from Student's t."""
PRE_TRAINING = "pre-training data, MB"
ADAPTATION = "adaptation data, MB"
PERPLEXITY_BEFORE = "perplexity before"
BASE_PERPLEXITIES = (PERPLEXITY, CAUSAL_PERPLEXITY)
"""The measures of masked models and of decoders."""


@dataclass(frozen=True)
class Correlation:
    """Correlation of ``y`` with log10 of ``x`` over languages; ``points`` is (x, y) by language.

    Spearman's ``spearman`` does not depend on the logarithm. ``p`` values are two-sided, by all permutations for
    fewer than ten languages. ``interval`` values are 95 % intervals by Fisher's transformation. ``y`` is "gain" or
    "score".
    """

    measure: str
    condition: str
    x: str
    y: str
    points: Mapping[str, tuple[float, float]]
    pearson: float
    pearson_p: float
    pearson_interval: tuple[float, float]
    spearman: float
    spearman_p: float
    spearman_interval: tuple[float, float]


def correlate(all_results: Sequence[Results], runs: Sequence[StudyRun]) -> list[Correlation]:
    """Correlate each condition's mean gain over seeds with each x that is known for at least four languages.

    A condition without adaptation has no gain; its score is used instead.
    """
    by_hash = {run.hash: run for run in runs if run.hash}
    before = _perplexity_before(all_results)
    correlations = []
    for results in all_results:
        if results.measure.is_loss:
            continue
        for condition in results.conditions:
            values = {name: results.gains(name, condition) for name in results.languages}
            y = "gain" if any(values.values()) else "score"
            if y == "score":
                values = {name: results.values(name, condition) for name in results.languages}
            base = str(condition.settings.get("base", ""))
            predictors: dict[str, dict[str, float | None]] = {
                PRE_TRAINING: {name: _pre_training_megabytes(base, name) for name in values},
                ADAPTATION: {
                    name: _mean([data_megabytes(run, by_hash) for run in results.runs(name, condition)])
                    for name in values
                },
                PERPLEXITY_BEFORE: {name: before.get((base, name)) for name in values},
            }
            if results.measure.metric in BASE_PERPLEXITIES and y == "score":
                del predictors[PERPLEXITY_BEFORE]  # it would correlate with itself
            for x, sizes in predictors.items():
                points = {
                    name: (size, mean(some)) for name, some in values.items() if some and (size := sizes[name])
                }
                if one := correlation(results.measure.title, condition.label, x, y, points):
                    correlations.append(one)
    return correlations


def correlation(
    measure: str, condition: str, x: str, y: str, points: Mapping[str, tuple[float, float]]
) -> Correlation | None:
    """Pearson's with log10 x, and Spearman's; None for too few points, or if one side does not vary."""
    from scipy.stats import pearsonr, rankdata, spearmanr

    if len(points) < FEWEST_LANGUAGES:
        return None
    logs, values = [log10(a) for a, _ in points.values()], [b for _, b in points.values()]
    if len(set(logs)) < 2 or len(set(values)) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # near-constant input
        linear, ranked = pearsonr(logs, values), spearmanr(logs, values)
    r, rho, count = float(linear.statistic), float(ranked.statistic), len(points)
    p, rho_p = float(linear.pvalue), float(ranked.pvalue)
    if count < FEWEST_FOR_T:
        p, rho_p = _exact_p(logs, values), _exact_p(rankdata(logs), rankdata(values))
    interval = _fisher_interval(r, 1 / (count - 3), 1 - 1e-9)
    # Variance: Fieller et al. (1957). A perfect correlation counts as halfway to the next possible value.
    rho_interval = _fisher_interval(rho, 1.06 / (count - 3), 1 - 6 / (count * (count**2 - 1)))
    return Correlation(measure, condition, x, y, points, r, p, interval, rho, rho_p, rho_interval)


def _exact_p(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """The share of all permutations of ``y`` that correlate with ``x`` at least as much, in either direction."""
    centred, other = np.asarray(x, float), np.asarray(y, float)
    centred, other = centred - centred.mean(), other - other.mean()
    products = abs(other[np.asarray(list(permutations(range(len(other)))))] @ centred)
    return float((products >= products[0] * (1 - 1e-9)).mean())


def _fisher_interval(r: float, variance: float, largest: float) -> tuple[float, float]:
    """The 95 % interval of a correlation, on the scale of its inverse hyperbolic tangent."""
    middle, reach = atanh(max(-largest, min(largest, r))), 1.959964 * sqrt(variance)
    return tanh(middle - reach), tanh(middle + reach)


def data_megabytes(run: StudyRun, by_hash: Mapping[str, StudyRun]) -> float | None:
    """The size in MB of a run's or its adapter's adaptation data, all splits; None if unknown."""
    needed = [by_hash[one] for one in run.needs if one in by_hash]
    built = [size for one in needed if one.kind in BUILDS if (size := _built_bytes(one)) is not None]
    parts = str(run.cell.get("data", "")).replace("+", ",").split(",")
    if built and len(built) == len(parts):
        return sum(built) / 1e6
    for one in needed:
        if one.kind not in BUILDS and (size := data_megabytes(one, by_hash)) is not None:
            return size
    given = [_given_bytes(run.folder.parent.parent / STUDY, part, language_of(run)) for part in parts]
    return None if None in given else sum(size or 0 for size in given) / 1e6


def _built_bytes(run: StudyRun) -> float | None:
    """The text of a corpus or reduced data set (both record it) or of a graph's sentences."""
    return run.value if run.kind in ("corpus", "cut") else _text_bytes(run.folder / DATA)


def _given_bytes(study: Path, name: str, language: str) -> float | None:
    """The size of a study file's data for a language, if they still exist."""
    try:
        paths = _content(study.read_text(encoding="utf-8"))["data"][name][language]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None
    return _text_bytes(Path(str(paths[0] if isinstance(paths, list) else paths)))


@lru_cache(maxsize=16)
def _content(study: str) -> Any:
    """The content of a study file, which is read for each of its runs."""
    return load_yaml(study)


@cache
def _text_bytes(data: Path) -> float | None:
    """UTF-8 bytes of a text file, or of the texts of a built folder."""
    if data.is_file():
        return float(data.stat().st_size)
    splits = [data / f"{split}.jsonl" for split in SPLITS if (data / f"{split}.jsonl").is_file()]
    total = 0
    for path in splits:
        with path.open(encoding="utf-8") as lines:
            total += sum(len(json.loads(line)["text"].encode()) for line in lines)
    return float(total) if splits else None


def _pre_training_megabytes(base: str, language: str) -> float | None:
    """The base's pre-training data in a language, as published for XLM-R and mBERT; None if unknown."""
    try:
        return exposure(base, find_language(language)).megabytes
    except InputError:
        return None


def _perplexity_before(all_results: Sequence[Results]) -> dict[tuple[str, str], float]:
    """(base, language) -> perplexity of the base before adaptation, if the study measured it."""
    found: dict[tuple[str, str], float] = {}
    for results in all_results:
        for condition in results.conditions if results.measure.metric in BASE_PERPLEXITIES else ():
            base = str(condition.settings.get("base", ""))
            for language in results.languages:
                values: list[Any] = results.values(language, condition)
                if not condition.is_reference:
                    values = [run.result.get("before") for run in results.runs(language, condition)]
                if (before := _mean(values)) is not None:
                    found.setdefault((base, language), before)
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None
