"""The commands of ``langlift bench``; ``langlift.cli.bench`` finds them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from langlift.cli.options import command, show
from langlift.errors import InputError

app = typer.Typer(
    help="Measure speed, memory and exactness side by side with the reference.", rich_markup_mode=None
)

Shape = Annotated[str, typer.Option("--shape", help="xlmr, mbert, mini or nano: random weights of that shape.")]
Text = Annotated[
    Path | None,
    typer.Option(
        "--text", metavar="FILE", help="Text file with one sentence per line (default: bundled Maltese)."
    ),
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads of either side (default: cores).")]
Reference = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        metavar="PYTHON",
        help="Interpreter with adapters 1.3.0 (default: built once, in the cache).",
    ),
]
Device = Annotated[str | None, typer.Option("--device", help="cpu or cuda (default: the GPU when there is one).")]
Rounds = Annotated[
    int | None,
    typer.Option("--rounds", min=1, help="Measurements of each side, in turn (default: 2 to 5, as time allows)."),
]


@app.callback()
def bench() -> None:
    """Measure speed, memory and exactness side by side with the reference."""


@app.command("train")
@command("benchmarks.running:TrainBench")
def train(
    shape: Shape = "xlmr",
    text: Text = None,
    sentences: Annotated[int, typer.Option("--sentences", min=1, help="Sentences of the batch.")] = 16,
    rounds: Rounds = None,
    threads: Threads = None,
    reference: Reference = None,
    device: Device = None,
    path: Annotated[
        str, typer.Option("--path", help="Our side's: fast, or graphs (CUDA graphs, for small batches on a GPU).")
    ] = "fast",
) -> Iterator[Any]:
    """One optimiser step of Seq_bn on one batch: same weights, sentences and masks on both sides."""
    from benchmarks.running import TrainBench
    from benchmarks.running import bench as run

    result = run("train", shape, text, sentences, rounds, threads, reference, device, path)
    if not isinstance(result, TrainBench):
        raise TypeError(type(result).__name__)
    exactness = [
        ("loss, relative difference", _by_arithmetic(result, "loss_relative_difference", ".1e")),
        ("gradients, cosine", _by_arithmetic(result, "gradient_cosine", ".6f")),
    ]
    yield result
    show(
        f"bench train: {shape}, {result.tokens} tokens, {result.device}",
        [*_speeds(result), *exactness],
    )


@app.command("score")
@command("benchmarks.running:ScoreBench")
def score(
    shape: Shape = "xlmr",
    text: Text = None,
    sentences: Annotated[int, typer.Option("--sentences", min=1, help="Sentences scored.")] = 2,
    rounds: Rounds = None,
    threads: Threads = None,
    reference: Reference = None,
    device: Device = None,
) -> Iterator[Any]:
    """Pseudo-perplexity of a few sentences; the reference runs one forward pass for each token."""
    from benchmarks.running import ScoreBench
    from benchmarks.running import bench as run

    result = run("score", shape, text, sentences, rounds, threads, reference, device)
    if not isinstance(result, ScoreBench):
        raise TypeError(type(result).__name__)
    rough = result.pseudo_perplexity_relative_difference_bf16
    exactness = [
        ("log-probabilities, largest difference (float32)", f"{result.max_logprob_difference:.1e}"),
        ("pseudo-perplexity, relative difference (bf16)", "-" if rough is None else f"{rough:.1e}"),
    ]
    yield result
    show(
        f"bench score: {shape}, {result.scored_tokens} tokens, {result.device}",
        [*_speeds(result), *exactness],
    )


@app.command("graph")
@command("benchmarks.graph_running:GraphBench")
def graph(
    rows: Annotated[int, typer.Option("--rows", min=1000, help="Rows of the generated dump.")] = 2_000_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the dump.")] = 0,
) -> Iterator[Any]:
    """All languages of a generated ConceptNet dump to sentences, beside a plain loop in Python."""
    from benchmarks.graph_running import bench_graph

    result = bench_graph(rows, seed)
    seconds = ", ".join(f"{name.replace('_', ' ')} {value:,.1f}" for name, value in result.seconds.items())
    rates = ", ".join(f"{name.replace('_', ' ')} {rate:,.0f}" for name, rate in result.rows_per_second.items())
    memory = f"{result.peak_memory_bytes >> 20:,} MiB (plain loop: {result.plain_peak_memory_bytes >> 20:,} MiB)"
    yield result
    show(
        f"bench graph: {result.rows:,} rows, {result.languages} languages",
        [
            ("faster than a plain loop, one thread", f"{result.ratio:.1f} times"),
            ("faster, one thread, processor time", f"{result.ratio_processor_time:.1f} times"),
            ("faster, two threads", f"{result.ratio_two_threads:.1f} times"),
            ("seconds", seconds),
            ("rows a second", rates),
            ("peak memory", memory),
            ("sentences, the same on all sides", f"{result.sentences:,}"),
        ],
    )


@app.command("growth")
@command("benchmarks.growth:GrowthBench")
def growth(
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps that are measured for each model.")] = 4,
) -> Iterator[Any]:
    """How a training step grows with sentence length, vocabulary, layers and width."""
    from benchmarks.growth import bench_growth

    result = bench_growth(steps)
    yield result
    show(
        f"bench growth: seconds of {result.tokens:,} tokens, {result.precision}, {result.threads} threads",
        [
            (
                f"{axis} (slope {result.slopes[axis]:.2f})",
                ", ".join(f"{value:,}: {seconds:.2f}" for value, seconds in found.items()),
            )
            for axis, found in result.seconds.items()
        ],
    )


@app.command("data-growth")
@command("benchmarks.data_growth:DataGrowthBench")
def data_growth(
    what: Annotated[
        list[str] | None, typer.Option("--what", help="corpus, graph or study; can be repeated (default: all).")
    ] = None,
    largest: Annotated[
        int | None,
        typer.Option("--largest", min=1, help="Leave out larger sizes (MB, rows or runs); needs one --what."),
    ] = None,
) -> Iterator[Any]:
    """How building a corpus of up to 1 GB, graphs from 34 million rows, and studies of 10,000 runs grow."""
    from benchmarks.data_growth import SIZES, bench_data_growth

    if unknown := set(what or ()) - set(SIZES):
        raise InputError(f"--what {unknown.pop()}: unknown", f"one of {', '.join(SIZES)}")
    if largest is not None and len(what or ()) != 1:
        raise InputError("--largest is in MB, rows or runs", "name one of them with --what")
    result = bench_data_growth(what or list(SIZES), largest)
    yield result
    rows = []
    for name, found in result.seconds.items():
        sizes = ", ".join(f"{size:,}: {seconds:,.1f} s" for size, seconds in found.items())
        peaks = ", ".join(f"{peak >> 20:,} MiB" for peak in result.peak_memory_bytes.get(name, {}).values())
        slope = f" (slope {result.slopes[name]:.2f})" if name in result.slopes else ""
        rows.append((f"{name}{slope}", sizes + (f"; peak memory {peaks}" if peaks else "")))
    show("bench data-growth", rows)


@app.command("startup")
@command("benchmarks.startup:StartupBench")
def startup(
    runs: Annotated[int, typer.Option("--runs", min=1, help="Number of starts of each.")] = 10,
) -> Iterator[Any]:
    """How long ``langlift --help`` and ``import langlift`` take, each in a new Python."""
    from benchmarks.startup import bench_startup

    result = bench_startup(runs)
    yield result
    show(
        f"bench startup: medians of {result.runs}",
        [
            ("langlift --help", f"{result.help_seconds:.3f} s ({result.help_processor_seconds:.3f} s computing)"),
            (
                "import langlift",
                f"{result.import_seconds:.3f} s ({result.import_processor_seconds:.3f} s computing)",
            ),
        ],
    )


def _speeds(result: Any) -> list[tuple[str, str]]:
    def times(ratio: float, spread: list[float]) -> str:
        return f"{ratio:.1f} times ({spread[0]:.1f} to {spread[1]:.1f})"

    memory = ", ".join(f"{name} {size / 2**20:,.0f} MiB" for name, size in result.peak_memory_bytes.items())
    rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in result.tokens_per_second.items())
    rows = [("faster than the reference, float32", times(result.ratio_float32, result.ratio_float32_spread))]
    if "bf16" in result.seconds:
        rows.append(("faster than the reference, bf16", times(result.ratio, result.ratio_spread)))
    if result.ratio_both_bf16 is not None:
        both = times(result.ratio_both_bf16, result.ratio_both_bf16_spread)
        rows.append(("faster than the reference, both in bf16", both))
    return [
        *rows,
        ("tokens a second", rates),
        ("peak memory", f"{memory} ({result.peak_memory_ratio:.2f} of the reference)"),
        (
            "share of the fastest matrix product",
            f"{result.peak_share:.0%} of {result.peak_flops / 1e9:,.0f} GFLOP/s",
        ),
        ("time of the processor", ", ".join(f"{kind} {share:.0%}" for kind, share in result.profile.items())),
    ]


def _by_arithmetic(result: Any, field: str, form: str) -> str:
    rough = getattr(result, f"{field}_bf16")
    return f"{getattr(result, field):{form}} in float32" + ("" if rough is None else f", {rough:{form}} in bf16")
