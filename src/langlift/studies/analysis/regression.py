"""Effects of settings: linear mixed-effects regression, language as random intercept (as in arXiv 2405.12413)."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log, log2, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langlift.studies.analysis.measures import WITHOUT, Results, language_of, settings_of
from langlift.studies.single_runs import PROMPTED

FEWEST_LANGUAGES = 3
WIDE = 8
"""A positive setting whose largest value is so many times the smallest is taken by its doublings."""
MOST_SETTINGS = 8


@dataclass(frozen=True)
class Effect:
    """One row: ``estimate`` of a term with standard error, Wald z, two-sided p and 95 % interval."""

    term: str
    estimate: float
    standard_error: float
    z: float
    p: float
    low: float
    high: float


@dataclass(frozen=True)
class Regression:
    """``outcome`` by settings, with a random intercept for each group (language); fitted by REML.

    ``group_std`` and ``residual_std`` are standard deviations. ``left_out`` counts the runs that lack a setting,
    ``dropped`` names terms that others determine.
    """

    measure: str
    outcome: str
    effects: list[Effect]
    group_std: float
    residual_std: float
    observations: int
    groups: int
    converged: bool
    left_out: int
    dropped: list[str]


def regress(results: Results) -> Regression | None:
    """The effects of what varies between a measure's conditions; None where there is too little to tell.

    Perplexities are taken by their natural logarithm. A setting in words is compared with its first value.
    """
    if not results.comparable:
        return None
    runs = [run for cell in results.cells.values() for run in cell if run.value is not None]
    # Prompted models share no setting with trained ones.
    runs = [run for run in runs if run.cell.get("use") != PROMPTED] or runs
    settings = [settings_of(run) for run in runs]
    # What every adapted run has: conditions without adaptation have no settings to compare.
    share = {key: sum(key in s for s in settings) / len(settings) for key in results.varied}
    keys = [key for key in results.varied if share[key] > 0.5]
    rows = [i for i, s in enumerate(settings) if all(key in s for key in keys)]
    keys = [key for key in keys if len({str(settings[i][key]) for i in rows}) > 1]
    groups = [language_of(runs[i]) for i in rows]
    if not keys or len(keys) > MOST_SETTINGS or len(set(groups)) < FEWEST_LANGUAGES:
        return None
    columns: dict[str, list[float]] = {}
    for key in keys:
        columns |= _coded(key, [settings[i][key] for i in rows])
    values = [float(runs[i].value or 0.0) for i in rows]
    logged = results.measure.is_perplexity
    outcome = f"log {results.measure.title}" if logged else results.measure.title
    return mixed_model(
        results.measure.title,
        outcome,
        [log(value) for value in values] if logged else values,
        columns,
        groups,
        left_out=len(runs) - len(rows),
    )


def mixed_model(
    measure: str,
    outcome: str,
    values: Sequence[float],
    columns: Mapping[str, Sequence[float]],
    groups: Sequence[str],
    left_out: int = 0,
) -> Regression | None:
    """``values ~ 1 + columns + (1 | groups)`` by REML (statsmodels); None where the model cannot be fitted."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    design = {"intercept": np.ones(len(values)), **{name: np.asarray(c, float) for name, c in columns.items()}}
    kept = _independent(design)
    if len(kept) < 2 or len(values) <= len(kept) + 1:
        return None
    # Fitted on columns of one size: settings such as learning rates would make the problem ill-conditioned.
    middles = {name: 0.0 if name == "intercept" else float(design[name].mean()) for name in kept}
    scales = {name: 1.0 if name == "intercept" else float(design[name].std()) for name in kept}
    matrix = np.column_stack([(design[name] - middles[name]) / scales[name] for name in kept])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            fit = MixedLM(np.asarray(values), matrix, groups=np.asarray(groups)).fit(reml=True)
        except (np.linalg.LinAlgError, ValueError):
            return None
    back = np.diag([1.0 / scales[name] for name in kept])
    back[0, 1:] = [-middles[name] / scales[name] for name in kept[1:]]
    k = len(kept)
    covariance = back @ np.asarray(fit.cov_params())[:k, :k] @ back.T
    estimates = back @ np.asarray(fit.fe_params)
    effects = [_effect(*row) for row in zip(kept, estimates, np.sqrt(np.diag(covariance)), strict=True)]
    if not all(np.isfinite(e.standard_error) and e.standard_error > 0 for e in effects):
        return None
    return Regression(
        measure,
        outcome,
        effects,
        group_std=sqrt(max(0.0, float(np.asarray(fit.cov_re)[0, 0]))),
        residual_std=sqrt(float(fit.scale)),
        observations=len(values),
        groups=len(set(groups)),
        converged=bool(fit.converged) and not any("singular" in str(w.message) for w in told),
        left_out=left_out,
        dropped=[name for name in design if name not in kept],
    )


def _effect(term: str, estimate: float, standard_error: float) -> Effect:
    from scipy.stats import norm

    z = estimate / standard_error
    reach = float(norm.ppf(0.975)) * standard_error
    return Effect(
        term,
        float(estimate),
        float(standard_error),
        float(z),
        float(2 * norm.sf(abs(z))),
        float(estimate - reach),
        float(estimate + reach),
    )


def _coded(key: str, values: Sequence[Any]) -> dict[str, list[float]]:
    """A setting as columns: a number by itself or by its doublings; words by 0 and 1 against the first."""
    name = key.replace("_", " ")
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        if min(values) > 0 and max(values) >= WIDE * min(values):
            return {f"{name}, doubled": [log2(value) for value in values]}
        return {f"{name}, +1": [float(value) for value in values]}
    texts = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
    first, *others = sorted(set(texts), key=lambda text: (text not in WITHOUT, text))
    return {f"{name}: {other} (not {first})": [float(text == other) for text in texts] for other in others}


def _independent(design: Mapping[str, NDArray[np.float64]]) -> list[str]:
    """The columns that those before them do not determine."""
    kept: list[str] = []
    for name, column in design.items():
        size = np.abs(column).max() or 1.0
        matrix = np.column_stack([*(design[k] / (np.abs(design[k]).max() or 1.0) for k in kept), column / size])
        if np.linalg.matrix_rank(matrix) == len(kept) + 1:
            kept.append(name)
    return kept
