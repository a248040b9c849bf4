"""``langlift graph``."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from langlift.bundled_models import DEFAULT_BASE
from langlift.cli.options import NewFolder, Settings, ShowDropped, argument, command, flag, note, option, show
from langlift.errors import InputError
from langlift.graph.recipe import GraphRecipe

if TYPE_CHECKING:
    from langlift.graph.building import GraphResult, GraphsResult

SHOWN = 20
"""Number of relations or languages shown in a table."""

ALL = "all"
"""LANG for every language that the sources have. (The language with that code is all_Mlym.)"""

app = typer.Typer(help="Knowledge graphs as training text.", rich_markup_mode=None)


@app.command("build")
@command("graph.building:GraphResult", GraphRecipe)
def build(
    *,
    language: str = argument(
        "LANG", "Language: mlt, mlt_Latn, mt or Maltese; several (mlt,swh) or all: one folder each."
    ),
    sources: list[str] = option(
        "--source KIND:PATH",
        "conceptnet:PATH (the official dump, plain or gzip), triples:PATH (.tsv, .csv, .jsonl) or cldr; "
        "can be repeated.",
    ),
    out: NewFolder,
    columns: str | None = option(
        "--columns NAMES", "Column names of triple sources: head=subj,relation=pred,tail=obj,weight=score.", None
    ),
    predicates: Path | None = option(
        "--predicates FILE", "CSV file (relation,predicate) with predicates for further relations.", None
    ),
    templates: str | None = option(
        "--templates FILE", "Sentence templates in the language: YAML file, or shipped (mlt_Latn).", None
    ),
    either_end: bool = flag("--either-end", "ConceptNet: also keep edges that only end in the language."),
    strict: bool = flag("--strict", "Stop at the first damaged row."),
    threads: int | None = option("--threads", "Number of threads. [default: one per core, up to 4]", None, min=1),
    show_dropped: ShowDropped = False,
    settings: Settings,
) -> Iterator[Any]:
    """Turn ConceptNet or other triples into sentences with argument spans, split by concept."""
    from langlift.config.loading import resolve
    from langlift.data_folder import excerpt, read_dropped
    from langlift.graph.building import build_graph, build_graphs
    from langlift.languages import find_language

    if either_end:
        settings["flags"]["ends"] = "either"
    recipe = resolve(GraphRecipe, "graph", **settings)
    common: dict[str, Any] = {"strict": strict, "predicates": predicates, "threads": threads}
    if language == ALL or "," in language:
        for name, given in {"columns": columns, "templates": templates, "show-dropped": show_dropped}.items():
            if given:
                raise InputError(f"--{name} is for a graph of one language", "leave it out, or name one language")
        names = None if language == ALL else [find_language(name) for name in language.split(",") if name.strip()]
        result: GraphResult | GraphsResult = build_graphs(names, sources, out, recipe, **common)
    else:
        result = build_graph(
            find_language(language), sources, out, recipe, columns=columns, templates=templates, **common
        )
    if show_dropped:
        for row in read_dropped(out):
            triple = " | ".join(excerpt(row[part]) for part in ("head", "relation", "tail"))
            note(f"{row['reason'].replace('_', ' ')}: {triple}  ({row['source']}:{row['line']})")
    if result.damaged:
        first = result.damaged_rows[0]
        note(
            f"{result.damaged:,} damaged rows skipped, the first: {first['source']}:{first['line']}: "
            f"{first['reason']} (more in {Path(result.data) / 'manifest.json'})"
        )
    yield result
    _show(result, out)


def _show(result: "GraphResult | GraphsResult", out: Path) -> None:
    """The counts of one graph with the command that comes next, or of the graphs of many languages."""
    from langlift.graph.building import GraphsResult
    from langlift.languages import find_language

    rows: list[tuple[str, str | None]] = []
    if isinstance(result, GraphsResult):
        for what, names in (
            ("Already built", result.already_built),
            ("Too little for a graph", list(result.too_small)),
            ("Codes of no known language", [f"{code} ({n:,})" for code, n in result.unknown_codes.items()]),
        ):
            if names:
                others = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
                note(f"{what}: {', '.join(names[:SHOWN])}{others}")
        title, counted = f"{len(result.languages):,} languages", "languages"
        kept, counts, dropped = result.sentences, result.languages, dict[str, int]()
    else:
        language = find_language(result.language)
        title, counted = f"{language.name} ({language})", "relations"
        kept, counts, dropped = result.kept, result.relations, result.dropped
        unknown = ", ".join(f"{name} {count:,}" for name, count in list(result.unknown_relations.items())[:5])
        rows = [
            ("unknown relations", unknown or None),
            ("corrupted", ", ".join(f"{how} {count:,}" for how, count in result.noise.items()) or None),
            ("tails in other languages", f"{result.foreign_tails:,}"),
            ("splits", ", ".join(f"{split} {part['sentences']:,}" for split, part in result.splits.items())),
        ]
    more = len(counts) - SHOWN
    show(
        f"{title}: triples as sentences",
        [
            ("rows read", f"{result.rows:,}"),
            *((f"  dropped: {reason.replace('_', ' ')}", f"{count:,}") for reason, count in dropped.items()),
            ("  damaged", f"{result.damaged:,}" if result.damaged else None),
            ("sentences kept", f"{kept:,}"),
            *((f"  {name}", f"{count:,}") for name, count in list(counts.items())[:SHOWN]),
            (f"  and {more:,} more {counted}", "" if more > 0 else None),
            *rows,
            ("speed, memory", f"{result.rows_per_second:,.0f} rows/s, {result.peak_memory_bytes >> 20:,} MiB"),
            ("written to", result.data),
        ],
    )
    if not isinstance(result, GraphsResult):
        data, adapter = shlex.quote(str(out)), shlex.quote(f"{out}-adapter")
        note(f"Next: langlift adapt {language} --base {DEFAULT_BASE} --data {data} --out {adapter}")
