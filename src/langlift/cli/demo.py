"""``langlift demo``."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langlift.bundled_models import DEFAULT_BASE
from langlift.cli.options import command, note, option, print_table
from langlift.progress import readable_seconds

if TYPE_CHECKING:
    from langlift.demonstration import DemoResult


@command("demonstration:DemoResult")
def demo(
    *,
    out: Path = option("--out FOLDER", "Folder to write the runs to.", Path("langlift-demo")),
    seed: int = option("--seed", "Seed of the adapter.", 42),
) -> Iterator[Any]:
    """Adapt the bundled model to Maltese with the bundled text: offline, in minutes, on a laptop."""
    note(f"Loading {DEFAULT_BASE}, a multilingual model that never learned to predict Maltese words ...")
    note("Then it trains an adapter, and a topic classifier twice without the adapter and twice with it")
    from langlift import demonstration

    result = demonstration.demo(out, seed)
    yield result
    from rich.console import Console

    say = Console(highlight=False).print
    gap, verdicts, frequent = result.gaps[0], result.verdicts, result.by_frequency
    say(f"\n[bold]1. Filling gaps[/bold] in {len(result.gaps)} Maltese sentences that the model never saw")
    say(f"The first: {gap.before}[bold]___[/bold]{gap.after}", f"Right: {gap.answer}", sep="\n")
    say(gap.meaning, style="dim")
    _before_and_after(result, _gap_rows(result))
    say(
        f"Ranking the words by frequency alone fills {frequent['filled_right']} right "
        f"(mean rank {frequent['mean_rank']:.1f}). {verdicts['gaps'].text}"
    )
    say(f"\n[bold]2. Classifying topics:[/bold] seven topics, {result.topic_test} Maltese sentences")
    print_table(None, ("classifier", "macro-F1", "seeds"), _topic_rows(result))
    say(verdicts["topic"].text)
    say(f"\n[bold]3. Surprise[/bold] at {result.sentences} Maltese sentences; lower is better")
    units = {"per character": result.pppl_per_character, "per token": result.pseudo_perplexity}
    surprise = [
        (f"pseudo-perplexity {unit}", *(f"{value:,.1f}" for value in values.values()))
        for unit, values in units.items()
    ]
    _before_and_after(result, surprise)
    say(
        verdicts["surprise"].text,
        f"\nTook {readable_seconds(result.seconds)}. More gaps, with explanations: {result.report}",
        "The same with a text in your own language:",
        f"  langlift adapt Welsh --base {result.base} --data welsh.txt --out runs/welsh",
        sep="\n",
    )


def _before_and_after(result: "DemoResult", rows: Sequence[tuple[str, ...]]) -> None:
    print_table(None, ("", f"before\n{result.base}", "after\n+ Maltese adapter"), rows)


def _gap_rows(result: "DemoResult") -> list[tuple[str, ...]]:
    gap = result.gaps[0]
    return [
        (
            "its best guesses",
            *("\n".join(f"{one.word} {one.probability:.0%}" for one in some) for some in gap.guesses.values()),
        ),
        ("rank of the right word", *(f"{rank} of {result.gap_words}" for rank in gap.rank.values())),
        (),
        ("gaps filled right", *(f"{n} of {len(result.gaps)}" for n in result.filled_right.values())),
        ("mean rank in all gaps", *(f"{rank:.1f}" for rank in result.mean_rank.values())),
    ]


def _topic_rows(result: "DemoResult") -> list[tuple[str, ...]]:
    baseline = result.topic_f1["baseline"]
    rows: list[tuple[str, ...]] = [
        ("always the most frequent topic", f"{baseline['majority']:.1f}", ""),
        ("TF-IDF (counts words)", f"{baseline['tfidf']:.1f}", ""),
    ]
    for name, shown in (("task_only", result.base), ("stacked", f"{result.base} + Maltese adapter")):
        f1 = result.topic_f1[name]
        seeds = ", ".join(f"{value:.1f}" for value in f1["seeds"])
        spread = "" if f1["std"] is None else f" ± {f1['std']:.1f}"
        rows.append((shown, f"{f1['mean']:.1f}{spread}", seeds))
    return rows
