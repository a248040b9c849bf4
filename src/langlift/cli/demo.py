"""``langlift demo``."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langlift.bundled_models import DEFAULT_BASE
from langlift.cli.options import Debug, Json, note, print_json
from langlift.progress import readable_seconds

if TYPE_CHECKING:
    from rich.table import Table

    from langlift.demonstration import DemoResult
    from langlift.evaluation.gap_filling import Candidate


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the runs are written.")] = Path(
        "langlift-demo"
    ),
    seed: Annotated[int, typer.Option("--seed", help="Seed of the adapter.")] = 42,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Lift Maltese with the bundled model and text: offline, in minutes, on a laptop."""
    note(f"Loading {DEFAULT_BASE}, a multilingual model that has never seen Maltese ...")
    from langlift import demonstration

    result = demonstration.demo(out, seed)
    if as_json:
        print_json(asdict(result))
        return
    from rich.console import Console

    console = Console(highlight=False)
    gap, verdicts = result.gaps[0], result.verdicts
    console.print(
        f"\n[bold]1. Filling gaps[/bold] in {len(result.gaps)} Maltese sentences that the model never saw"
    )
    console.print(f"The first: {gap.before}[bold]___[/bold]{gap.after}", f"Right: {gap.answer}", sep="\n")
    console.print(gap.meaning, style="dim")
    frequent = result.by_frequency
    console.print(
        _gap_table(result),
        f"Whoever orders the words by how frequent they are fills {frequent['filled_right']} right "
        f"(mean place {frequent['mean_rank']:.1f}). {verdicts['gaps'].text}",
        sep="\n",
    )
    console.print(f"\n[bold]2. Telling topics apart:[/bold] seven topics, {result.topic_test} Maltese sentences")
    console.print(_topic_table(result), verdicts["topic"].text, sep="\n")
    console.print(f"\n[bold]3. Surprise[/bold] at {result.sentences} Maltese sentences; lower is better")
    console.print(_surprise_table(result), verdicts["surprise"].text, sep="\n")
    console.print(
        f"\nTook {readable_seconds(result.seconds)}. More gaps, and what it all means: {result.report}",
        "The same with a text in your own language:",
        f"  langlift adapt Welsh --base {result.base} --data welsh.txt --out runs/welsh",
        sep="\n",
    )


def _gap_table(result: "DemoResult") -> "Table":
    table = _before_and_after(result)
    gap = result.gaps[0]
    table.add_row("its best guesses", *(_listed(guesses) for guesses in gap.guesses.values()))
    table.add_row("place of the right word", *(f"{rank} of {result.gap_words}" for rank in gap.rank.values()))
    table.add_section()
    table.add_row("gaps filled right", *(f"{n} of {len(result.gaps)}" for n in result.filled_right.values()))
    table.add_row("mean place in all gaps", *(f"{rank:.1f}" for rank in result.mean_rank.values()))
    return table


def _listed(guesses: Sequence["Candidate"]) -> str:
    return "\n".join(f"{guess.word} {guess.probability:.0%}" for guess in guesses)


def _topic_table(result: "DemoResult") -> "Table":
    from rich.table import Table

    table = Table()
    table.add_column("classifier")
    table.add_column("macro-F1", justify="right")
    table.add_column("seeds", justify="right")
    baseline = result.topic_f1["baseline"]
    table.add_row("always the most frequent topic", f"{baseline['majority']:.1f}", "")
    table.add_row("TF-IDF (counts words)", f"{baseline['tfidf']:.1f}", "")
    for name, shown in (("task_only", result.base), ("stacked", f"{result.base} + Maltese adapter")):
        f1 = result.topic_f1[name]
        seeds = ", ".join(f"{value:.1f}" for value in f1["seeds"])
        table.add_row(shown, f"{f1['mean']:.1f} ± {f1['std']:.1f}", seeds)
    return table


def _surprise_table(result: "DemoResult") -> "Table":
    table = _before_and_after(result)
    rows = {"per character": result.pppl_per_character, "per token": result.pseudo_perplexity}
    for unit, values in rows.items():
        table.add_row(f"pseudo-perplexity {unit}", *(f"{value:,.1f}" for value in values.values()))
    return table


def _before_and_after(result: "DemoResult") -> "Table":
    from rich.table import Table

    table = Table()
    table.add_column("")
    table.add_column(f"before\n{result.base}", justify="right")
    table.add_column("after\n+ Maltese adapter", justify="right")
    return table
