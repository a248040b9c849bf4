"""How a measure depends on settings: curves over numbers, and mixed-effects regression (arXiv 2405.12413)."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log, log2, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langlift.studies.analysis.measures import (
    WITHOUT,
    Measure,
    Results,
    Spread,
    label,
    language_of,
    settings_of,
    spread,
)
from langlift.studies.study import PROMPTED_USE

MEAN = "mean of the languages"
FEWEST_LANGUAGES = 3
FEW_LANGUAGES = 10
"""With fewer, the spread between languages is badly known: the report says so."""
WIDE = 8
"""The axis of a positive setting whose largest value is at least this many times the smallest is logarithmic."""
MOST_SETTINGS = 8


@dataclass(frozen=True)
class Curve:
    """The measure at each value of the axis: of a language (or the mean of all) under one condition."""

    language: str
    condition: str
    points: Mapping[float, Spread]


@dataclass(frozen=True)
class AxisCurves:
    """All curves of a measure over ``axis``; ``wide`` if a logarithmic axis is better."""

    measure: Measure
    axis: str
    curves: list[Curve]
    wide: bool


def curves_of(results: Results, axis: str) -> AxisCurves | None:
    """Curves over a setting, one for each language and combination of the other settings, if there are any."""
    rest = [key for key in results.varied if key != axis]
    lines: dict[tuple[str, str], dict[float, list[float]]] = {}
    for run in results.all_runs:
        if is_number(run.cell.get(axis)):
            name = label({k: v for k, v in settings_of(run).items() if k != axis}, rest)
            by_x = lines.setdefault((name, language_of(run)), {})
            by_x.setdefault(float(run.cell[axis]), []).append(run.value)
    curves = [
        Curve(language, condition, {x: spread(by_x[x]) for x in sorted(by_x)})
        for (condition, language), by_x in sorted(lines.items())
        if len(by_x) > 1
    ]
    curves = [*_means(curves), *curves]
    if not curves:
        return None
    return AxisCurves(results.measure, axis, curves, _is_wide([x for curve in curves for x in curve.points]))


def numeric_axes(results: Results) -> list[str]:
    """The settings that are numbers and have several values in a measure's runs."""
    values = {key: {run.cell.get(key) for run in results.all_runs} for key in results.varied}
    return [key for key, some in values.items() if len(set(filter(is_number, some))) > 1]


def is_number(value: Any) -> bool:
    """Whether a setting is a number (true and false are not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_wide(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) >= WIDE * min(values)


def _means(curves: Sequence[Curve]) -> list[Curve]:
    """The mean over languages of each condition with several languages that were all run at every point."""
    found = []
    for condition in dict.fromkeys(curve.condition for curve in curves):
        same = [curve for curve in curves if curve.condition == condition]
        if len(same) > 1 and len({tuple(curve.points) for curve in same}) == 1:
            points = {x: spread([curve.points[x].mean for curve in same]) for x in same[0].points}
            found.append(Curve(MEAN, condition, points))
    return found


@dataclass(frozen=True)
class Effect:
    """One row: ``estimate`` of a term with standard error, t, two-sided p and 95 % interval."""

    term: str
    estimate: float
    standard_error: float
    t: float
    p: float
    low: float
    high: float


@dataclass(frozen=True)
class Regression:
    """``outcome`` by settings, with a random intercept for each group (language); fitted by REML.

    ``group_std`` and ``residual_std`` are standard deviations. ``left_out`` is the number of runs that lack a
    setting, ``dropped`` the terms that depend linearly on others. Tests and intervals are Student's with
    ``degrees_of_freedom``, one less than the number of groups: languages, not runs, are the independent units.
    """

    measure: str
    outcome: str
    effects: list[Effect]
    group_std: float
    residual_std: float
    observations: int
    groups: int
    degrees_of_freedom: int
    converged: bool
    left_out: int
    dropped: list[str]


def regress(results: Results) -> Regression | None:
    """The effects of the settings that vary between a measure's conditions; None if there are too few data.

    Perplexities enter as natural logarithms. A categorical setting is compared with its first value.
    """
    if not results.comparable:
        return None
    # Prompted models have no settings in common with trained ones.
    runs = [run for run in results.all_runs if run.cell.get("use") != PROMPTED_USE] or results.all_runs
    settings = [settings_of(run) for run in runs]
    # Settings of every adapted run: conditions without adaptation have none to compare.
    keys = [key for key in results.varied if sum(key in s for s in settings) > 0.5 * len(settings)]
    rows = [i for i, s in enumerate(settings) if all(key in s for key in keys)]
    keys = [key for key in keys if len({str(settings[i][key]) for i in rows}) > 1]
    groups = [language_of(runs[i]) for i in rows]
    if not keys or len(keys) > MOST_SETTINGS or len(set(groups)) < FEWEST_LANGUAGES:
        return None
    columns: dict[str, list[float]] = {}
    for key in keys:
        columns |= _coded(key, [settings[i][key] for i in rows])
    outcome = title = results.measure.title
    values = [runs[i].value for i in rows]
    if results.measure.is_perplexity:
        outcome, values = f"log {title}", list(map(log, values))
    return mixed_model(title, outcome, values, columns, groups, len(runs) - len(rows))


def mixed_model(
    measure: str,
    outcome: str,
    values: Sequence[float],
    columns: Mapping[str, Sequence[float]],
    groups: Sequence[str],
    left_out: int = 0,
) -> Regression | None:
    """``values ~ 1 + columns + (1 | groups)`` by REML (statsmodels); None if it cannot be fitted."""
    from scipy.stats import t as student
    from statsmodels.regression.mixed_linear_model import MixedLM

    design = {"intercept": np.ones(len(values)), **{name: np.asarray(c, float) for name, c in columns.items()}}
    kept = _independent(design)
    if len(kept) < 2 or len(values) <= len(kept) + 1:
        return None
    # Fitted on standardised columns: settings such as learning rates would make the problem ill-conditioned.
    middles = {name: 0.0 if name == "intercept" else float(design[name].mean()) for name in kept}
    scales = {name: 1.0 if name == "intercept" else float(design[name].std()) for name in kept}
    matrix = np.column_stack([(design[name] - middles[name]) / scales[name] for name in kept])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fit = MixedLM(np.asarray(values), matrix, groups=np.asarray(groups)).fit(reml=True)
        except (np.linalg.LinAlgError, ValueError):
            return None
    back = np.diag([1.0 / scales[name] for name in kept])
    back[0, 1:] = [-middles[name] / scales[name] for name in kept[1:]]
    k = len(kept)
    covariance = back @ np.asarray(fit.cov_params())[:k, :k] @ back.T
    estimates, errors = back @ np.asarray(fit.fe_params), np.sqrt(np.diag(covariance))
    count = len(set(groups))
    t, reach = estimates / errors, float(student.ppf(0.975, count - 1)) * errors
    p = 2 * student.sf(abs(t), count - 1)
    numbers = np.column_stack([estimates, errors, t, p, estimates - reach, estimates + reach])
    effects = [Effect(name, *row) for name, row in zip(kept, numbers.tolist(), strict=True)]
    if not all(np.isfinite(e.standard_error) and e.standard_error > 0 for e in effects):
        return None
    return Regression(
        measure,
        outcome,
        effects,
        group_std=sqrt(max(0.0, float(np.asarray(fit.cov_re)[0, 0]))),
        residual_std=sqrt(float(fit.scale)),
        observations=len(values),
        groups=count,
        degrees_of_freedom=count - 1,
        converged=bool(fit.converged) and not any("singular" in str(w.message) for w in caught),
        left_out=left_out,
        dropped=[name for name in design if name not in kept],
    )


def _coded(key: str, values: Sequence[Any]) -> dict[str, list[float]]:
    """A setting as columns: a number, or its doublings; for categories 0 and 1, compared with the first."""
    name = key.replace("_", " ")
    if all(map(is_number, values)):
        if _is_wide(values):
            return {f"{name}, doubled": [log2(value) for value in values]}
        return {f"{name}, +1": [float(value) for value in values]}
    texts = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
    first, *others = sorted(set(texts), key=lambda text: (text not in WITHOUT, text))
    return {f"{name}: {other} (not {first})": [float(text == other) for text in texts] for other in others}


def _independent(design: Mapping[str, NDArray[np.float64]]) -> list[str]:
    """The columns that are linearly independent of those before them."""
    kept: list[str] = []
    for name, column in design.items():
        size = np.abs(column).max() or 1.0
        matrix = np.column_stack([*(design[k] / (np.abs(design[k]).max() or 1.0) for k in kept), column / size])
        if np.linalg.matrix_rank(matrix) == len(kept) + 1:
            kept.append(name)
    return kept
