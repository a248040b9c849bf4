"""Curves of a measure over a numeric setting: data size, noise, steps, vocabulary size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langlift.studies.analysis.measures import Measure, Results, Spread, label, language_of, settings_of, spread

MEAN = "mean of the languages"


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
    xs = [x for curve in curves for x in curve.points]
    return AxisCurves(results.measure, axis, curves, min(xs) > 0 and max(xs) >= 8 * min(xs))


def numeric_axes(results: Results) -> list[str]:
    """The settings that are numbers and have several values in a measure's runs."""
    values = {key: {run.cell.get(key) for run in results.all_runs} for key in results.varied}
    return [key for key, some in values.items() if len(set(filter(is_number, some))) > 1]


def is_number(value: Any) -> bool:
    """Whether a setting is a number (true and false are not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _means(curves: Sequence[Curve]) -> list[Curve]:
    """The mean over languages of each condition with several languages that were all run at every point."""
    found = []
    for condition in dict.fromkeys(curve.condition for curve in curves):
        same = [curve for curve in curves if curve.condition == condition]
        if len(same) > 1 and len({tuple(curve.points) for curve in same}) == 1:
            points = {x: spread([curve.points[x].mean for curve in same]) for x in same[0].points}
            found.append(Curve(MEAN, condition, points))
    return found
