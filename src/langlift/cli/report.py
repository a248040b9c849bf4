"""``langlift report``."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from langlift.cli.options import Debug, Json, note, print_json


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUNS...", help="Study folders, or run folders of adapt, task, prompt, fuse, pretrain."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Page to write: report.html.")],
    tables: Annotated[
        Path | None,
        typer.Option("--tables", metavar="FOLDER", help="Also write each table as CSV and as LaTeX."),
    ] = None,
    axis: Annotated[
        list[str] | None,
        typer.Option("--axis", metavar="SETTING", help="Draw curves over this setting; may be repeated (all)."),
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="Title of the page.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """What runs show, as one page that opens offline: tables, differences, correlations, curves, cost."""
    from langlift.reports.study_page import write_report

    result = write_report(runs, out, tables, axis or (), title)
    if as_json:
        print_json(asdict(result))
        return
    if result.unfinished:
        note(f"Not finished, and not counted: {len(result.unfinished)}")
    typer.echo(f"{result.runs} runs, {len(result.tables)} tables: {result.report}")
    if result.exports is not None:
        typer.echo(f"Tables as CSV and LaTeX: {result.exports}")
