"""``langlift corpus``."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from langlift.bundled_models import DEFAULT_BASE
from langlift.cli.options import Language, NewFolder, ShowDropped, command, note, option, print_table

app = typer.Typer(help="Text to train on or to score.", rich_markup_mode=None)


@app.command("build")
@command("corpus.building:CorpusResult")
def build(
    *,
    language: Language,
    sources: list[str] = option(
        "--source SOURCE",
        "glotcc, wikipedia[:DATE], flores (for scoring), hub:ID[:CONFIG][@SPLIT][#FIELD] or file:GLOB; "
        "glotcc=FOLDER reads a downloaded copy; can be repeated.",
    ),
    out: NewFolder,
    max_bytes: str = option("--max-bytes SIZE", "Maximum size of the text: 500KB, 1.5GB, 1GiB.", "1GB"),
    exclude: list[Path] | None = option(
        "--exclude PATH", "Evaluation sets (files or folders) whose sentences are removed; can be repeated.", None
    ),
    language_model: Path | None = option(
        "--language-model FILE",
        "Drop documents in other languages, by this fastText model, such as GlotLID's.",
        None,
    ),
    seed: int = option("--seed", "Seed of the split and of the sample of dropped text.", 0, min=0),
    show_dropped: ShowDropped = False,
) -> Iterator[Any]:
    """Clean, filter and split text in the language from public data sets or your own files."""
    from langlift.corpus.building import build_corpus
    from langlift.corpus.byte_size import parse_bytes
    from langlift.data_folder import excerpt, read_dropped
    from langlift.languages import find_language

    resolved = find_language(language)
    result = build_corpus(
        resolved,
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
    yield result
    steps = {
        "read": result.read,
        **{f"- {name.replace('_', ' ')}": dropped for name, dropped in result.filters.items()},
        "kept": result.kept,
        **{f"  {name}.jsonl": split | {"bytes": None} for name, split in result.splits.items()},  # as JSON, more
    }
    units = ("documents", "lines", "bytes")
    rows = [(name, *(f"{n[unit]:,}" if n.get(unit) else "" for unit in units)) for name, n in steps.items()]
    print_table(f"{resolved.name} ({resolved}): text from {', '.join(sources)}", ("step", *units), rows)
    note(
        f"{result.lines_changed:,} lines were cleaned; {result.megabytes_per_second:.1f} MB/s, "
        f"peak memory {result.peak_memory_bytes / 2**20:,.0f} MiB; all counts are in {out / 'manifest.json'}"
    )
    if (read := result.evaluation) is not None:
        note(f"leak check: {read['sentences']:,} evaluation sentences (files read: {len(read['files']):,})")
        if read["skipped"]:
            named = ", ".join(read["skipped_files"][:5])
            more = f" and {read['skipped'] - 5:,} more" if read["skipped"] > 5 else ""
            note(f"leak check: files of other types not read: {named}{more}")
    for file, lines in result.leaks.items():
        note(f"{lines:,} lines dropped because they are also in {file}")
    if result.stopped_by_budget:
        note(f"stopped at --max-bytes {max_bytes}: the next document did not fit")
    data, adapter = shlex.quote(str(out)), shlex.quote(f"{out}-adapter")
    if result.purpose == "scoring":
        note(f"Next: langlift score --base {DEFAULT_BASE} --text {data}")
    else:
        note(f"Next: langlift adapt {resolved} --base {DEFAULT_BASE} --data {data} --out {adapter}")
