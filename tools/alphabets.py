"""Write src/langlift/facts/alphabets.tsv from the package gflanguages, which has to be installed."""

from collections import defaultdict
from contextlib import suppress
from unicodedata import normalize

from gflanguages import LoadLanguages

from langlift.errors import InputError
from langlift.language_facts import FACTS
from langlift.languages import find_language

SCRIPTS = ("Latn", "Cyrl", "Arab")
"""Those that many languages share; of others the lists are not complete (Tigrinya has 35 of its syllables)."""

OMITTED = ("la_Latn", "mos_Latn")
"""Known to be incomplete: Latin without macrons, Mooré without nasal vowels."""

alphabets: defaultdict[str, set[str]] = defaultdict(set)
for name, language in sorted(LoadLanguages().items()):
    if (
        name in OMITTED
        or name.count("_") != 1
        or language.script not in SCRIPTS
        or not language.exemplar_chars.base
    ):
        continue
    exemplars = language.exemplar_chars
    text = normalize("NFC", f"{exemplars.base} {exemplars.auxiliary} {exemplars.marks}".lower())
    letters = {character for character in text if not (character.isascii() or character == "◌")}
    with suppress(InputError):  # three codes that are not in ISO 639-3
        alphabets[str(find_language(name))] |= letters
rows = "".join(f"{code}\t{''.join(sorted(letters))}\n" for code, letters in sorted(alphabets.items()))
(FACTS / "alphabets.tsv").write_text(rows, encoding="utf-8")
