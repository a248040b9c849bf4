"""``langlift report``: the results of runs as one HTML file that opens offline."""

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from statistics import mean
from typing import Any

from markupsafe import Markup

from langlift.errors import InputError
from langlift.files import file_name, read_json, write_text
from langlift.progress import ProgressBar
from langlift.reports import charts
from langlift.reports import study_tables as tables
from langlift.reports.contrast_tables import contrast_tables
from langlift.reports.tables import Table, as_csv, as_latex, capital, render
from langlift.studies.analysis.analysing import Analysis, analyse
from langlift.studies.analysis.effects import MEAN, AxisCurves, Curve
from langlift.studies.analysis.measures import FURTHER, Results, Spread, language_of, sort_results
from langlift.studies.contrasts import Contrast, published_contrasts
from langlift.studies.folder import StudyRun, name_of
from langlift.studies.published import MODELS, SOURCE, what_differs
from langlift.tasks.setups import ATTENTION
from langlift.training.run_folder import METRICS, PROGRESS

MOST_LABELS = 12
"""Maximum number of languages whose names are shown next to their dots; others have a tooltip."""


@dataclass(frozen=True)
class Figure:
    """A chart: static (``svg``), interactive (``spec``: Vega-Lite JSON), and for screen readers (``alt``)."""

    name: str
    title: str
    alt: str
    svg: Markup
    spec: Markup
    note: str = ""


@dataclass(frozen=True)
class Part:
    """A part of a section; ``numbers`` are shown large, with their names."""

    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    title: str = ""
    texts: Sequence[str] = ()
    numbers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportResult:
    """The result of ``langlift report``: ``tables`` are the names of the tables, ``exports`` their folder.

    ``contrasts``, with ``--published``: ``better`` minus ``than``, columns of arXiv 2502.10140's tables (base: no
    adapter; cn: graph; glot: text; glot_fft: full fine-tuning), positive if it is better, in points, or for
    ``measure`` pppl as natural logarithm of the ratio; with ``low``, ``high``, ``p``, ``p_holm`` (corrected for
    the same ``question`` and ``language``) and ``units``, the number of languages.
    """

    report: str | None
    runs: int
    unfinished: list[str]
    sections: list[str]
    tables: list[str]
    exports: str | None
    contrasts: list[Contrast] = field(default_factory=list)


def write_report(
    folders: Sequence[Path],
    out: Path | None,
    exports: Path | None = None,
    axes: Sequence[str] = (),
    published: bool = False,
) -> ReportResult:
    """Analyse study folders and run folders and write the page; with ``exports`` each table as CSV and LaTeX too.

    ``axes`` are the settings to draw curves over (default: all numeric ones that vary). ``published`` adds the
    contrasts of the published tables; without folders the report is only of those, and needs no ``out``.

    Raises:
        InputError: a folder is neither a study nor a run, there is none, or ``out`` is not an .html file.
        LangliftError: something cannot be written.
    """
    if not folders and (axes or not published):
        raise InputError("no runs are given", "name study or run folders; --published without --axis needs none")
    if out is None and folders:
        raise InputError("--out is missing", "name the page to write, such as --out report.html")
    if out is not None and (out.suffix not in (".html", ".htm") or out.is_dir()):
        raise InputError(f"--out {out}: not an .html file", "name a file such as report.html")
    if exports is not None and exports.is_file():
        raise InputError(f"--tables {exports}: is a file", "name a folder")
    analysis = analyse(folders, axes) if folders else None
    count, sections = (len(analysis.runs), _sections(analysis)) if analysis else (0, {})
    contrasts = published_contrasts() if published else []
    if contrasts:
        sections["contrasts"] = _table_parts(contrast_tables(contrasts))
    shown = [table for parts in sections.values() for part in parts for table in part.tables]
    files = {table.name: {"csv": as_csv(table), "tex": as_latex(table)} for table in shown}
    if out is not None:
        several = f"{count} runs" if analysis else f"The tables of {SOURCE}"
        page = render(
            "report.html.j2",
            title=name_of(folders[0]) if len(folders) == 1 else several,
            lead=_lead(analysis) if analysis else f"Base: {', '.join(MODELS.values())}.",
            sections=sections,
            links={name: {kind: _link(text, kind) for kind, text in some.items()} for name, some in files.items()},
            version=version("langlift"),
            vega=Markup(charts.vega_bundle()),
        )
        write_text(out, page)
    for name, some in files.items() if exports is not None else ():
        for kind, text in some.items():
            write_text(Path(exports or "", f"{file_name(name)}.{kind}"), text)
    return ReportResult(
        report=None if out is None else str(out),
        runs=count,
        unfinished=analysis.unfinished if analysis else [],
        sections=list(sections),
        tables=list(files),
        exports=None if exports is None else str(exports),
        contrasts=contrasts,
    )


def _sections(analysis: Analysis) -> dict[str, list[Part]]:
    """The sections of a report that have something to show."""
    results, runs = analysis.results, analysis.runs
    makers: dict[str, Callable[[], list[Part]]] = {
        "overview": lambda: _overview(analysis),
        "results": lambda: _results(analysis),
        "differences": lambda: _table_parts(
            chain.from_iterable(map(tables.differences_tables, results, analysis.differences))
        ),
        "behaviour": lambda: _table_parts(map(tables.behaviour_table, results)),
        "published": lambda: _table_parts(
            make(one, what_differs(one, runs))
            for one in results
            for make in (tables.published_table, tables.small_and_large_table)
        ),
        "alignment": lambda: _alignment(analysis),
        "correlations": lambda: _correlations(analysis),
        "regression": lambda: _table_parts(map(tables.regression_table, analysis.regressions)),
        "curves": lambda: [
            Part([(table := tables.curve_table(one))], _axis_figures(one), table.caption)
            for one in analysis.curves
        ],
        "fusion": lambda: _fusion(analysis),
        "training": lambda: _training(analysis),
        "cost": lambda: _table_parts([tables.cost_table(runs)] if any(run.cost for run in runs) else []),
    }
    sections = {}
    with ProgressBar("drawing", len(makers), "sections") as bar:
        for name, make in makers.items():
            if parts := make():
                sections[name] = parts
            bar.advance()
    return sections


def _overview(analysis: Analysis) -> list[Part]:
    runs = analysis.runs
    seeds = {run.cell["seed"] for run in runs if run.cell.get("seed") is not None}
    tokens, seconds = (sum(run.cost.get(key) or 0 for run in runs) for key in ("tokens", "seconds"))
    counts = {
        "run": len(runs),
        "language": len({run.cell["language"] for run in runs if run.cell.get("language")}),
        "base model": len({run.cell["base"] for run in runs if run.cell.get("base")}),
        "seed": len(seeds),
    }
    numbers = {what if count == 1 else f"{what}s": f"{count:,}" for what, count in counts.items()}
    if tokens:
        numbers["tokens trained on"] = f"{tokens / 1e6:,.1f} M" if tokens >= 100_000 else f"{tokens:,}"
    if seconds:
        numbers["hours"] = f"{seconds / 3600:,.1f}"
    texts, unfinished = [], analysis.unfinished
    if unfinished:
        some = ", ".join(unfinished[:5]) + (", …" if len(unfinished) > 5 else "")
        texts.append(f"Unfinished, and not counted here ({len(unfinished)}): {some}.")
    if len(seeds) < 3:
        texts.append("With fewer than three seeds, standard deviations and small differences mean little.")
    return [Part([tables.runs_table(runs)], texts=texts, numbers=numbers)]


def _results(analysis: Analysis) -> list[Part]:
    parts = []
    for results in analysis.results:
        measure = results.measure
        shown = (tables.results_table(results), tables.per_unit_table(results))
        parts.append(Part([table for table in shown if table.rows], title=capital(measure.title)))
        if not measure.is_loss:
            own = ", each language with its own scale" if measure.lower_is_better else ""
            text = f"Bars: means; dots: seeds; lines: 95 % intervals (Student's t){own}."
            parts.append(Part(figures=_bars(results), texts=[text]))
    return parts


def _bars(results: Results) -> list[Figure]:
    measure = results.measure
    reference = next((c.label for c in results.conditions if c.is_reference), None)
    figures = []
    for language in results.languages:
        spreads = {c.label: s for c in results.conditions if (s := results.spread(language, c)) is not None}
        seeds = {c.label: results.values(language, c) for c in results.conditions if c.label in spreads}
        cells = {label: tables.spread_cell(s, measure) for label, s in spreads.items()}
        texts = {label: f"{cell.text} {cell.spread}".strip() for label, cell in cells.items()}
        top = None if measure.lower_is_better else 100.0
        chart = charts.bars(spreads, texts, seeds, reference, measure.title, top)
        name = tables.language_name(language)
        alt = f"Bars of {measure.title} for {name}. {_listed(texts)}."
        figures.append(_figure(f"{measure.name}-{language}", name, alt, chart))
    return figures


def _table_parts(found: Iterable[Table | None]) -> list[Part]:
    shown = [table for table in found if table is not None]
    return [Part(shown)] if shown else []


def _alignment(analysis: Analysis) -> list[Part]:
    parts = []
    for found in analysis.alignments:
        cka, other = found.results["cka"], tables.language_name(found.compared_with)
        shares: dict[str, dict[str, float]] = {condition.label: {} for condition in cka.conditions}
        for language, condition in cka.filled:
            shares[condition.label][language] = mean(cka.values(language, condition))
        name = f"alignment-{found.compared_with}"
        figures = [_heat_map(name, f"Linear CKA with {other}", shares, "language")]
        if found.layers:
            title = f"By layer, mean of {len(cka.languages)} languages"
            figures.append(_heat_map(f"{name}-layers", title, charts.by_layer(found.layers), "layer"))
        parts.append(Part([tables.alignment_table(found)], figures, title=f"With {other}"))
    return parts


def _heat_map(
    name: str, title: str, shares: Mapping[str, Mapping[str, float]], across: str, note: str = ""
) -> Figure:
    rows = {who: ", ".join(f"{column} {v:.2f}" for column, v in values.items()) for who, values in shares.items()}
    alt = f"Heat map by {across}: {title}. {_listed(rows)}."
    return _figure(name, capital(title), alt, charts.heat_map(shares, across), note)


def _listed(texts: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {text}" for name, text in texts.items())


def _correlations(analysis: Analysis) -> list[Part]:
    found = analysis.correlations
    units = {results.measure.title: results.measure.gain_unit for results in analysis.results}
    figures = []
    for number, c in enumerate(found):
        unit = f"gain ({units[c.measure]})" if c.y == "gain" else c.measure
        p, p_of_rho = ("< 0.001" if p < 0.001 else f"= {p:.3f}" for p in (c.pearson_p, c.spearman_p))
        note = f"r = {c.pearson:+.2f} (p {p}), ρ = {c.spearman:+.2f} (p {p_of_rho})"
        alt = f"Scatter plot of {len(c.points)} languages: {c.y} in {c.measure}, {c.condition}, by {c.x}. {note}."
        chart = charts.scatter(c, unit, len(c.points) <= MOST_LABELS)
        figures.append(_figure(f"correlation-{number}", f"{capital(c.measure)}: {c.condition}", alt, chart, note))
    return [Part([tables.correlation_table(found)], figures)] if found else []


def _axis_figures(axis_curves: AxisCurves) -> list[Figure]:
    measure, axis = axis_curves.measure, axis_curves.axis.replace("_", " ")
    by_language: dict[str, list[Curve]] = {}
    for curve in axis_curves.curves:
        by_language.setdefault(curve.language, []).append(curve)
    conditions = list(dict.fromkeys(curve.condition or measure.title for curve in axis_curves.curves))
    figures: list[Figure] = []
    for language, curves in by_language.items():
        name = language if language == MEAN else tables.language_name(language)
        points = {
            curve.condition or "all runs": ", ".join(
                f"{tables.score_text(at_x.mean, measure)} at {x:,g}" for x, at_x in curve.points.items()
            )
            for curve in curves
        }
        lines = {curve.condition or measure.title: curve.points for curve in curves}
        chart = charts.line_chart(lines, conditions, axis, measure.title, axis_curves.wide)
        alt = f"Curve of {measure.title} by {axis}, {name}. {_listed(points)}."
        figures.append(_figure(f"{measure.name}-by-{axis_curves.axis}-{len(figures)}", capital(name), alt, chart))
    return figures


def _fusion(analysis: Analysis) -> list[Part]:
    maps: dict[str, Mapping[str, Sequence[float]]] = {}
    figures: list[Figure] = []
    for results in (one for one in analysis.results if one.measure.metric not in FURTHER):
        by_cell = {
            (language, condition.label): seeds
            for language, condition in results.filled
            if (seeds := [one for run in results.runs(language, condition) for one in _attention(run)])
        }
        several = len({label for _, label in by_cell}) > 1
        for (language, label), seeds in by_cell.items():
            title = f"{results.measure.task}, {tables.language_name(language)}{f': {label}' if several else ''}"
            alike = [one for one in seeds if _shape(one) == _shape(seeds[0])]
            maps[title] = {
                name: [mean(layer) for layer in zip(*(one[name] for one in alike), strict=True)]
                for name in alike[0]
            }
            note = f"mean of {len(alike)} seed{'s' if len(alike) > 1 else ''}"
            shares = charts.by_layer(maps[title])
            figures.append(_heat_map(f"fusion-{len(figures)}", title, shares, "layer", note))
    return [Part([tables.attention_table(maps)], figures)] if maps else []


def _shape(attention: Mapping[str, Sequence[float]]) -> dict[str, int]:
    return {name: len(layers) for name, layers in attention.items()}


def _attention(run: StudyRun) -> list[Mapping[str, Sequence[float]]]:
    """A fusion's learned attention, seed by seed.

    In a study, whose adapters have other names for each seed, by their data.
    """
    metrics = read_json(run.folder / METRICS)
    by_seed = (metrics.get("report") or {}).get(f"{ATTENTION}_by_seed") or {}
    found = [*by_seed.values()] or ([metrics[ATTENTION]] if metrics.get(ATTENTION) else [])
    data = str(run.cell.get("data")).split(",")
    return [dict(zip(data, one.values(), strict=True)) if len(data) == len(one) else one for one in found]


def _training(analysis: Analysis) -> list[Part]:
    parts = []
    for results in sort_results([run for run in analysis.runs if run.files(PROGRESS)]):
        measure = results.measure
        what = "validation loss (nats)" if measure.is_loss else f"{measure.title} on dev"
        figures = []
        for language in results.languages:
            lines = {
                condition.label: points
                for condition in results.conditions
                if len(points := _mean_curve(results.runs(language, condition), measure.metric)) > 1
            }
            if not lines:
                continue
            name = tables.language_name(language)
            means = {who: [point.mean for point in points.values()] for who, points in lines.items()}
            ends = {who: f"{values[0]:.3g} to {values[-1]:.3g}" for who, values in means.items()}
            alt = f"Training curves of {what} by step, {name}. First and last values: {_listed(ends)}."
            chart = charts.line_chart(lines, [c.label for c in results.conditions], "step", what)
            figures.append(_figure(f"training-{measure.name}-{language}", name, alt, chart))
        if figures:
            parts.append(Part(figures=figures, title=capital(measure.title)))
    return parts


def _mean_curve(runs: Iterable[StudyRun], metric: str) -> dict[float, Spread]:
    """Step -> the mean over runs of the validated measure, for the steps that all runs have."""
    key = metric if metric.startswith("validation_") else f"validation_{metric}"
    curves = []
    for path in (path for run in runs for path in run.files(PROGRESS)):
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        curves.append({record["step"]: record[key] for record in records if key in record})
    steps = set(curves[0]).intersection(*curves) if curves else set()
    return {step: Spread(1, mean(curve[step] for curve in curves)) for step in sorted(steps)}


def _figure(name: str, title: str, alt: str, chart: dict[str, Any], note: str = "") -> Figure:
    safe = file_name(name)
    spec = json.dumps(chart, ensure_ascii=False).replace("<", "\\u003c")
    return Figure(safe, title, alt, Markup(charts.picture(chart, safe)), Markup(spec), note)


def _lead(analysis: Analysis) -> str:
    codes = sorted({language_of(run) for run in analysis.runs if run.cell.get("language")})
    names = [tables.language_name(code).rsplit(" (", 1)[0] for code in codes]
    bases = sorted({Path(str(run.cell["base"])).name for run in analysis.runs if run.cell.get("base")})
    few = ", ".join(names) if len(names) <= 8 else f"{', '.join(names[:7])} and {len(names) - 7} more languages"
    return f"{few or 'Several languages'}. Base: {', '.join(bases) or 'not recorded'}."


def _link(text: str, kind: str) -> Markup:
    media = {"csv": "csv", "tex": "x-tex"}[kind]
    return Markup(f"data:text/{media};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}")
