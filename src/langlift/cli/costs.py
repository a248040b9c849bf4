"""``langlift costs``."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from langlift.cli.options import Debug, Json, print_json, print_table


def costs(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Finished runs; the first is compared with.")
    ],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """What runs cost, side by side: tokens, floating point operations and time."""
    from langlift.reports.costs import cost_table

    found = cost_table(runs)
    if as_json:
        print_json(asdict(found))
        return
    from rich.table import Table

    per = "per character of text, " if found.per_character else ""
    table = Table(title=f"Cost of training; last: FLOPs {per}in times of the first run", title_justify="left")
    table.add_column("run", overflow="fold")
    for heading in ("pieces", "tokens", "characters", "FLOPs", "seconds", "times"):
        table.add_column(heading, justify="right", no_wrap=True)
    for cost, ratio in zip(found.runs, found.times_first, strict=True):
        table.add_row(
            cost.run,
            f"{cost.vocabulary_size:,}" if cost.vocabulary_size else "",
            f"{cost.tokens:,}",
            f"{cost.characters:,}" if cost.characters else "",
            f"{cost.flops:.2e}",
            f"{cost.seconds:,.0f}",
            f"{ratio:.2f}",
        )
    print_table(table)
