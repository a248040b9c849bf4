"""``langlift demo``."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from langlift.cli.options import Debug, Json, note, print_json
from langlift.progress import readable_seconds


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the runs are written.")] = Path(
        "langlift-demo"
    ),
    seed: Annotated[int, typer.Option("--seed", help="Seed of the adapters.")] = 42,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Lift Maltese with the bundled model, text and knowledge graph: offline, in minutes, on a laptop."""
    note("Loading langlift-nano, a small multilingual model that has never seen Maltese ...")
    from langlift import demonstration

    result = demonstration.demo(out, seed)
    if as_json:
        print_json(asdict(result))
        return
    from rich.console import Console
    from rich.table import Table

    gap = result.gaps[0]
    title = f"\nMaltese: {result.sentences} sentences kept away from all training"
    table = Table(title=title, title_justify="left")
    table.add_column("model", no_wrap=True)
    table.add_column("pseudo-perplexity\nper token", justify="right", no_wrap=True)
    table.add_column("\nper character", justify="right")
    table.add_column("fills the\ngap with")
    table.add_column(f"right word\nof {result.gap_words}", justify="right")
    for name, shown in demonstration.NAMES.items():
        table.add_row(
            shown,
            f"{result.pseudo_perplexity[name]:,.1f}",
            f"{result.pppl_per_character[name]:.2f}",
            gap.filled[name],
            f"rank {gap.rank[name]}",
        )
    console = Console()
    console.print(table)
    console.print(f'The gap: "{gap.before}___{gap.after}" (right: {gap.answer}; {gap.meaning})')
    console.print("Lower pseudo-perplexity is better: the model is less surprised by real Maltese.")

    topics = Table(title=f"\nSeven topics: macro-F1 on {result.topic_test} sentences", title_justify="left")
    topics.add_column("classifier")
    topics.add_column("mean ± deviation", justify="right")
    topics.add_column("seeds", justify="right")
    for name, shown in (("task_only", "task adapter alone"), ("stacked", "on the frozen text adapter")):
        f1 = result.topic_f1[name]
        topics.add_row(shown, f"{f1['mean']:.1f} ± {f1['std']:.1f}", ", ".join(f"{v:.1f}" for v in f1["seeds"]))
    baseline = result.topic_f1["baseline"]
    topics.add_row("TF-IDF + logistic regression", f"{baseline['tfidf']:.1f}", "")
    topics.add_row("majority class", f"{baseline['majority']:.1f}", "")
    console.print(topics)
    console.print(
        f"Took {readable_seconds(result.seconds)}. See the page {result.report}; the adapters lie beside it."
    )
