"""``langlift report``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from langlift.cli.options import argument, command, note, option


@command("reports.study_page:ReportResult")
def report(
    *,
    runs: list[Path] = argument(
        "RUNS...", "Study folders, or run folders of adapt, task, prompt, fuse, pretrain."
    ),
    out: Path = option("--out FILE", "Page to write: report.html."),
    tables: Path | None = option("--tables FOLDER", "Also write each table as CSV and LaTeX.", None),
    axis: list[str] | None = option(
        "--axis SETTING", "Plot curves over this setting; can be repeated. [default: all numeric settings]", None
    ),
    title: str | None = option("--title", "Title of the page.", None),
) -> Iterator[Any]:
    """Summarise runs on one offline HTML page: tables, differences, correlations, curves and costs."""
    from langlift.reports.study_page import write_report

    result = write_report(runs, out, tables, axis or (), title)
    yield result
    if result.unfinished:
        note(f"Unfinished runs, not counted: {len(result.unfinished)}")
    typer.echo(f"{result.runs} runs, {len(result.tables)} tables: {result.report}")
    if result.exports is not None:
        typer.echo(f"Tables as CSV and LaTeX: {result.exports}")
