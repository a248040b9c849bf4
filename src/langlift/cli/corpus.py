"""``langlift corpus``."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from langlift.bundled_models import DEFAULT_BASE
from langlift.cli.options import Debug, Json, note, print_json, print_table

app = typer.Typer(help="Text to train on or to score.", rich_markup_mode=None)


@app.callback()
def corpus() -> None:
    """Text to train on or to score."""


@app.command("build")
def build(
    language: Annotated[str, typer.Argument(metavar="LANG", help="Language: mlt, mlt_Latn, mt or Maltese.")],
    sources: Annotated[
        list[str],
        typer.Option(
            "--source",
            metavar="SOURCE",
            help="glotcc, wikipedia[:DATE], flores (for scoring), hub:ID[:CONFIG][@SPLIT][#FIELD] or file:GLOB; "
            "glotcc=FOLDER reads a downloaded one; may be repeated.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Data folder to write: new or empty.")],
    max_bytes: Annotated[
        str, typer.Option("--max-bytes", metavar="SIZE", help="Keep at most so much text: 500KB, 1.5GB, 1GiB.")
    ] = "1GB",
    exclude: Annotated[
        list[Path] | None,
        typer.Option(
            "--exclude",
            metavar="PATH",
            help="Evaluation sets whose sentences must not get in: files or folders; may be repeated.",
        ),
    ] = None,
    language_model: Annotated[
        Path | None,
        typer.Option(
            "--language-model",
            metavar="FILE",
            help="Drop documents in other languages: a fastText model, as GlotLID's.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the split and the sample of what was dropped.")] = 0,
    show_dropped: Annotated[
        bool, typer.Option("--show-dropped", help="Print a sample of what each filter dropped.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Clean, filter and split text in the language from public data sets or your own files."""
    from langlift.corpus.building import build_corpus
    from langlift.corpus.byte_size import parse_bytes
    from langlift.data_folder import excerpt, read_dropped
    from langlift.languages import find_language

    found = find_language(language)
    result = build_corpus(
        found,
        sources,
        out,
        max_bytes=parse_bytes(max_bytes),
        exclude=exclude or (),
        language_model=language_model,
        seed=seed,
    )
    if show_dropped:
        for row in read_dropped(out):
            note(f"{row['filter'].replace('_', ' ')}: {excerpt(row['text'])}  ({excerpt(row['reason'])})")
    if as_json:
        from dataclasses import asdict

        print_json(asdict(result))
        return
    from rich.table import Table

    table = Table(title=f"{found.name} ({found}): text from {', '.join(sources)}", title_justify="left")
    for column in ("step", "documents", "lines", "bytes"):
        table.add_column(column, justify="left" if column == "step" else "right")

    steps = [
        ("read", result.read),
        *((f"- {name.replace('_', ' ')}", dropped) for name, dropped in result.filters.items()),
        ("kept", result.kept),
        *((f"  {name}.jsonl", split) for name, split in result.splits.items()),
    ]
    for step, amount in steps:
        counts = (amount.get(key, 0) for key in ("documents", "lines", "bytes"))
        table.add_row(step, *(f"{count:,}" if count else "" for count in counts))
    print_table(table)
    note(
        f"{result.lines_changed:,} lines were cleaned; {result.megabytes_per_second:.1f} MB/s, "
        f"peak memory {result.peak_memory_bytes / 2**20:,.0f} MiB; all counts are in {out / 'manifest.json'}"
    )
    if result.evaluation is not None:
        read = result.evaluation
        note(f"leak check: {read['sentences']:,} evaluation sentences (files read: {len(read['files']):,})")
        if read["skipped"]:
            named = ", ".join(read["skipped_files"][:5])
            more = f" and {read['skipped'] - 5:,} more" if read["skipped"] > 5 else ""
            note(f"leak check: not read, because of other kinds: {named}{more}")
    for file, lines in result.leaks.items():
        note(f"{lines:,} lines left out because they are also in {file}")
    if result.stopped_by_budget:
        note(f"stopped at --max-bytes {max_bytes}: the next document did not fit")
    data, adapter = shlex.quote(str(out)), shlex.quote(f"{out}-adapter")
    if result.purpose == "scoring":
        note(f"Next: langlift score --base {DEFAULT_BASE} --text {data}")
    else:
        note(f"Next: langlift adapt {found} --base {DEFAULT_BASE} --data {data} --out {adapter}")
