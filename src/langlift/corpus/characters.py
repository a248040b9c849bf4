"""The kind of each code point, as tables for looking up whole texts."""

from functools import cache

import numpy as np
import regex

from langlift.errors import InputError

KINDS = 8
LETTER, OTHER_LETTER, COMMON_LETTER, DIGIT, MARK, SPACE, SYMBOL, DAMAGED = range(KINDS)
"""A letter of the language's script, of another, of all (such as modifier letters); and the rest."""

LIMIT = 0x40000
"""There are no letters, marks or digits from this code point on, except variation selectors."""

SCRIPT_PARTS = {
    "Aran": ("Arab",),
    "Cyrs": ("Cyrl",),
    "Geok": ("Geor",),
    "Hang": ("Hang", "Hani"),
    "Hans": ("Hani",),
    "Hant": ("Hani",),
    "Jpan": ("Hani", "Hira", "Kana"),
    "Hrkt": ("Hira", "Kana"),
    "Kore": ("Hang", "Hani"),
    "Latf": ("Latn",),
    "Latg": ("Latn",),
    "Syre": ("Syrc",),
    "Syrj": ("Syrc",),
    "Syrn": ("Syrc",),
}
"""ISO 15924 codes that are not Unicode scripts -> the Unicode scripts they consist of."""

CHARACTERS_PER_WORD = {
    **dict.fromkeys(("Hani", "Hans", "Hant", "Jpan", "Hira", "Kana", "Hrkt", "Yiii"), 2),
    **dict.fromkeys(("Thai", "Laoo", "Tale", "Talu"), 4),
    **dict.fromkeys(("Khmr", "Mymr", "Tibt", "Lana", "Java", "Bali"), 5),
}
"""Scripts without spaces between words -> the number of letters, digits and marks that count as one word."""


def characters_per_word(script: str) -> int:
    """The number of characters that count as a word where the script has no spaces; 0 where it has."""
    return CHARACTERS_PER_WORD.get(script, 0)


@cache
def kinds(script: str) -> np.ndarray:
    """The kind of every code point for a language in ``script`` (uint8, ``LIMIT`` + 1); InputError if unknown."""
    table = np.full(LIMIT + 1, SYMBOL, dtype=np.uint8)
    try:
        own = "".join(rf"\p{{Script={part}}}" for part in SCRIPT_PARTS.get(script, (script,)))
        patterns = {
            OTHER_LETTER: r"\p{L}",
            COMMON_LETTER: r"[\p{L}&&[\p{Script=Zyyy}\p{Script=Zinh}]]",
            LETTER: rf"[\p{{L}}&&[{own}]]",
            DIGIT: r"\p{N}",
            MARK: r"\p{M}",
            SPACE: "[ \n\u1361]",  # between words, including the Ethiopic wordspace
            DAMAGED: "\ufffd",
        }
        for kind, pattern in patterns.items():
            for run in regex.finditer(f"(?V1){pattern}+", _all_characters()):
                table[run.start() : run.end()] = kind
    except regex.error:
        raise InputError(
            f"unknown script '{script}'", "give the language with an ISO 15924 script, such as mlt_Latn"
        ) from None
    return table


@cache
def folded() -> np.ndarray:
    """Each code point up to ``LIMIT`` without its case (uint32); 0 for all but letters, digits and marks."""
    table = np.zeros(LIMIT + 1, dtype=np.uint32)
    for run in regex.finditer(r"[\p{L}\p{N}\p{M}]+", _all_characters()):
        for character in run.group():
            forms = (character.casefold(), character.lower(), character)
            table[ord(character)] = ord(next(form for form in forms if len(form) == 1))
    return table


@cache
def _all_characters() -> str:
    """Every character below ``LIMIT`` at the index of its code point, with NUL in place of surrogates."""
    return "".join("\0" if 0xD800 <= code <= 0xDFFF else chr(code) for code in range(LIMIT))
