"""Vega-Lite charts, rendered with Altair as SVG, which needs neither a network nor scripts.

Those of a study's report are returned as specifications, so that they can become interactive.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import altair as alt
import vl_convert

from langlift.studies.analysis.correlations import Correlation
from langlift.studies.analysis.curves import Curve
from langlift.studies.analysis.measures import Spread

WIDTH, STUDY_WIDTH = 340, 250
"""Widths of charts in pixels; those in a study's report are narrow enough for a phone."""
TEXT, GRID, BLUE, GREY = "#1c2733", "#e4e8ec", "#1f5fa8", "#9aa5b1"
SERIES = [BLUE, "#d9822b", "#3c8d5a", "#8a5aa8", "#b3434b", "#5a6875", "#a0821f", "#2a8fa0", "#c46fa6", "#7d5a3c"]
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"
NAMES_AXIS = alt.Axis(labelLimit=220, minExtent=175)
"""Leaves room for names in any font of the reader's browser."""
NAMES_ABOVE = alt.Y("name:N", sort=None, title=None, axis=None)
"""For names that are written above their bars."""
FIVE_TICKS = alt.Axis(tickCount=5)
NOT_FROM_ZERO = alt.Scale(zero=False)
Spec = dict[str, Any]


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


def bar_chart(values: Mapping[str, float], axis: str, reference: str) -> str:
    """Horizontal bars with their values at the end, as SVG; the bar named ``reference`` is grey."""
    base = _chart({"name": name, "value": value} for name, value in values.items()).encode(
        y=alt.Y("name:N", sort=None, title=None, axis=NAMES_AXIS),
        x=alt.X("value:Q", title=axis, scale=alt.Scale(domain=[0, 1.12 * max(values.values())])),
    )
    colour = alt.condition(alt.datum.name == reference, alt.value(GREY), alt.value(BLUE))
    numbers = base.mark_text(align="left", dx=5, fontSize=15).encode(text=alt.Text("value:Q", format=".2f"))
    return _svg(
        (base.mark_bar(size=24).encode(color=colour) + numbers).properties(width=WIDTH, height=38 * len(values))
    )


def line_chart(
    curves: Mapping[str, Sequence[tuple[int, float]]], x: str, y: str, background: str = "transparent"
) -> str:
    """One line for each named curve of (step, value), as SVG."""
    chart = _chart({"name": name, "x": a, "y": b} for name, points in curves.items() for a, b in points)
    chart = chart.mark_line(point=True, strokeWidth=2.5).encode(
        x=alt.X("x:Q", title=x, axis=FIVE_TICKS),
        y=alt.Y("y:Q", title=y, scale=NOT_FROM_ZERO),
        color=alt.Color("name:N", sort=None, title=None, legend=alt.Legend(orient="bottom", columns=1)),
    )
    return _svg(chart.properties(width=WIDTH, height=260), background)


def seeds_chart(scores: Mapping[str, Sequence[float]], references: Mapping[str, float], axis: str) -> str:
    """A dot for each seed and a tick at their mean, by condition; ``references`` are dashed lines; as SVG."""
    x = alt.X("value:Q", title=axis, scale=alt.Scale(domain=[0, 100]), axis=FIVE_TICKS)
    base = _chart({"name": name, "value": value} for name, values in scores.items() for value in values).encode(
        y=alt.Y("name:N", sort=None, title=None, axis=NAMES_AXIS), x=x
    )
    means = base.encode(x=alt.X("mean(value):Q", title=axis)).mark_tick(color=BLUE, thickness=3, size=30)
    dots = base.mark_circle(color=BLUE, size=70, opacity=0.65)
    lines = ({"label": f"{label} {value:.1f}", "value": value} for label, value in references.items())
    marks = _chart(lines).encode(x=x)
    rules = marks.mark_rule(color=GREY, strokeDash=[5, 4], strokeWidth=2)
    names = marks.mark_text(align="left", dx=4, baseline="top", fontSize=13).encode(text="label:N", y=alt.value(0))
    return _svg((rules + names + means + dots).properties(width=WIDTH, height=64 * len(scores)))


def bar_panels(panels: Mapping[str, Mapping[str, Mapping[str, float | None]]], title: Sequence[str]) -> str:
    """Panels side by side, each with its own scale: title of a panel -> name -> series -> value; as SVG on white.

    All panels have the same names and series; a series is a colour, with a legend if there are several. A value
    of None is shown as "none", and a panel without any value is left out.
    """
    charts: list[Any] = []
    for heading, names in panels.items():
        rows: list[dict[str, Any]] = [
            {"name": name, "series": series, "value": value}
            for name, values in names.items()
            for series, value in values.items()
        ]
        known = [row["value"] for row in rows if row["value"] is not None]
        if not known:
            continue
        series = list(dict.fromkeys(row["series"] for row in rows))
        several = len(series) > 1
        axis = alt.Axis(labels=False, ticks=False) if charts else alt.Axis(labelLimit=260)
        scale = alt.Scale(domain=[0, 1.25 * max(known) or 1.0])
        base = _chart(rows).encode(
            y=alt.Y("name:N", sort=list(names), title=None, axis=axis),
            x=alt.X("value:Q", title=None, scale=scale, axis=alt.Axis(tickCount=3)),
        )
        if several:
            base = base.encode(yOffset=alt.YOffset("series:N", sort=series))
        legend = alt.Legend(orient="bottom", columns=1, labelLimit=400) if several else None
        colour = alt.Color("series:N", sort=None, title=None, legend=legend, scale=alt.Scale(range=SERIES[:6]))
        texts = base.mark_text(align="left", dx=4, fontSize=12)
        numbers = texts.encode(text=alt.Text("value:Q", format=".3~g"))
        if len(known) < len(rows):
            missing = texts.transform_filter("datum.value === null")
            numbers += missing.encode(text=alt.value("none"), x=alt.value(0))
        height = (24 if several else 34) * len(names) * len(series)
        chart_title = alt.Title(heading, fontSize=13, fontWeight="normal", anchor="start")
        bars = base.mark_bar().encode(color=colour)
        charts.append((bars + numbers).properties(width=170, height=height, title=chart_title))
    whole_title = alt.Title(list(title), anchor="start", fontSize=15, offset=14)
    return _svg(alt.hconcat(*charts, spacing=16).properties(title=whole_title, padding=14), "white")


def heat_maps(maps: Mapping[str, Mapping[str, Sequence[float]]], rows: str, title: Sequence[str]) -> str:
    """Maps side by side, each of columns of shares (0 to 1) by name, from the lowest; as SVG on white.

    ``rows`` is the title of the row axis; ``title`` is the title of the chart, in short lines.
    """
    cells = [
        {"map": name, "column": column, "row": row, "value": value}
        for name, columns in maps.items()
        for column, values in columns.items()
        for row, value in enumerate(values, start=1)
    ]
    base = alt.Chart().encode(
        x=alt.X("column:N", sort=None, title=None, axis=alt.Axis(labelAngle=-35, labelLimit=260, domain=False)),
        y=alt.Y("row:O", sort="descending", title=rows, axis=alt.Axis(domain=False)),
    )
    colour = alt.Color("value:Q", scale=alt.Scale(scheme="blues", domain=[0, 1]), legend=None)
    dark = alt.condition(alt.datum.value > 0.6, alt.value("white"), alt.value("#223"))
    numbers = base.mark_text(fontSize=13).encode(text=alt.Text("value:Q", format=".2f"), color=dark)
    chart = alt.layer(base.mark_rect().encode(color=colour), numbers, data=alt.Data(values=cells))
    chart = chart.properties(width=alt.Step(80), height=alt.Step(30))
    header = alt.Header(title=None, labelFontSize=15)
    faceted = chart.facet(column=alt.Column("map:N", sort=None, header=header), spacing=24)
    whole_title = alt.Title(list(title), anchor="start", fontSize=13, offset=12)
    return _svg(faceted.properties(title=whole_title, padding=12), "white")


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
    rows = [
        {
            "name": name,
            "value": s.mean,
            "label": f"{texts[name]}  {name}",
            "low": s.low,
            "high": s.high,
            "seeds": s.count,
        }
        for name, s in values.items()
    ]
    domain = [0, top or 1.05 * max(s.mean if s.high is None else s.high for s in values.values())]
    scale = alt.Scale(domain=domain, clamp=True)
    base = _chart(rows).encode(
        y=NAMES_ABOVE, x=alt.X("value:Q", title=axis, scale=scale, axis=alt.Axis(tickCount=4))
    )
    colour = alt.condition(alt.datum.name == (reference or ""), alt.value(GREY), alt.value(BLUE))
    tooltip = [alt.Tooltip("name:N"), alt.Tooltip("value:Q"), alt.Tooltip("seeds:Q")]
    names = base.mark_text(align="left", dy=-8, fontSize=12, color=TEXT, limit=STUDY_WIDTH)
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
    return _spec(alt.layer(*layers), height=36 * len(rows))


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
    return _spec(alt.layer(*layers), height=200)


def curve_chart(curves: Sequence[Curve], names: Sequence[str], axis: str, y: str, wide: bool) -> Spec:
    """A line for each condition; a band if there are several values for a point.

    A condition has the same colour in all charts with the same ``names``.
    """
    rows = [
        {"name": curve.condition or y, "x": x, "y": spread.mean, "low": spread.low, "high": spread.high}
        for curve in curves
        for x, spread in curve.points.items()
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
    return _spec(alt.layer(*layers), height=190)


def training_chart(curves: Mapping[str, Sequence[tuple[float, float]]], names: Sequence[str], y: str) -> Spec:
    """A line of (step, value) for each name; colours as in ``curve_chart``."""
    rows = [{"name": name, "step": a, "value": b} for name, points in curves.items() for a, b in points]
    chart = _chart(rows).mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=20))
    chart = chart.encode(
        x=alt.X("step:Q", title="step", axis=FIVE_TICKS),
        y=alt.Y("value:Q", title=y, scale=NOT_FROM_ZERO, axis=FIVE_TICKS),
        color=_colours(rows, names),
        tooltip=["name:N", "step:Q", "value:Q"],
    )
    return _spec(chart, height=180)


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
    width = max(STUDY_WIDTH, 34 * len(columns))
    return _spec(alt.layer(cells, numbers, names), height=46 * len(shares), width=width)


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


def _svg(chart: Any, background: str = "transparent") -> str:
    chart = chart.configure(font=FONT, background=background)
    chart = chart.configure_axis(labelFontSize=15, titleFontSize=15, titleFontWeight="normal", gridColor=GRID)
    chart = chart.configure_view(stroke=None).configure_legend(labelFontSize=15, symbolStrokeWidth=3)
    svg: str = vl_convert.vegalite_to_svg(chart.to_dict())
    return svg


def _spec(chart: Any, height: int, width: int = STUDY_WIDTH) -> Spec:
    chart = chart.properties(width=width, height=height).configure(font=FONT, background="transparent")
    chart = chart.configure_axis(
        labelFontSize=12, titleFontSize=12, titleFontWeight="normal", gridColor=GRID, labelColor=TEXT,
        titleColor=TEXT, domainColor=GREY, tickColor=GREY, titleLimit=280,
    )  # fmt: skip
    chart = chart.configure_view(stroke=None)
    spec: Spec = chart.configure_legend(labelFontSize=12, labelColor=TEXT, symbolStrokeWidth=3).to_dict()
    return spec
