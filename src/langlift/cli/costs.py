"""``langlift costs``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langlift.cli.options import argument, command, print_table


@command("reports.costs:CostTable")
def costs(
    *,
    runs: list[Path] = argument("RUN...", "Finished runs, compared with the first one."),
) -> Iterator[Any]:
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
