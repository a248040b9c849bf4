"""Which language is meant: ``mlt``, ``mlt_Latn``, ``mt`` and ``Maltese`` are one language."""

from dataclasses import dataclass
from functools import cache

from langlift.errors import InputError

INDIVIDUAL = {
    "ara": "arb",
    "aze": "azj",
    "fas": "pes",
    "kur": "kmr",
    "lav": "lvs",
    "mlg": "plt",
    "mon": "khk",
    "msa": "zsm",
    "nor": "nob",
    "orm": "gaz",
    "pus": "pbt",
    "que": "quy",
    "sqi": "als",
    "swa": "swh",
    "uzb": "uzn",
    "yid": "ydd",
}
"""Codes of macrolanguages -> the individual language that FLORES-200 and other public data sets mean."""


@dataclass(frozen=True)
class Language:
    """A language in one script: ISO 639-3 code, ISO 15924 script, English name."""

    code: str
    script: str
    name: str

    def __str__(self) -> str:
        return f"{self.code}_{self.script}"


def find_language(text: str) -> Language:
    """The language that a code, a code with a script, or an English name stands for.

    Accepts ISO 639-1 and 639-3 codes (``mt``, ``mlt``), FLORES-200's and BCP 47's forms with a script
    (``mlt_Latn``, ``mt-Latn``) and English names (``Maltese``), in any case. Without a script, the one
    the language is mostly written in is taken (Unicode's likely subtags).

    Raises:
        InputError: nothing is called so, or several languages are; the choices are listed.
    """
    wanted = text.strip()
    by_code = _by_code(wanted)
    if by_code is not None:
        return by_code
    names = _english_names()
    folded = wanted.casefold()
    exact = [code for code, name in names.items() if name.casefold() == folded]
    if len(exact) == 1:
        return _language(exact[0], None)
    words = [code for code, name in names.items() if folded and folded in name.casefold().split()]
    if words:
        choices = ", ".join(sorted(f"{_language(code, None)} ({names[code]})" for code in words)[:12])
        raise InputError(f"'{text}' may be several languages: {choices}", "give one of these codes")
    raise InputError(
        f"unknown language '{text}'",
        "give an ISO 639 code (mlt, mt), a code with a script (mlt_Latn) or an English name (Maltese)",
    )


def _by_code(text: str) -> Language | None:
    """The language of a code of two or three letters, perhaps with a script."""
    from langcodes import tag_is_valid

    code, _, script = text.replace("-", "_").partition("_")
    if not (2 <= len(code) <= 3 and code.isascii() and code.isalpha()):
        return None
    tag = f"{code}-{script}" if script else code
    if (script and len(script) != 4) or not tag_is_valid(tag):
        return None
    return _language(code.lower(), script.title() or None)


def _language(code: str, script: str | None) -> Language:
    from langcodes import Language as Tag
    from langcodes import standardize_tag

    tag = Tag.get(code, normalize=False)
    alpha3 = tag.to_alpha3()
    individual = INDIVIDUAL.get(alpha3, alpha3)
    # CLDR names some languages under the code of their macrolanguage.
    names, short = _english_names(), standardize_tag(code)
    name = names.get(short) or names.get(standardize_tag(code, macro=True)) or individual
    return Language(individual, script or tag.maximize().script or "Zyyy", name)


@cache
def _english_names() -> dict[str, str]:
    """CLDR's English names of languages, by shortest code."""
    from babel import Locale

    return {code: name for code, name in Locale("en").languages.items() if "_" not in code}
