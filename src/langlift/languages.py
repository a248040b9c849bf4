"""Which language is meant: ``mlt``, ``mlt_Latn``, ``mt`` and ``Maltese`` are one language."""

import re
from dataclasses import dataclass
from functools import cache

from langlift.errors import InputError

INDIVIDUAL = {
    "ara": "arb",
    "aym": "ayr",
    "aze": "azj",
    "cmn": "zho",
    "din": "dik",
    "ekk": "est",
    "fas": "pes",
    "ful": "fuv",
    "kau": "knc",
    "kur": "kmr",
    "lav": "lvs",
    "mlg": "plt",
    "mon": "khk",
    "msa": "zsm",
    "nep": "npi",
    "nor": "nob",
    "ori": "ory",
    "orm": "gaz",
    "pus": "pbt",
    "que": "quy",
    "sqi": "als",
    "swa": "swh",
    "uzb": "uzn",
    "yid": "ydd",
}
"""Codes, mostly of macrolanguages -> the language that FLORES-200 and other public data sets mean by them."""

FLORES_CODE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")
"""The form of FLORES-200's codes, by which data in one language is named."""

NAMES = {
    "acm": "Mesopotamian Arabic",
    "acq": "Ta'izzi-Adeni Arabic",
    "ajp": "South Levantine Arabic",
    "apc": "North Levantine Arabic",
    "azb": "South Azerbaijani",
    "cjk": "Chokwe",
    "fuv": "Nigerian Fulfulde",
    "hne": "Chhattisgarhi",
    "kbp": "Kabiyè",
    "prs": "Dari",
    "taq": "Tamasheq",
}
"""English names of languages of FLORES-200 that CLDR has none for."""

SCRIPTS = {"kor": "Hang", "prs": "Arab", "azb": "Arab"}
"""Scripts as data sets name them, where CLDR says otherwise or nothing."""


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
    folded = wanted.casefold()
    exact = [_language(code, None) for code, name in _english_names().items() if name.casefold() == folded]
    if by_code is not None and (wanted == folded or by_code in exact or not exact):
        return by_code
    if by_code is not None:
        raise _several(text, [by_code, *exact])  # "Ga" is a language, and "ga" the code of Irish
    if len(exact) == 1:
        return exact[0]
    words = [code for code, name in _english_names().items() if folded and folded in name.casefold().split()]
    if words:
        raise _several(text, [_language(code, None) for code in words])
    raise InputError(
        f"unknown language '{text}'",
        "give an ISO 639 code (mlt, mt), a code with a script (mlt_Latn) or an English name (Maltese)",
    )


def _several(text: str, languages: list[Language]) -> InputError:
    choices = ", ".join(sorted(f"{language} ({language.name})" for language in languages)[:12])
    return InputError(f"'{text}' may be several languages: {choices}", "give one of these codes")


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

    # CLDR knows names and likely scripts by the shortest code, for some languages the macrolanguage's.
    short = standardize_tag(code)
    # CLDR takes Tagalog for Filipino and Dari for a kind of Persian; data sets know them by their own codes.
    own = {"tl": "tgl", "tgl": "tgl", "prs": "prs"}.get(code)
    alpha3 = own or Tag.get(short, normalize=False).to_alpha3()
    individual = INDIVIDUAL.get(alpha3, alpha3)
    macro = next((m for m, i in INDIVIDUAL.items() if i == individual), individual)
    keys = (
        short,
        individual,
        standardize_tag(individual),
        standardize_tag(macro),
        standardize_tag(code, macro=True),
    )
    names = _english_names()
    name = next((names[key] for key in keys if key in names), individual)
    likely = (Tag.get(key, normalize=False).maximize().script for key in keys if key in names)
    return Language(individual, script or SCRIPTS.get(individual) or next(likely, None) or "Latn", name)


@cache
def _english_names() -> dict[str, str]:
    """English names of languages (CLDR's and ``NAMES``), by shortest code."""
    from babel import Locale

    return NAMES | {code: name for code, name in Locale("en").languages.items() if "_" not in code}
