"""``langlift graph``."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from langlift.cli.options import Assignments, Config, Debug, Json, Preset, note, show

SHOWN = 20
"""So many relations stand in the table."""

app = typer.Typer(help="Knowledge graphs as training text.", rich_markup_mode=None)


@app.callback()
def graph() -> None:
    """Knowledge graphs as training text."""


@app.command("build")
def build(
    language: Annotated[str, typer.Argument(metavar="LANG", help="Language: mlt, mlt_Latn, mt or Maltese.")],
    sources: Annotated[
        list[str],
        typer.Option(
            "--source",
            metavar="KIND:PATH",
            help="conceptnet:PATH (the official dump, plain or gzip) or triples:PATH (.tsv, .csv, .jsonl); "
            "may be repeated.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Data folder to write: new or empty.")],
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="NAMES",
            help="What triple sources call their columns: head=subj,relation=pred,tail=obj,weight=score.",
        ),
    ] = None,
    predicates: Annotated[
        Path | None,
        typer.Option(
            "--predicates", metavar="FILE", help="A CSV file (relation,predicate) with words for more relations."
        ),
    ] = None,
    either_end: Annotated[
        bool, typer.Option("--either-end", help="ConceptNet: also keep edges that only end in the language.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first damaged row.")] = False,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the split.")] = None,
    show_dropped: Annotated[
        bool, typer.Option("--show-dropped", help="Print a sample of what was left out.")
    ] = False,
    preset: Preset = None,
    config: Config = None,
    assignments: Assignments = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Turn ConceptNet or other triples into sentences with argument spans, split by concept."""
    from langlift.config.loading import resolve
    from langlift.config.recipes import GraphRecipe
    from langlift.data_folder import excerpt, read_dropped
    from langlift.graph.building import build_graph
    from langlift.languages import find_language

    recipe = resolve(
        GraphRecipe,
        "graph",
        preset=preset,
        config=config,
        assignments=assignments or (),
        flags={"ends": "either" if either_end else None, "seed": seed},
    )
    found = find_language(language)
    result = build_graph(found, sources, out, recipe, strict=strict, columns=columns, predicates=predicates)
    if show_dropped:
        for row in read_dropped(out):
            triple = " | ".join(excerpt(row[part]) for part in ("head", "relation", "tail"))
            note(f"{row['reason'].replace('_', ' ')}: {triple}  ({row['source']}:{row['line']})")
    if result.damaged:
        first = result.damaged_rows[0]
        note(
            f"{result.damaged:,} damaged rows left out, the first: {first['source']}:{first['line']}: "
            f"{first['reason']} (more in {out / 'manifest.json'})"
        )
    unknown = ", ".join(f"{name} {count:,}" for name, count in list(result.unknown_relations.items())[:5])
    shown = list(result.relations.items())[:SHOWN]
    splits = ", ".join(f"{split} {part['sentences']:,}" for split, part in result.splits.items())
    show(
        result,
        as_json,
        f"{found.name} ({found}): triples as sentences",
        [
            ("rows read", f"{result.rows:,}"),
            *(
                (f"  dropped: {reason.replace('_', ' ')}", f"{count:,}")
                for reason, count in result.dropped.items()
            ),
            *((("  damaged", f"{result.damaged:,}"),) if result.damaged else ()),
            ("sentences kept", f"{result.kept:,}"),
            *((f"  {relation}", f"{count:,}") for relation, count in shown),
            *(
                ((f"  and {len(result.relations) - SHOWN:,} more relations", ""),)
                if len(shown) < len(result.relations)
                else ()
            ),
            *((("unknown relations", unknown),) if unknown else ()),
            ("tails in other languages", f"{result.foreign_tails:,}"),
            ("splits", splits),
            (
                "speed, peak memory",
                f"{result.rows_per_second:,.0f} rows/s, {result.peak_memory_bytes >> 20:,} MiB",
            ),
            ("written to", result.data),
        ],
    )
    if not as_json:
        data, adapter = shlex.quote(str(out)), shlex.quote(f"{out}-adapter")
        note(f"Next: langlift adapt {found} --base langlift-nano --data {data} --out {adapter}")
