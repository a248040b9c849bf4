"""``langlift report``: everything that runs show, as one HTML file that opens offline."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from langlift.errors import InputError
from langlift.files import write_text
from langlift.progress import ProgressBar
from langlift.reports import study_charts as charts
from langlift.reports import study_tables as tables
from langlift.reports.model_tables import per_unit_table, small_and_large_table
from langlift.reports.tables import Table, as_csv, as_latex, capital
from langlift.studies.analysis.analysing import Analysis, analyse
from langlift.studies.analysis.curves import MEAN, AxisCurves, Curve
from langlift.studies.analysis.measures import Results, language_of, sort_results
from langlift.studies.published import what_differs
from langlift.studies.store import StudyRun
from langlift.tasks.setups import ATTENTION
from langlift.training.run_folder import METRICS, PROGRESS, read_metrics

MOST_LABELS = 12
"""So many languages have their names beside their dots; of more, pointing at a dot tells."""


@dataclass(frozen=True)
class Figure:
    """A chart: ``svg`` to be seen, ``spec`` (Vega-Lite, JSON) to become interactive, ``alt`` to be heard."""

    name: str
    title: str
    alt: str
    svg: Markup
    spec: Markup
    note: str = ""


@dataclass(frozen=True)
class Part:
    """A piece of a section."""

    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    title: str = ""
    texts: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """A heading, and what stands below it; ``numbers`` are the headline ones by name."""

    name: str
    title: str
    parts: Sequence[Part]
    texts: Sequence[str] = ()
    numbers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportResult:
    """What ``langlift report`` wrote: ``tables`` are the tables' names, ``exports`` their folder."""

    report: str
    runs: int
    unfinished: list[str]
    sections: list[str]
    tables: list[str]
    exports: str | None


def write_report(
    folders: Sequence[Path],
    out: Path,
    exports: Path | None = None,
    axes: Sequence[str] = (),
    title: str | None = None,
) -> ReportResult:
    """Analyse study folders and run folders and write the page; with ``exports`` each table as CSV and LaTeX too.

    ``axes``: settings to draw curves over (default: all numeric ones that vary).

    Raises:
        InputError: a folder is no study and no run, or ``out`` is no .html file.
        LangliftError: something cannot be written.
    """
    if out.suffix not in (".html", ".htm") or out.is_dir():
        raise InputError(f"--out {out}: not an .html file", "name a file such as report.html")
    if exports is not None and exports.is_file():
        raise InputError(f"--tables {exports}: is a file", "name a folder")
    analysis = analyse(folders, axes)
    title = title or (folders[0].resolve().name if len(folders) == 1 else f"{len(analysis.runs)} runs")
    found = sections(analysis)
    shown = [table for section in found for part in section.parts for table in part.tables]
    environment = Environment(loader=PackageLoader("langlift.reports"), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("report.html.j2").render(
        title=title,
        lead=_lead(analysis),
        sections=found,
        links={t.name: {"csv": _link(as_csv(t), "csv"), "tex": _link(as_latex(t), "x-tex")} for t in shown},
        version=version("langlift"),
        vega=Markup(charts.vega_bundle()),
    )
    write_text(out, page)
    for table in shown if exports is not None else ():
        write_text(Path(exports or "", f"{table.name}.csv"), as_csv(table))
        write_text(Path(exports or "", f"{table.name}.tex"), as_latex(table))
    return ReportResult(
        report=str(out),
        runs=len(analysis.runs),
        unfinished=analysis.unfinished,
        sections=[section.name for section in found],
        tables=[table.name for table in shown],
        exports=None if exports is None else str(exports),
    )


def sections(analysis: Analysis) -> list[Section]:
    """The sections of a report; one without anything to show is left out."""
    made = (
        _overview,
        _results,
        _differences,
        _behaviour,
        _published,
        _alignment,
        _correlations,
        _regressions,
        _curves,
        _fusion,
        _training,
        _cost,
    )
    found = []
    with ProgressBar("drawing", len(made), "sections") as bar:
        for make in made:
            section = make(analysis)
            if section is not None:
                found.append(section)
            bar.advance()
    return found


def _overview(analysis: Analysis) -> Section:
    runs = analysis.runs
    seeds = {run.cell["seed"] for run in runs if run.cell.get("seed") is not None}
    sums = tables.totals(runs)
    counts = {
        "run": len(runs),
        "language": len({run.cell["language"] for run in runs if run.cell.get("language")}),
        "base model": len({run.cell["base"] for run in runs if run.cell.get("base")}),
        "seed": len(seeds),
    }
    numbers = {what if count == 1 else f"{what}s": f"{count:,}" for what, count in counts.items()}
    if sums["tokens"]:
        tokens = sums["tokens"]
        numbers["tokens trained on"] = f"{tokens / 1e6:,.1f} M" if tokens >= 100_000 else f"{tokens:,}"
    if sums["seconds"]:
        numbers["hours"] = f"{sums['seconds'] / 3600:,.1f}"
    texts = []
    if analysis.unfinished:
        some = ", ".join(analysis.unfinished[:5]) + (", …" if len(analysis.unfinished) > 5 else "")
        many = "run" if len(analysis.unfinished) == 1 else "runs"
        texts.append(f"Not finished, and not counted here: {len(analysis.unfinished)} {many} ({some}).")
    if len(seeds) < 3:
        texts.append("With fewer than three seeds, spreads say little and small differences nothing.")
    return Section("overview", "Overview", [Part([tables.runs_table(runs)])], texts, numbers)


def _results(analysis: Analysis) -> Section | None:
    parts = []
    for results in analysis.results:
        table, title = tables.results_table(results), capital(results.measure.title)
        figures = [] if results.measure.is_loss else _bars(results)
        texts = []
        if figures:
            own = ", each language with its own scale" if results.measure.lower_is_better else ""
            texts = [f"Bars: means; dots: seeds; lines: 95 % intervals (Student's t){own}."]
        by_unit = [per_unit_table(results)] if results.measure.of_decoders else []
        parts += [Part([table, *by_unit], title=title), Part(figures=figures, texts=texts)]
    return Section("results", "Results", parts) if parts else None


def _bars(results: Results) -> list[Figure]:
    measure = results.measure
    top = None if measure.lower_is_better else 100.0
    found = []
    for language in results.languages:
        spreads = {c.label: s for c in results.conditions if (s := results.spread(language, c)) is not None}
        seeds = {c.label: results.values(language, c) for c in results.conditions if c.label in spreads}
        told = {label: tables.spread_text(s, measure) for label, s in spreads.items()}
        name = tables.language_name(language)
        plain = next((c.label for c in results.conditions if c.is_reference), None)
        chart = charts.bars(spreads, told, seeds, plain, measure.title, top)
        alt = (
            f"Bars of {measure.title} for {name}. {'; '.join(f'{label}: {text}' for label, text in told.items())}."
        )
        found.append(_figure(f"{measure.name}-{language}", name, alt, chart))
    return found


def _differences(analysis: Analysis) -> Section | None:
    found = [
        table
        for results, differences in zip(analysis.results, analysis.differences, strict=True)
        for table in tables.differences_tables(results, differences)
    ]
    return Section("differences", "Differences between conditions", [Part(found)]) if found else None


def _behaviour(analysis: Analysis) -> Section | None:
    found = [table for results in analysis.results if (table := tables.behaviour_table(results)) is not None]
    return Section("behaviour", "As published and corrected", [Part(found)]) if found else None


def _published(analysis: Analysis) -> Section | None:
    found = []
    for results in analysis.results:
        differs = what_differs(results, analysis.runs)
        both = tables.published_table(results, differs), small_and_large_table(results, differs)
        found += [table for table in both if table is not None]
    texts = ["Published figures stand beside ours for orientation; below each table is what differs."]
    return Section("published", "Beside the published figures", [Part(found)], texts) if found else None


def _alignment(analysis: Analysis) -> Section | None:
    parts = []
    for found in analysis.alignments:
        cka, to = found.results["cka"], tables.language_name(found.to)
        shares = {
            condition.label: {
                language: s.mean
                for language in cka.languages
                if (s := cka.spread(language, condition)) is not None
            }
            for condition in cka.conditions
        }
        name = f"alignment-{found.to}"
        figures = [_heat_map(name, f"Linear CKA with {to}", charts.heat_map(shares, "language"), shares)]
        if found.layers:
            by_layer = {who: dict(enumerate(values, start=1)) for who, values in found.layers.items()}
            title = f"By layer, mean of {len(cka.languages)} languages"
            figures.append(_heat_map(f"{name}-layers", title, charts.by_layer(found.layers), by_layer))
        parts.append(Part([tables.alignment_table(found)], figures, title=f"With {to}"))
    texts = [
        "How alike vectors of parallel sentences are (the mean of their tokens' last hidden states): a language "
        "beside another in the same model, or a model beside another on the same sentences."
    ]
    return Section("alignment", "Alignment", parts, texts) if parts else None


def _heat_map(name: str, title: str, chart: dict[str, Any], shares: Mapping[str, Mapping[Any, float]]) -> Figure:
    told = "; ".join(
        f"{who}: {', '.join(f'{column} {value:.2f}' for column, value in values.items())}"
        for who, values in shares.items()
    )
    return _figure(name, title, f"Heat map. {title}. {told}.", chart)


def _correlations(analysis: Analysis) -> Section | None:
    found = analysis.correlations
    if not found:
        return None
    units = {results.measure.title: results.measure.gain_unit for results in analysis.results}
    figures = []
    for number, c in enumerate(found):
        unit = f"gain ({units[c.measure]})" if c.y == "gain" else c.measure
        note = f"r = {c.pearson:+.2f} (p {_p(c.pearson_p)}), ρ = {c.spearman:+.2f} (p {_p(c.spearman_p)})"
        alt = f"Scatter plot of {len(c.points)} languages: {c.y} in {c.measure}, {c.condition}, by {c.x}. {note}."
        chart = charts.scatter(c, unit, len(c.points) <= MOST_LABELS)
        figures.append(_figure(f"correlation-{number}", f"{capital(c.measure)}: {c.condition}", alt, chart, note))
    texts = ["Each dot is a language: the mean over seeds. The line is the least-squares fit."]
    return Section("correlations", "Correlations", [Part([tables.correlation_table(found)], figures)], texts)


def _regressions(analysis: Analysis) -> Section | None:
    found = [tables.regression_table(regression) for regression in analysis.regressions]
    texts = [
        "The change of the measure with each setting, the others held, with an intercept of each language's own."
    ]
    return Section("regression", "Effects of settings", [Part(found)], texts) if found else None


def _curves(analysis: Analysis) -> Section | None:
    parts = []
    for found in analysis.curves:
        parts.append(Part([tables.curve_table(found)], _axis_figures(found), title=_axis_title(found)))
    texts = ["Bands are 95 % intervals over seeds; for the mean of the languages, over languages."]
    return Section("curves", "Curves", parts, texts) if parts else None


def _axis_figures(found: AxisCurves) -> list[Figure]:
    by_language: dict[str, list[Curve]] = {}
    for curve in found.curves:
        by_language.setdefault(curve.language, []).append(curve)
    axis = found.axis.replace("_", " ")
    figures: list[Figure] = []
    conditions = list(dict.fromkeys(curve.condition or found.measure.title for curve in found.curves))
    for language, curves in by_language.items():
        name = language if language == MEAN else tables.language_name(language)
        told = "; ".join(
            f"{c.condition or 'all runs'}: "
            + ", ".join(f"{tables.number(p.spread.mean, found.measure)} at {p.x:,g}" for p in c.points)
            for c in curves
        )
        chart = charts.curve_chart(curves, conditions, axis, found.measure.title, found.wide)
        alt = f"Curve of {found.measure.title} by {axis}, {name}. {told}."
        figures.append(_figure(f"{found.measure.name}-by-{found.axis}-{len(figures)}", capital(name), alt, chart))
    return figures


def _axis_title(found: AxisCurves) -> str:
    return f"{capital(found.measure.title)} by {found.axis.replace('_', ' ')}"


def _fusion(analysis: Analysis) -> Section | None:
    by_title: dict[str, list[Mapping[str, Sequence[float]]]] = {}
    for run in analysis.runs:
        for attention in _attention(run):
            title = f"{run.cell.get('task', 'task')}, {tables.language_name(language_of(run))}"
            by_title.setdefault(title, []).append(attention)
    if not by_title:
        return None
    maps: dict[str, Mapping[str, Sequence[float]]] = {}
    figures: list[Figure] = []
    for title, seeds in by_title.items():
        same = [one for one in seeds if one.keys() == seeds[0].keys()]
        maps[title] = {
            name: [mean(layer) for layer in zip(*(one[name] for one in same), strict=True)] for name in same[0]
        }
        told = "; ".join(
            f"{name}: {', '.join(f'{s:.2f}' for s in shares)}" for name, shares in maps[title].items()
        )
        alt = f"Heat map of attention by layer, from the lowest, {title}. {told}."
        note = f"mean of {len(same)} seed{'s' if len(same) > 1 else ''}"
        chart = charts.by_layer(maps[title])
        figures.append(_figure(f"fusion-{len(figures)}", capital(title), alt, chart, note))
    texts = [
        "How much a fusion attends to each of its adapters, by layer (mean over test tokens; a column sums to 1)."
    ]
    return Section("fusion", "Fusion", [Part([tables.attention_table(maps)], figures)], texts)


def _attention(run: StudyRun) -> list[Mapping[str, Sequence[float]]]:
    """A fusion's learned attention, seed by seed."""
    if not (run.folder / METRICS).exists():
        return []
    metrics = read_metrics(run.folder)
    by_seed = (metrics.get("report") or {}).get(f"{ATTENTION}_by_seed")
    if by_seed:
        return list(by_seed.values())
    return [metrics[ATTENTION]] if metrics.get(ATTENTION) else []


def _training(analysis: Analysis) -> Section | None:
    """Validation over steps, by kind of run and language: a line for each condition, its seeds' mean."""
    parts = []
    for results in sort_results([run for run in analysis.runs if _progress(run)]):
        measure = results.measure
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
            told = "; ".join(f"{who}: {p[0][1]:.3g} to {p[-1][1]:.3g}" for who, p in lines.items())
            what = "validation loss (nats)" if measure.is_loss else f"{measure.title} on dev"
            alt = f"Training curves of {what} by step, {name}. First and last values: {told}."
            chart = charts.training_chart(lines, [c.label for c in results.conditions], what)
            figures.append(_figure(f"training-{measure.name}-{language}", name, alt, chart))
        if figures:
            parts.append(Part(figures=figures, title=capital(measure.title)))
    texts = ["Held-out loss, or the score on the dev split, in the course of training; means over seeds."]
    return Section("training", "Training curves", parts, texts) if parts else None


def _progress(run: StudyRun) -> list[Path]:
    """The records of a run's training: its own, or its seeds'."""
    own = run.folder / PROGRESS
    return [own] if own.exists() else sorted(run.folder.glob(f"seed-*/{PROGRESS}"))


def _mean_curve(runs: Iterable[StudyRun], metric: str) -> list[tuple[float, float]]:
    """(step, mean over runs of what was validated there), for the steps that all runs have."""
    key = metric if metric.startswith("validation_") else f"validation_{metric}"
    curves = []
    for path in (path for run in runs for path in _progress(run)):
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        curves.append({record["step"]: record[key] for record in records if key in record})
    if not curves:
        return []
    steps = set(curves[0]).intersection(*curves)
    return [(step, mean(curve[step] for curve in curves)) for step in sorted(steps)]


def _cost(analysis: Analysis) -> Section | None:
    if not any(run.cost for run in analysis.runs):
        return None
    return Section("cost", "Cost", [Part([tables.cost_table(analysis.runs)])])


def _figure(name: str, title: str, alt: str, chart: dict[str, Any], note: str = "") -> Figure:
    safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
    spec = json.dumps(chart, ensure_ascii=False).replace("<", "\\u003c")
    return Figure(safe, title, alt, Markup(charts.picture(chart, safe)), Markup(spec), note)


def _lead(analysis: Analysis) -> str:
    names = sorted({language_of(run) for run in analysis.runs if run.cell.get("language")})
    told = [tables.language_name(name).rsplit(" (", 1)[0] for name in names]
    bases = sorted({Path(str(run.cell["base"])).name for run in analysis.runs if run.cell.get("base")})
    few = ", ".join(told) if len(told) <= 8 else f"{', '.join(told[:7])} and {len(told) - 7} more languages"
    return f"{few or 'Several languages'}. Base: {', '.join(bases) or 'not recorded'}."


def _link(text: str, kind: str) -> Markup:
    return Markup(f"data:text/{kind};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}")


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
