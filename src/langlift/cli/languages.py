"""``langlift languages``."""

from dataclasses import asdict
from typing import Annotated

import typer

from langlift.bundled_models import BUNDLED
from langlift.cli.options import Debug, Json, note, print_json


def languages(
    query: Annotated[
        str | None, typer.Argument(metavar="LANG", help="One language: mlt, mlt_Latn, mt or Maltese (none: all).")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """What is known of a language: codes, published data sizes, and which base models saw it."""
    from langlift.language_facts import LanguageTable, facts_of, known_languages
    from langlift.languages import find_language

    found = known_languages() if query is None else [facts_of(find_language(query))]
    if as_json:
        print_json(asdict(LanguageTable(found)))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if query is None:
        table = Table(title="Languages that the shipped tables know", title_justify="left")
        for heading in ("code", "name", "639-1", "FLORES-200", "GlotCC MB", "seen by"):
            table.add_column(heading, justify="right" if heading == "GlotCC MB" else "left")
        for facts in found:
            size = facts.sizes.get("glotcc")
            table.add_row(
                facts.language,
                facts.name,
                facts.iso639_1 or "",
                "yes" if facts.flores_200 else "",
                f"{size.megabytes:,.0f}" if size else "",
                ", ".join(SHORT[base] for base in SHORT if facts.seen_by.get(base)),
            )
        console.print(table)
        note(f"{len(found)} languages. Any other ISO 639-3 code works in every command, too.")
        return
    facts = found[0]
    table = Table(title=f"{facts.name} ({facts.language})", title_justify="left", show_header=False)
    table.add_row("ISO 639-1 code", facts.iso639_1 or "none")
    table.add_row("script", facts.script)
    table.add_row("FLORES-200 and SIB-200", "yes" if facts.flores_200 else "no")
    if facts.joshi_class is not None:
        table.add_row("resource class (Joshi et al. 2020)", f"{facts.joshi_class} of 0 (least) to 5 (most)")
    for source, size in facts.sizes.items():
        unit = "sentences" if source == "conceptnet" else "documents"
        table.add_row(SOURCE_NAMES[source], f"{size.megabytes:,.1f} MB, {size.documents:,} {unit}")
    if not facts.sizes:
        table.add_row("data sizes", "not in the shipped table (30 languages)")
    for base, short in SHORT.items():
        if base in facts.seen_by:
            table.add_row(f"pre-training of {short}", "has it" if facts.seen_by[base] else "does not list it")
    console.print(table)


SHORT = {
    "google-bert/bert-base-multilingual-cased": "mBERT",
    "FacebookAI/xlm-roberta-base": "XLM-R",
    **{name: name for name in BUNDLED},
}
SOURCE_NAMES = {"conceptnet": "ConceptNet", "glotcc": "GlotCC", "cc100": "CC-100", "wikipedia": "Wikipedia"}
