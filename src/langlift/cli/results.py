"""``langlift costs``, ``report`` and ``playground``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from langlift.cli.options import (
    MovedBase,
    argument,
    command,
    existing_file,
    existing_folder,
    flag,
    note,
    option,
    print_json,
    print_table,
)
from langlift.progress import say


@command("reports.costs:CostTable")
def costs(*, runs: list[Path] = argument("RUN...", "Runs, compared with the first one.")) -> Iterator[Any]:
    """Compare what runs cost: tokens, floating point operations and time."""
    from langlift.reports.costs import cost_table

    table = cost_table(runs)
    yield table
    per = "per character of text, " if table.per_character else ""
    print_table(
        f"Cost of training; last column: FLOPs {per}relative to the first run",
        ("run", "pieces", "tokens", "characters", "FLOPs", "seconds", "ratio"),
        [
            (
                cost.run,
                f"{cost.vocabulary_size:,}" if cost.vocabulary_size else "",
                f"{cost.tokens:,}",
                f"{cost.characters:,}" if cost.characters else "",
                f"{cost.flops:.2e}",
                f"{cost.seconds:,.0f}",
                f"{ratio:.2f}",
            )
            for cost, ratio in zip(table.runs, table.times_first, strict=True)
        ],
    )


@command("reports.study_page:ReportResult")
def report(
    *,
    runs: list[Path] | None = argument(
        "RUNS...", "Study folders, or run folders of adapt, task, prompt, fuse, pretrain.", None
    ),
    out: Path | None = option("--out FILE", "Page to write: report.html. Required with RUNS.", None),
    published: bool = flag("--published", "Test the claims of arXiv 2502.10140 on its own tables; needs no RUNS."),
    tables: Path | None = option("--tables FOLDER", "Also write each table as CSV and LaTeX.", None),
    axis: list[str] | None = option(
        "--axis SETTING", "Plot curves over this setting; can be repeated. [default: all numeric settings]", None
    ),
) -> Iterator[Any]:
    """Summarise runs on one offline HTML page: tables, differences, correlations, curves and costs."""
    from langlift.reports.contrast_tables import NOTES, contrast_tables
    from langlift.reports.study_page import write_report

    result = write_report(runs or [], out, tables, axis or (), published)
    yield result
    if result.unfinished:
        note(f"Unfinished runs, not counted: {len(result.unfinished)}")
    if result.report is None:
        for table in contrast_tables(result.contrasts):
            if not table.folded:
                print_table(
                    table.caption,
                    table.columns[:-2] + table.columns[-1:],
                    [[cell.text for cell in row[:-2] + row[-1:]] for row in table.rows],
                    box=None,
                )
        note(" ".join(NOTES))
        note("--json, --out and --tables also have uncorrected p, and seen and unseen languages separately.")
    else:
        runs_read = f"{result.runs} runs, " if runs else ""
        typer.echo(f"{runs_read}{len(result.tables)} tables: {result.report}")
    if result.exports is not None:
        typer.echo(f"Tables as CSV and LaTeX: {result.exports}")


@command("playground.page:Served", trusting=True)
def playground(
    *,
    runs: list[Path] = argument("RUN...", "Runs of adapt, adapt-family, task or fuse.", parser=existing_folder),
    text: Path | None = option(
        "--text FILE", "Sentences to start with: text file or built data folder.", None, parser=existing_file
    ),
    base: MovedBase = None,
    port: int = option("--port", "Port on this machine.", 7860, min=1, max=65535),
    host: str = option("--host", "Address to listen on; 0.0.0.0 in a container.", "127.0.0.1"),
    open_browser: bool = flag("--open", "Open the page in the browser."),
    as_json: bool,
) -> None:
    """Try runs on a local web page: fill gaps, compare base and adapted model, label text."""
    say(f"Loading {' and '.join(map(str, runs))} ...")
    from langlift.playground.page import answer_html, launch, new_page, read_playground

    shown = read_playground(runs, text, base)
    page = new_page(shown)
    served = launch(page, port, open_browser, host)
    answer_html(shown, "a")  # loads the models now, so that the first question does not wait for them
    if as_json:
        print_json(served)
    note(f"The playground is at {served.address} (Ctrl-C stops it)")
    page.block_thread()
