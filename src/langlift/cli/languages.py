"""``langlift languages``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from langlift.bundled_models import BUNDLED
from langlift.cli.options import argument, command, note, print_table, show

if TYPE_CHECKING:
    from langlift.language_facts import LanguageFacts

BASES = {
    "google-bert/bert-base-multilingual-cased": "mBERT",
    "FacebookAI/xlm-roberta-base": "XLM-R",
    **{name: name for name in BUNDLED},
}
SOURCES = {"conceptnet": "ConceptNet", "glotcc": "GlotCC", "cc100": "CC-100", "wikipedia": "Wikipedia"}


@command("language_facts:LanguageTable")
def languages(
    *, query: str | None = argument("LANG", "One language: mlt, mlt_Latn, mt or Maltese. [default: all]", None)
) -> Iterator[Any]:
    """Show facts about languages: codes, data sizes, and which base models were pre-trained on them."""
    from langlift.language_facts import LanguageTable, facts_of, known_languages
    from langlift.languages import find_language

    entries = known_languages() if query is None else [facts_of(find_language(query))]
    yield LanguageTable(entries)
    if query is not None:
        _show(entries[0])
        code = entries[0].language
        note(f"Next: langlift corpus build {code} --source file:YOUR_TEXT.txt --out data/{code}")
        return
    print_table(
        "Languages in the shipped tables",
        ("code", "name", "639-1", "FLORES-200", "GlotCC MB", "seen by"),
        [
            (
                facts.language,
                facts.name,
                facts.iso639_1 or "",
                "yes" if facts.flores_200 else "",
                f"{facts.sizes['glotcc'].megabytes:>9,.0f}" if "glotcc" in facts.sizes else "",
                ", ".join(BASES[base] for base in BASES if facts.seen_by.get(base)),
            )
            for facts in entries
        ],
        numbers=False,
    )
    note(f"{len(entries)} languages. All other ISO 639-3 codes work in every command, too.")


def _show(facts: "LanguageFacts") -> None:
    units = {"conceptnet": "sentences"}
    sizes = [
        (SOURCES[source], f"{size.megabytes:,.1f} MB, {size.documents:,} {units.get(source, 'documents')}")
        for source, size in facts.sizes.items()
    ]
    resources = None if facts.joshi_class is None else f"{facts.joshi_class} of 0 (least) to 5 (most)"
    show(
        f"{facts.name} ({facts.language})",
        [
            ("ISO 639-1 code", facts.iso639_1 or "none"),
            ("script", facts.script),
            ("FLORES-200 and SIB-200", "yes" if facts.flores_200 else "no"),
            ("resource class (Joshi et al. 2020)", resources),
            *(sizes or [("data sizes", "not in the shipped table (30 languages)")]),
            *(
                (f"pre-training of {short}", "has it" if facts.seen_by[base] else "does not list it")
                for base, short in BASES.items()
                if base in facts.seen_by
            ),
        ],
    )
