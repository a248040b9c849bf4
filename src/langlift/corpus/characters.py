"""What kind of character each code point is, as tables to look whole texts up in."""

from functools import cache

import numpy as np
import regex

from langlift.errors import InputError

LETTER, OTHER_LETTER, COMMON_LETTER, DIGIT, MARK, SPACE, SYMBOL, DAMAGED = range(8)
"""Kinds: a letter of the language's script, of another one, of all (such as modifier letters); then the rest."""

LIMIT = 0x40000
"""No letter, mark or digit lies at or above this code point but variation selectors."""

SEPARATORS = " \n\u1361"
"""What stands between words: also the Ethiopic wordspace."""

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
"""ISO 15924 codes that are no Unicode scripts -> the Unicode scripts they consist of."""

CHARACTERS_PER_WORD = {
    "Hani": 2,
    "Hans": 2,
    "Hant": 2,
    "Jpan": 2,
    "Hira": 2,
    "Kana": 2,
    "Hrkt": 2,
    "Yiii": 2,
    "Thai": 4,
    "Laoo": 4,
    "Khmr": 5,
    "Mymr": 5,
    "Tibt": 5,
    "Lana": 5,
    "Tale": 4,
    "Talu": 4,
    "Java": 5,
    "Bali": 5,
}
"""Scripts written without spaces between words: so many letters, digits and marks count as one word."""


def characters_per_word(script: str) -> int:
    """How many characters stand for a word where the script has no spaces; 0 where words are spaced."""
    return CHARACTERS_PER_WORD.get(script, 0)


@cache
def kinds(script: str) -> np.ndarray:
    """The kind of every code point up to ``LIMIT`` (uint8, ``LIMIT`` + 1), for a language in ``script``.

    Raises:
        InputError: Unicode knows no such script.
    """
    table = np.full(LIMIT + 1, SYMBOL, dtype=np.uint8)
    try:
        own = "".join(rf"\p{{Script={part}}}" for part in SCRIPT_PARTS.get(script, (script,)))
        patterns = {
            OTHER_LETTER: r"\p{L}",
            COMMON_LETTER: r"[\p{L}&&[\p{Script=Zyyy}\p{Script=Zinh}]]",
            LETTER: rf"[\p{{L}}&&[{own}]]",
            DIGIT: r"\p{N}",
            MARK: r"\p{M}",
            SPACE: f"[{SEPARATORS}]",
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
    """Every character below ``LIMIT`` at its own place; surrogates left blank."""
    return "".join("\0" if 0xD800 <= code <= 0xDFFF else chr(code) for code in range(LIMIT))
