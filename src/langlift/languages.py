"""Finding a language by its code or name: ``mlt``, ``mlt_Latn``, ``mt`` and ``Maltese`` are the same one."""

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
"""Codes, mostly of macrolanguages -> the language that FLORES-200 and other public data sets use them for."""

FLORES_CODE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")
"""The format of FLORES-200's codes."""

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
"""English names of languages of FLORES-200 that are not in CLDR."""

SCRIPTS = {"kor": "Hang", "prs": "Arab", "azb": "Arab"}
"""Scripts in data sets, where CLDR differs or has none."""


@dataclass(frozen=True)
class Language:
    """A language in one script: ISO 639-3 code, ISO 15924 script, English name."""

    code: str
    script: str
    name: str

    def __str__(self) -> str:
        return f"{self.code}_{self.script}"


def find_language(text: str) -> Language:
    """The language of a code, a code with a script, or an English name.

    Accepts ISO 639-1 and 639-3 codes (``mt``, ``mlt``), FLORES-200's and BCP 47's forms with a script
    (``mlt_Latn``, ``mt-Latn``) and English names (``Maltese``), in any case. Without a script, the most
    likely one is used (Unicode's likely subtags).

    Raises:
        InputError: there is no such language, or there are several, which are listed.
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


def own_codes(language: Language) -> list[str]:
    """The ISO 639-3 codes of a language: its own, and those of macrolanguages that are used for it."""
    return [language.code, *(macro for macro, individual in INDIVIDUAL.items() if individual == language.code)]


def _several(text: str, languages: list[Language]) -> InputError:
    choices = ", ".join(sorted(f"{language} ({language.name})" for language in languages)[:12])
    return InputError(f"'{text}' may be several languages: {choices}", "use one of these codes")


def _by_code(text: str) -> Language | None:
    """The language of a code of two or three letters, with or without a script."""
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

    # CLDR's names and likely scripts are by the shortest code, for some languages that of the macrolanguage.
    short = standardize_tag(code)
    # CLDR treats Tagalog as Filipino and Dari as Persian; data sets have codes for them.
    own = {"tl": "tgl", "tgl": "tgl", "prs": "prs"}.get(code)
    alpha3 = own or Tag.get(short, normalize=False).to_alpha3()
    individual = INDIVIDUAL.get(alpha3, alpha3)
    macro = next((m for m, i in INDIVIDUAL.items() if i == individual), individual)
    keys = (short, individual, *map(standardize_tag, (individual, macro)), standardize_tag(code, macro=True))
    names = _english_names()
    name = next((names[key] for key in keys if key in names), individual)
    likely = (Tag.get(key, normalize=False).maximize().script for key in keys if key in names)
    return Language(individual, script or SCRIPTS.get(individual) or next(likely, None) or "Latn", name)


@cache
def _english_names() -> dict[str, str]:
    """English names of languages (CLDR's and ``NAMES``), by shortest code."""
    from babel import Locale

    return NAMES | {code: name for code, name in Locale("en").languages.items() if "_" not in code}
