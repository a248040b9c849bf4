"""Charts as SVG pictures, drawn with Altair: they need no network and no script to be seen."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import vl_convert

WIDTH = 340
BLUE, GREY = "#1f5fa8", "#9aa5b1"
SERIES = [BLUE, "#d9822b", "#3c8d5a", "#8a5aa8", "#b3434b", "#5a6875"]
NAMES_AXIS = alt.Axis(labelLimit=220, minExtent=175)
"""Room for names, in whatever font the reader's browser takes."""
FEW_TICKS = alt.Axis(tickCount=5)
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"


def bar_chart(values: Mapping[str, float], axis: str, plain: str) -> str:
    """Horizontal bars with their values at the end; the bar named ``plain`` is grey, to be compared with."""
    rows = [{"name": name, "value": value} for name, value in values.items()]
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y("name:N", sort=None, title=None, axis=NAMES_AXIS),
        x=alt.X("value:Q", title=axis, scale=alt.Scale(domain=[0, 1.12 * max(values.values())])),
    )
    colour = alt.condition(alt.datum.name == plain, alt.value(GREY), alt.value(BLUE))
    numbers = base.mark_text(align="left", dx=5, fontSize=15).encode(text=alt.Text("value:Q", format=".2f"))
    return _svg(base.mark_bar(size=24).encode(color=colour) + numbers, height=38 * len(rows))


def line_chart(
    curves: Mapping[str, Sequence[tuple[int, float]]], x: str, y: str, background: str = "transparent"
) -> str:
    """One line for each named curve of (step, value)."""
    rows = [{"name": name, "x": a, "y": b} for name, points in curves.items() for a, b in points]
    chart = alt.Chart(alt.Data(values=rows)).mark_line(point=True, strokeWidth=2.5)
    chart = chart.encode(
        x=alt.X("x:Q", title=x, axis=FEW_TICKS),
        y=alt.Y("y:Q", title=y, scale=alt.Scale(zero=False)),
        color=alt.Color("name:N", sort=None, title=None, legend=alt.Legend(orient="bottom", columns=1)),
    )
    return _svg(chart, 260, background)


def seeds_chart(scores: Mapping[str, Sequence[float]], references: Mapping[str, float], axis: str) -> str:
    """A dot for each seed and a tick at their mean, by condition; ``references`` are dashed lines with a name."""
    rows = [{"name": name, "value": value} for name, values in scores.items() for value in values]
    lines = [{"label": f"{label} {value:.1f}", "value": value} for label, value in references.items()]
    y = alt.Y("name:N", sort=None, title=None, axis=NAMES_AXIS)
    x = alt.X("value:Q", title=axis, scale=alt.Scale(domain=[0, 100]), axis=FEW_TICKS)
    base = alt.Chart(alt.Data(values=rows)).encode(y=y, x=x)
    means = base.encode(x=alt.X("mean(value):Q", title=axis)).mark_tick(color=BLUE, thickness=3, size=30)
    dots = base.mark_circle(color=BLUE, size=70, opacity=0.65)
    marks = alt.Chart(alt.Data(values=lines)).encode(x=x)
    rules = marks.mark_rule(color=GREY, strokeDash=[5, 4], strokeWidth=2)
    names = marks.mark_text(align="left", dx=4, baseline="top", fontSize=13).encode(text="label:N", y=alt.value(0))
    return _svg(rules + names + means + dots, height=64 * len(scores))


def bar_panels(panels: Mapping[str, Mapping[str, Mapping[str, float | None]]], title: Sequence[str]) -> str:
    """Panels side by side with scales of their own: title of a panel -> name -> series -> value.

    All panels have the same names and series; a series is a colour, told only where there are several. Where a
    value is None stands "none", and a panel without any value is left out. On white: it is made to be opened by
    itself.
    """
    charts: list[Any] = []
    for heading, names in panels.items():
        known = [value for values in names.values() for value in values.values() if value is not None]
        if not known:
            continue
        rows = [
            {"name": name, "series": series, "value": value}
            for name, values in names.items()
            for series, value in values.items()
        ]
        series = list(dict.fromkeys(series for values in names.values() for series in values))
        several = len(series) > 1
        axis = alt.Axis(labelLimit=260) if not charts else alt.Axis(labels=False, ticks=False)
        top = 1.25 * max(known) or 1.0
        base = alt.Chart(alt.Data(values=rows)).encode(
            y=alt.Y("name:N", sort=list(names), title=None, axis=axis),
            x=alt.X("value:Q", title=None, scale=alt.Scale(domain=[0, top]), axis=alt.Axis(tickCount=3)),
        )
        if several:
            base = base.encode(yOffset=alt.YOffset("series:N", sort=series))
        legend = alt.Legend(orient="bottom", columns=1, labelLimit=400) if several else None
        colour = alt.Color("series:N", sort=None, title=None, legend=legend, scale=alt.Scale(range=SERIES))
        texts = base.mark_text(align="left", dx=4, fontSize=12)
        numbers = texts.encode(text=alt.Text("value:Q", format=".3~g"))
        if len(known) < len(rows):
            absent = texts.transform_filter("datum.value === null")
            numbers += absent.encode(text=alt.value("none"), x=alt.value(0))
        step = 24 if several else 34
        height = step * len(names) * len(series)
        charts.append(
            (base.mark_bar().encode(color=colour) + numbers).properties(
                width=170,
                height=height,
                title=alt.Title(heading, fontSize=13, fontWeight="normal", anchor="start"),
            )
        )
    joined = alt.hconcat(*charts, spacing=16).properties(
        title=alt.Title(list(title), anchor="start", fontSize=15, offset=14), padding=14
    )
    return _drawn(joined, background="white")


def heat_maps(maps: Mapping[str, Mapping[str, Sequence[float]]], rows: str, title: Sequence[str]) -> str:
    """Maps side by side, each of columns of shares (0 to 1) by name; the first value of a column stands lowest.

    ``rows`` says what the values of a column are numbered by, ``title`` what is shown, in short lines. On
    white: it is made to be opened by itself.
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
    faceted = faceted.properties(title=alt.Title(list(title), anchor="start", fontSize=13, offset=12), padding=12)
    return _drawn(faceted, background="white")


def _svg(chart: Any, height: int, background: str = "transparent") -> str:
    """The chart as one ``<svg>`` element."""
    return _drawn(chart.properties(width=WIDTH, height=height), background)


def _drawn(chart: Any, background: str) -> str:
    chart = chart.configure(font=FONT, background=background)
    chart = chart.configure_axis(labelFontSize=15, titleFontSize=15, titleFontWeight="normal", gridColor="#e4e8ec")
    chart = chart.configure_view(stroke=None).configure_legend(labelFontSize=15, symbolStrokeWidth=3)
    svg: str = vl_convert.vegalite_to_svg(chart.to_dict())
    return svg
