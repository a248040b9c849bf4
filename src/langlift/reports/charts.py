"""Vega-Lite charts made with Altair, rendered as SVG without a network or scripts; the charts of single runs."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from langlift.files import write_text
from langlift.studies.analysis.correlations import Correlation
from langlift.studies.analysis.measures import Spread
from langlift.tasks.setups import ATTENTION
from langlift.training.run_folder import LEARNING_CURVES, PROGRESS

WIDTH = 250
"""Width of charts in pixels, narrow enough for a phone."""
TEXT, GRID, BLUE, GREY = "#1c2733", "#e4e8ec", "#1f5fa8", "#9aa5b1"
SERIES = [BLUE, "#d9822b", "#3c8d5a", "#8a5aa8", "#b3434b", "#5a6875", "#a0821f", "#2a8fa0", "#c46fa6", "#7d5a3c"]
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"
NAMES_ABOVE = alt.Y("name:N", sort=None, title=None, axis=None)
"""For names that are written above their bars."""
FIVE_TICKS = alt.Axis(tickCount=5)
NOT_FROM_ZERO = alt.Scale(zero=False)
Spec = dict[str, Any]
ON_WHITE: Spec = {"background": "white", "padding": 12}


@cache
def vega_bundle() -> str:
    """Vega, Vega-Lite and vega-embed as one script that defines ``window.vegaEmbed``, for a script element."""
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return re.sub(r"<(?=/script|!--)", r"\\x3c", bundle, flags=re.IGNORECASE)


def picture(chart: Spec, name: str) -> str:
    """The chart as one ``<svg>`` element, hidden from screen readers; ``name`` makes its ids unique."""
    svg: str = vl_convert.vegalite_to_svg(chart)
    svg = re.sub(r'\b(id="|url\(#)', rf"\1{name}-", svg)
    return svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)


def write_picture(target: Path, chart: Spec) -> Path:
    """Write the chart as an SVG file on white; returns the file."""
    write_text(target, vl_convert.vegalite_to_svg(chart | ON_WHITE) + "\n")
    return target


def bar_panels(rows: Sequence[Mapping[str, Any]], title: Sequence[str]) -> Spec:
    """Panels side by side, each with its own scale, on white.

    A row is a bar: ``panel``, ``name``, ``series`` (a colour, with a legend if there are several), ``value`` and
    its ``text``.
    """
    series, order = (list(dict.fromkeys(row[key] for row in rows)) for key in ("series", "panel"))
    legend = alt.Legend(orient="bottom", columns=1, labelLimit=400) if len(series) > 1 else None
    base = alt.Chart().encode(
        y=alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelLimit=260)),
        yOffset=alt.YOffset("series:N", sort=series),
        x=alt.X("value:Q", title=None, axis=alt.Axis(tickCount=3)),
    )
    colour = alt.Color("series:N", sort=None, title=None, legend=legend, scale=alt.Scale(range=SERIES[:6]))
    numbers = base.mark_text(align="left", dx=4, fontSize=12).encode(text="text:N")
    panels = alt.layer(base.mark_bar().encode(color=colour), numbers, data=alt.Data(values=list(rows)))
    panels = panels.properties(width=170, height=alt.Step(24))
    header = alt.Header(title=None, labelFontSize=13, labelAnchor="start")
    chart = panels.facet(column=alt.Column("panel:N", sort=order, header=header), spacing=45)
    whole_title = alt.Title(list(title), anchor="start", fontSize=15, offset=14)
    return _spec(chart.resolve_scale(x="independent").properties(title=whole_title)) | ON_WHITE


def bars(
    values: Mapping[str, Spread],
    texts: Mapping[str, str],
    seeds: Mapping[str, Sequence[float]],
    reference: str | None,
    axis: str,
    top: float | None,
) -> Spec:
    """A bar for each condition, with the 95 % interval, a dot for each seed, and its text and name above.

    The bar called ``reference`` is grey. ``top``: the end of the axis (None: what is needed).
    """
    rows = [{"name": name, "label": f"{texts[name]}  {name}", **asdict(s)} for name, s in values.items()]
    domain = [0, top or 1.05 * max(s.mean if s.high is None else s.high for s in values.values())]
    scale = alt.Scale(domain=domain, clamp=True)
    base = _chart(rows).encode(
        y=NAMES_ABOVE, x=alt.X("mean:Q", title=axis, scale=scale, axis=alt.Axis(tickCount=4))
    )
    colour = alt.condition(alt.datum.name == (reference or ""), alt.value(GREY), alt.value(BLUE))
    tooltip = [alt.Tooltip("name:N"), alt.Tooltip("mean:Q"), alt.Tooltip("count:Q", title="seeds")]
    names = base.mark_text(align="left", dy=-8, fontSize=12, color=TEXT, limit=WIDTH)
    layers = [
        base.mark_bar(size=9, yOffset=8).encode(color=colour, tooltip=tooltip),
        names.encode(text="label:N", x=alt.value(0)),
    ]
    if intervals := [row for row in rows if row["low"] is not None]:
        rules = _chart(intervals).encode(y=NAMES_ABOVE).mark_rule(color=TEXT, yOffset=8)
        layers.append(rules.encode(x="low:Q", x2="high:Q"))
    dots = _chart({"name": name, "seed value": v} for name, some in seeds.items() for v in some)
    dots = dots.encode(x="seed value:Q", y=NAMES_ABOVE, tooltip=["name:N", "seed value:Q"])
    layers.append(dots.mark_circle(size=22, color=TEXT, opacity=0.7, yOffset=8))
    return _spec(alt.layer(*layers).properties(width=WIDTH, height=36 * len(rows)))


def scatter(correlation: Correlation, unit: str, labels: bool) -> Spec:
    """A dot for each language over a logarithmic axis, with the least-squares line."""
    rows = [{"language": name, "x": x, "y": y} for name, (x, y) in correlation.points.items()]
    scale = alt.Scale(type="log", nice=False, padding=28)
    base = _chart(rows).encode(
        x=alt.X("x:Q", title=correlation.x, scale=scale, axis=_log_axis(rows)),
        y=alt.Y("y:Q", title=unit, scale=alt.Scale(zero=False, padding=12), axis=FIVE_TICKS),
    )
    line = base.transform_regression("x", "y", method="log").mark_line(color=GREY, strokeWidth=2)
    dots = base.mark_circle(size=60, color=BLUE, opacity=0.85).encode(tooltip=["language:N", "x:Q", "y:Q"])
    layers = [line, dots]
    if labels:
        layers.append(base.mark_text(dy=-9, fontSize=11, color=TEXT).encode(text="language:N"))
    return _spec(alt.layer(*layers).properties(width=WIDTH, height=200))


def line_chart(
    curves: Mapping[str, Mapping[float, Spread]], names: Sequence[str], axis: str, y: str, wide: bool = False
) -> Spec:
    """A line for each name, with a band where points have intervals; ``wide``: over a logarithmic axis.

    A name has the same colour in all charts with the same ``names``.
    """
    rows = [
        {"name": name, "x": x, "y": spread.mean, "low": spread.low, "high": spread.high}
        for name, points in curves.items()
        for x, spread in points.items()
    ]
    scale = alt.Scale(type="log", nice=False) if wide else alt.Scale(zero=False, nice=False)
    across = alt.X("x:Q", title=axis, scale=scale, axis=_log_axis(rows) if wide else FIVE_TICKS)
    lines = _chart(rows).encode(x=across, color=_colours(rows, names))
    layers = [
        lines.mark_line(point=alt.OverlayMarkDef(size=36), strokeWidth=2).encode(
            y=alt.Y("y:Q", title=y, scale=NOT_FROM_ZERO, axis=FIVE_TICKS), tooltip=["name:N", "x:Q", "y:Q"]
        )
    ]
    if bands := [row for row in rows if row["low"] is not None]:
        low = alt.Y("low:Q", title=y)
        band = _chart(bands).mark_area(opacity=0.15)
        layers.insert(0, band.encode(x=across, y=low, y2="high:Q", color=_colours(rows, names)))
    return _spec(alt.layer(*layers).properties(width=WIDTH, height=190))


def heat_map(shares: Mapping[str, Mapping[str, float]], across: str) -> Spec:
    """Shares (0 to 1): a row of cells for each name, which is written above it, and a cell for each column."""
    rows = [
        {"name": name, across: column, "share": value}
        for name, values in shares.items()
        for column, value in values.items()
    ]
    columns = list(dict.fromkeys(column for values in shares.values() for column in values))
    axis = alt.Axis(labelAngle=0 if max(map(len, columns)) < 4 else -60, domain=False, ticks=False)
    base = _chart(rows).encode(x=alt.X(f"{across}:O", title=across, sort=columns, axis=axis), y=NAMES_ABOVE)
    colour = alt.Color("share:Q", scale=alt.Scale(scheme="blues", domain=[0, 1], clamp=True), legend=None)
    dark = alt.condition(alt.datum.share > 0.6, alt.value("white"), alt.value("#112"))
    tooltip = ["name:N", f"{across}:O", "share:Q"]
    cells = base.mark_rect(height=24, yOffset=9).encode(color=colour, tooltip=tooltip)
    numbers = base.mark_text(fontSize=11, dy=9).encode(text=alt.Text("share:Q", format=".2f"), color=dark)
    names = _chart({"name": name} for name in shares).encode(y=NAMES_ABOVE, x=alt.value(0), text="name:N")
    names = names.mark_text(align="left", dy=-13, fontSize=12, color=TEXT)
    width = max(WIDTH, 34 * len(columns))
    return _spec(alt.layer(cells, numbers, names).properties(width=width, height=46 * len(shares)))


def write_fusion_map(out: Path, report: Mapping[str, Any]) -> Path:
    """Write a heat map of the attention by layer and adapter, mean and seeds, to the run's folder.

    ``report`` is that of the ``TaskResult`` of a task on several language adapters. Returns the file.

    Raises:
        LangliftError: the file cannot be written.
    """
    seeds = {f"seed {seed}": shares for seed, shares in report[f"{ATTENTION}_by_seed"].items()}
    maps = {"mean": report[ATTENTION], **seeds} if len(seeds) > 1 else seeds
    layers = {f"{name}, {which}": one for which, shares in maps.items() for name, one in shares.items()}
    return write_picture(out / "fusion_attention.svg", heat_map(by_layer(layers), "layer"))


def write_learning_curves(out: Path, names: Mapping[str, str]) -> Path:
    """Write the validation losses by step, of each language and their mean, to the run's folder.

    ``names`` are the languages' names by code; those that occur twice are shown with their code. Returns the file.

    Raises:
        LangliftError: the file cannot be written.
    """
    lines = (out / PROGRESS).read_text(encoding="utf-8").splitlines()
    records = [record for record in map(json.loads, lines) if "validation_loss" in record]
    counts = Counter(names.values())
    fields = {"mean of the languages": "validation_loss"}
    for code, name in names.items():
        fields[f"{name} ({code})" if counts[name] > 1 else name] = f"validation_loss_{code}"
    curves = {
        name: {record["step"]: Spread(1, record[field]) for record in records} for name, field in fields.items()
    }
    return write_picture(
        out / LEARNING_CURVES, line_chart(curves, list(curves), "step", "held-out masked loss (nats)")
    )


def by_layer(values: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """The values of each name by the number of the layer, from 1, for a heat map."""
    return {name: {str(layer): one for layer, one in enumerate(some, start=1)} for name, some in values.items()}


def _log_axis(rows: Sequence[Mapping[str, Any]]) -> alt.Axis:
    """Ticks at 1, 2 and 5 times powers of ten, fewer over a wide range."""
    low, high = min(row["x"] for row in rows), max(row["x"] for row in rows)
    steps = (1, 2, 5) if high / low < 200 else (1,)
    ticks = [m * 10.0**e for e in range(-9, 16) for m in steps if low * 0.9 <= m * 10.0**e <= high * 1.1]
    form = "~s" if high >= 10_000 else "~g"
    return alt.Axis(values=ticks, format=form) if len(ticks) > 1 else alt.Axis(format=form, tickCount=4)


def _colours(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> alt.Color:
    here = [name for name in names if any(row["name"] == name for row in rows)]
    colours = [SERIES[names.index(name) % len(SERIES)] for name in here]
    legend = alt.Legend(orient="bottom", columns=1, labelLimit=300) if len(here) > 1 else None
    return alt.Color("name:N", sort=None, title=None, legend=legend, scale=alt.Scale(domain=here, range=colours))


def _chart(rows: Any) -> alt.Chart:
    return alt.Chart(alt.Data(values=list(rows)))


def _spec(chart: Any) -> Spec:
    chart = chart.configure(font=FONT, background="transparent").configure_view(stroke=None)
    chart = chart.configure_axis(
        labelFontSize=12, titleFontSize=12, titleFontWeight="normal", gridColor=GRID, labelColor=TEXT,
        titleColor=TEXT, domainColor=GREY, tickColor=GREY, titleLimit=280,
    )  # fmt: skip
    spec: Spec = chart.configure_legend(labelFontSize=12, labelColor=TEXT, symbolStrokeWidth=3).to_dict()
    return spec
