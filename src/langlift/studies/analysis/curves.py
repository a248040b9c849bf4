"""How a measure goes with a setting that is a number: data size, noise, steps, vocabulary size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langlift.studies.analysis.measures import (
    Measure,
    Results,
    label,
    language_of,
    settings_of,
)
from langlift.studies.analysis.spread import Spread, spread
from langlift.studies.store import StudyRun

MEAN = "mean of the languages"


@dataclass(frozen=True)
class Point:
    """The measure at one value of the axis."""

    x: float
    spread: Spread


@dataclass(frozen=True)
class Curve:
    """One line: a language (or the mean of all, the same ones at every point) under one condition."""

    language: str
    condition: str
    points: list[Point]


@dataclass(frozen=True)
class AxisCurves:
    """All curves of a measure over ``axis``; ``wide`` says that a logarithmic axis shows them better."""

    measure: Measure
    axis: str
    curves: list[Curve]
    wide: bool


def curves_of(results: Results, axis: str) -> AxisCurves | None:
    """Curves over a setting, one for each language and each value of the other settings; None without any."""
    runs = [run for cell in results.cells.values() for run in cell if run.value is not None]
    runs = [run for run in runs if is_number(run.cell.get(axis))]
    rest = [key for key in results.varied if key != axis]
    lines: dict[tuple[str, str], dict[float, list[StudyRun]]] = {}
    for run in runs:
        name = label({k: v for k, v in settings_of(run).items() if k != axis}, rest)
        lines.setdefault((name, language_of(run)), {}).setdefault(float(run.cell[axis]), []).append(run)
    curves = []
    for (condition, language), by_x in sorted(lines.items()):
        points = [Point(x, spread([run.value or 0.0 for run in by_x[x]])) for x in sorted(by_x)]
        if len(points) > 1:
            curves.append(Curve(language, condition, points))
    curves = [*_means(curves), *curves]
    if not curves:
        return None
    xs = [point.x for curve in curves for point in curve.points]
    return AxisCurves(results.measure, axis, curves, min(xs) > 0 and max(xs) >= 8 * min(xs))


def numeric_axes(results: Results) -> list[str]:
    """The settings that are numbers and take several values in a measure's runs."""
    found = []
    for key in results.varied:
        values = {run.cell.get(key) for cell in results.cells.values() for run in cell}
        if len({value for value in values if is_number(value)}) > 1:
            found.append(key)
    return found


def is_number(value: Any) -> bool:
    """Whether a setting is a number (true and false are none)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _means(curves: Sequence[Curve]) -> list[Curve]:
    """The mean over languages of each condition, where there are several and all were run at every point."""
    found = []
    for condition in dict.fromkeys(curve.condition for curve in curves):
        same = [curve for curve in curves if curve.condition == condition]
        places = [[point.x for point in curve.points] for curve in same]
        if len(same) < 2 or any(place != places[0] for place in places):
            continue
        columns = zip(*(curve.points for curve in same), strict=True)
        points = [Point(column[0].x, spread([point.spread.mean for point in column])) for column in columns]
        found.append(Curve(MEAN, condition, points))
    return found
