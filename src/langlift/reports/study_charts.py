"""Charts of a study as Vega-Lite, narrow enough for a phone; drawn as SVG, which needs no script to be seen."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import altair as alt
import vl_convert

from langlift.reports.charts import FONT, GREY
from langlift.reports.charts import SERIES as SIX
from langlift.studies.analysis.correlations import Correlation
from langlift.studies.analysis.curves import Curve
from langlift.studies.analysis.spread import Spread

WIDTH = 250
SERIES = [*SIX, "#a0821f", "#2a8fa0", "#c46fa6", "#7d5a3c"]
TEXT, GRID = "#1c2733", "#e4e8ec"
Chart = dict[str, Any]
BUNDLED = "window.vegaEmbed = vegaEmbed;"


@cache
def vega_bundle() -> str:
    """Vega, Vega-Lite and vega-embed as one script that reaches ``window.vegaEmbed``, fit for a script element."""
    bundle: str = vl_convert.javascript_bundle(BUNDLED)
    return re.sub(r"<(?=/script|!--)", r"\\x3c", bundle, flags=re.IGNORECASE)


def picture(chart: Chart, name: str) -> str:
    """The chart as one ``<svg>`` element, hidden from screen readers; ``name`` makes its ids unique."""
    svg: str = vl_convert.vegalite_to_svg(chart)
    svg = re.sub(r'\b(id="|url\(#)', rf"\1{name}-", svg)
    return svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)


def bars(
    values: Mapping[str, Spread],
    told: Mapping[str, str],
    seeds: Mapping[str, Sequence[float]],
    plain: str | None,
    axis: str,
    top: float | None,
) -> Chart:
    """A bar for each condition, a line for the 95 % interval and a dot for each seed; above it name and ``told``.

    The bar called ``plain`` is grey, to be compared with. ``top``: the end of the axis (None: what is needed).
    """
    rows = [
        {
            "name": name,
            "value": s.mean,
            "label": f"{told[name]}  {name}",
            "low": s.low,
            "high": s.high,
            "seeds": s.count,
        }
        for name, s in values.items()
    ]
    dots = [{"name": name, "seed value": v} for name, some in seeds.items() for v in some]
    domain = [0, top or 1.05 * max(s.mean if s.high is None else s.high for s in values.values())]
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y("name:N", sort=None, title=None, axis=None),
        x=alt.X("value:Q", title=axis, scale=alt.Scale(domain=domain, clamp=True), axis=alt.Axis(tickCount=4)),
    )
    colour = alt.condition(alt.datum.name == (plain or ""), alt.value(GREY), alt.value(SERIES[0]))
    tips = [alt.Tooltip(f"{key}:{kind}") for key, kind in (("name", "N"), ("value", "Q"), ("seeds", "Q"))]
    bar = base.mark_bar(size=9, yOffset=8).encode(color=colour, tooltip=tips)
    names = base.mark_text(align="left", dy=-8, fontSize=12, color=TEXT, limit=WIDTH).encode(
        text="label:N", x=alt.value(0)
    )
    layers = [bar, names]
    if intervals := [row for row in rows if row["low"] is not None]:
        ends = alt.Chart(alt.Data(values=intervals)).encode(y=alt.Y("name:N", sort=None, title=None, axis=None))
        layers.append(ends.mark_rule(color=TEXT, yOffset=8).encode(x="low:Q", x2="high:Q"))
    points = alt.Chart(alt.Data(values=dots)).encode(
        x="seed value:Q", y=alt.Y("name:N", sort=None, title=None, axis=None), tooltip=["name:N", "seed value:Q"]
    )
    layers.append(points.mark_circle(size=22, color=TEXT, opacity=0.7, yOffset=8))
    return _finished(alt.layer(*layers), height=36 * len(rows))


def scatter(found: Correlation, unit: str, labels: bool) -> Chart:
    """A dot for each language over a logarithmic axis, with the least-squares line."""
    rows = [{"language": name, "x": x, "y": y} for name, (x, y) in found.points.items()]
    x = alt.X("x:Q", title=found.x, scale=alt.Scale(type="log", nice=False, padding=28), axis=_log_axis(rows))
    y = alt.Y("y:Q", title=unit, scale=alt.Scale(zero=False, padding=12), axis=alt.Axis(tickCount=5))
    base = alt.Chart(alt.Data(values=rows)).encode(x=x, y=y)
    line = base.transform_regression("x", "y", method="log").mark_line(color=GREY, strokeWidth=2)
    dots = base.mark_circle(size=60, color=SERIES[0], opacity=0.85).encode(tooltip=["language:N", "x:Q", "y:Q"])
    layers = [line, dots]
    if labels:
        layers.append(base.mark_text(dy=-9, fontSize=11, color=TEXT).encode(text="language:N"))
    return _finished(alt.layer(*layers), height=200)


def curve_chart(curves: Sequence[Curve], names: Sequence[str], x: str, y: str, wide: bool) -> Chart:
    """A line for each condition; a band where several values stand behind a point.

    A condition has the same colour in all charts with the same ``names``.
    """
    rows = [
        {"name": c.condition or y, "x": p.x, "y": p.spread.mean, "low": p.spread.low, "high": p.spread.high}
        for c in curves
        for p in c.points
    ]
    scale = alt.Scale(type="log", nice=False) if wide else alt.Scale(zero=False, nice=False)
    across = alt.X("x:Q", title=x, scale=scale, axis=_log_axis(rows) if wide else alt.Axis(tickCount=5))
    base = alt.Chart(alt.Data(values=rows)).encode(x=across, color=_colours(rows, names))
    up = alt.Y("y:Q", title=y, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5))
    layers = [
        base.mark_line(point=alt.OverlayMarkDef(size=36), strokeWidth=2).encode(
            y=up, tooltip=["name:N", "x:Q", "y:Q"]
        )
    ]
    if bands := [row for row in rows if row["low"] is not None]:
        band = alt.Chart(alt.Data(values=bands)).mark_area(opacity=0.15)
        layers.insert(
            0, band.encode(x=across, y=alt.Y("low:Q", title=y), y2="high:Q", color=_colours(rows, names))
        )
    return _finished(alt.layer(*layers), height=190)


def training_chart(curves: Mapping[str, Sequence[tuple[float, float]]], names: Sequence[str], y: str) -> Chart:
    """A line of (step, value) for each name; colours as in ``curve_chart``."""
    rows = [{"name": name, "step": a, "value": b} for name, points in curves.items() for a, b in points]
    chart = alt.Chart(alt.Data(values=rows)).mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=20))
    chart = chart.encode(
        x=alt.X("step:Q", title="step", axis=alt.Axis(tickCount=5)),
        y=alt.Y("value:Q", title=y, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5)),
        color=_colours(rows, names),
        tooltip=["name:N", "step:Q", "value:Q"],
    )
    return _finished(chart, height=180)


def by_layer(shares: Mapping[str, Sequence[float]]) -> Chart:
    """Shares (0 to 1) by name and layer, lowest layer on the left."""
    layers = {name: {str(i): value for i, value in enumerate(values, start=1)} for name, values in shares.items()}
    return heat_map(layers, "layer")


def heat_map(shares: Mapping[str, Mapping[str, float]], across: str) -> Chart:
    """Shares (0 to 1): a row of cells for each name, written above it, and in it a cell for each column."""
    rows = [
        {"name": name, across: column, "share": value}
        for name, values in shares.items()
        for column, value in values.items()
    ]
    columns = list(dict.fromkeys(column for values in shares.values() for column in values))
    angle = 0 if max(map(len, columns)) < 4 else -60
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X(
            f"{across}:O", title=across, sort=columns, axis=alt.Axis(labelAngle=angle, domain=False, ticks=False)
        ),
        y=alt.Y("name:N", sort=None, title=None, axis=None),
    )
    colour = alt.Color("share:Q", scale=alt.Scale(scheme="blues", domain=[0, 1], clamp=True), legend=None)
    dark = alt.condition(alt.datum.share > 0.6, alt.value("white"), alt.value("#112"))
    tips = ["name:N", f"{across}:O", "share:Q"]
    cells = base.mark_rect(height=24, yOffset=9).encode(color=colour, tooltip=tips)
    numbers = base.mark_text(fontSize=11, dy=9).encode(text=alt.Text("share:Q", format=".2f"), color=dark)
    names = alt.Chart(alt.Data(values=[{"name": name} for name in shares])).encode(
        y=alt.Y("name:N", sort=None, title=None, axis=None), x=alt.value(0), text="name:N"
    )
    names = names.mark_text(align="left", dy=-13, fontSize=12, color=TEXT)
    width = max(WIDTH, 34 * len(columns))
    return _finished(alt.layer(cells, numbers, names), height=46 * len(shares), width=width)


def _log_axis(rows: Sequence[Mapping[str, Any]]) -> alt.Axis:
    """Ticks at 1, 2 and 5 times powers of ten, fewer over a wide range."""
    xs = [row["x"] for row in rows]
    steps = (1, 2, 5) if max(xs) / min(xs) < 200 else (1,)
    ticks = [m * 10.0**e for e in range(-9, 16) for m in steps if min(xs) * 0.9 <= m * 10.0**e <= max(xs) * 1.1]
    form = "~s" if max(xs) >= 10_000 else "~g"
    return alt.Axis(values=ticks, format=form) if len(ticks) > 1 else alt.Axis(format=form, tickCount=4)


def _colours(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> alt.Color:
    here = [name for name in names if any(row["name"] == name for row in rows)]
    colours = [SERIES[names.index(name) % len(SERIES)] for name in here]
    legend = alt.Legend(orient="bottom", columns=1, labelLimit=300) if len(here) > 1 else None
    return alt.Color("name:N", sort=None, title=None, legend=legend, scale=alt.Scale(domain=here, range=colours))


def _finished(chart: Any, height: int, width: int = WIDTH) -> Chart:
    chart = chart.properties(width=width, height=height).configure(font=FONT, background="transparent")
    chart = chart.configure_axis(
        labelFontSize=12, titleFontSize=12, titleFontWeight="normal", gridColor=GRID, labelColor=TEXT,
        titleColor=TEXT, domainColor=GREY, tickColor=GREY, titleLimit=280,
    )  # fmt: skip
    chart = chart.configure_view(stroke=None).configure_legend(
        labelFontSize=12, labelColor=TEXT, symbolStrokeWidth=3
    )
    spec: Chart = chart.to_dict()
    return spec
