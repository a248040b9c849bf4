"""``langlift graph``."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langlift.bundled_models import DEFAULT_BASE
from langlift.cli.options import Assignments, Config, Debug, Json, Preset, note, show

if TYPE_CHECKING:
    from langlift.graph.building import GraphResult
    from langlift.graph.building_many import GraphsResult

SHOWN = 20
"""So many relations or languages stand in the table."""

ALL = "all"
"""LANG for every language that the sources have. (The language of that code is all_Mlym.)"""

app = typer.Typer(help="Knowledge graphs as training text.", rich_markup_mode=None)


@app.callback()
def graph() -> None:
    """Knowledge graphs as training text."""


@app.command("build")
def build(
    language: Annotated[
        str,
        typer.Argument(
            metavar="LANG",
            help="Language: mlt, mlt_Latn, mt or Maltese; several (mlt,swh) or all: a folder for each.",
        ),
    ],
    sources: Annotated[
        list[str],
        typer.Option(
            "--source",
            metavar="KIND:PATH",
            help="conceptnet:PATH (the official dump, plain or gzip), triples:PATH (.tsv, .csv, .jsonl) or cldr; "
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
    templates: Annotated[
        str | None,
        typer.Option(
            "--templates",
            metavar="FILE",
            help="Sentences in the language: a YAML file, or shipped ones (mlt_Latn).",
        ),
    ] = None,
    noise: Annotated[
        float | None, typer.Option("--noise", help="Share of the triples to corrupt, 0 to 1, to study robustness.")
    ] = None,
    either_end: Annotated[
        bool, typer.Option("--either-end", help="ConceptNet: also keep edges that only end in the language.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first damaged row.")] = False,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the split and of the noise.")] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads (default: as many as cores, at most 4).")
    ] = None,
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
    from langlift.errors import InputError
    from langlift.graph.building import build_graph
    from langlift.graph.building_many import build_graphs
    from langlift.languages import find_language

    recipe = resolve(
        GraphRecipe,
        "graph",
        preset=preset,
        config=config,
        assignments=assignments or (),
        flags={"ends": "either" if either_end else None, "seed": seed, "noise": noise},
    )
    if language == ALL or "," in language:
        for given, option in (
            (columns, "--columns"),
            (templates, "--templates"),
            (show_dropped, "--show-dropped"),
        ):
            if given:
                raise InputError(f"{option} is for a graph of one language", "leave it out, or name one language")
        names = None if language == ALL else [find_language(name) for name in language.split(",") if name.strip()]
        show_many(
            build_graphs(names, sources, out, recipe, strict=strict, predicates=predicates, threads=threads),
            as_json,
        )
        return
    found = find_language(language)
    result = build_graph(
        found,
        sources,
        out,
        recipe,
        strict=strict,
        columns=columns,
        predicates=predicates,
        templates=templates,
        threads=threads,
    )
    if show_dropped:
        for row in read_dropped(out):
            triple = " | ".join(excerpt(row[part]) for part in ("head", "relation", "tail"))
            note(f"{row['reason'].replace('_', ' ')}: {triple}  ({row['source']}:{row['line']})")
    note_damage(result)
    unknown = ", ".join(f"{name} {count:,}" for name, count in list(result.unknown_relations.items())[:5])
    noisy = ", ".join(f"{how} {count:,}" for how, count in result.noise.items())
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
            *((("corrupted", noisy),) if noisy else ()),
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
        note(f"Next: langlift adapt {found} --base {DEFAULT_BASE} --data {data} --out {adapter}")


def note_damage(result: "GraphResult | GraphsResult") -> None:
    """Say how many rows were damaged, and where the first is."""
    if result.damaged:
        first = result.damaged_rows[0]
        note(
            f"{result.damaged:,} damaged rows left out, the first: {first['source']}:{first['line']}: "
            f"{first['reason']} (more in {Path(result.data) / 'manifest.json'})"
        )


def show_many(result: "GraphsResult", as_json: bool) -> None:
    """What a build of several languages made."""
    note_damage(result)
    for what, names in (
        ("Already built", result.already_built),
        ("Too little for a graph", list(result.too_small)),
        ("Codes of no known language", [f"{code} ({count:,})" for code, count in result.unknown_codes.items()]),
    ):
        if names:
            others = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
            note(f"{what}: {', '.join(names[:SHOWN])}{others}")
    shown = list(result.languages.items())[:SHOWN]
    more = len(result.languages) - len(shown)
    show(
        result,
        as_json,
        f"{len(result.languages):,} languages: triples as sentences",
        [
            ("rows read", f"{result.rows:,}"),
            ("sentences kept", f"{result.sentences:,}"),
            *((f"  {name}", f"{count:,}") for name, count in shown),
            *(((f"  and {more:,} more languages", ""),) if more else ()),
            (
                "speed, peak memory",
                f"{result.rows_per_second:,.0f} rows/s, {result.peak_memory_bytes >> 20:,} MiB",
            ),
            ("written to", result.data),
        ],
    )
