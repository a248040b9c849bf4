"""``langlift demo``."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from langlift.cli.options import Debug, Json, note, print_json
from langlift.progress import readable_seconds

NAMES = {"base": "langlift-nano", "seq_bn": "+ Seq_bn", "seq_bn_inv": "+ Seq_bn_inv"}


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the runs are written.")] = Path(
        "langlift-demo"
    ),
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything random.")] = 42,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Lift Maltese with the bundled model and text: offline, in minutes, on a laptop."""
    note("Loading langlift-nano, a small multilingual model that has never seen Maltese ...")
    from langlift import demonstration

    result = demonstration.demo(out, seed)
    if as_json:
        print_json(asdict(result))
        return
    from rich.console import Console
    from rich.table import Table

    title = f"\nMaltese: {result.sentences} sentences kept away from all training"
    table = Table(title=title, title_justify="left")
    table.add_column("model")
    table.add_column("pseudo-perplexity\nper token", justify="right")
    table.add_column("\nper character", justify="right")
    table.add_column("fills the\ngap with")
    table.add_column("rank of the\nright word", justify="right")
    for name, shown in NAMES.items():
        table.add_row(
            shown,
            f"{result.pseudo_perplexity[name]:,.1f}",
            f"{result.pppl_per_character[name]:.2f}",
            result.gap_filled[name],
            f"{result.gap_rank[name]} of {demonstration.GAP_WORDS}",
        )
    console = Console()
    console.print(table)
    before, answer, after = result.gap
    console.print(f'The gap: "{before}____{after}" (right: {answer})')
    console.print("Lower pseudo-perplexity is better: the model is less surprised by real Maltese.")
    console.print(f"Took {readable_seconds(result.seconds)}. The adapters are in {result.out}.")
