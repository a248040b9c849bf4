"""The names of languages in public data sets: configurations, labels and wiki codes."""

from langlift.languages import Language, own_codes

PAIRS = (("est", "ekk"), ("zho", "cmn"), ("nep", "npi"), ("grn", "gug"))
SYNONYMS = dict(PAIRS) | {other: one for one, other in PAIRS}
"""Codes that data sets use interchangeably."""

SCRIPT_SYNONYMS = {"Hans": "Hani", "Hant": "Hani", "Kore": "Hang", "Hang": "Kore", "Aran": "Arab"}
"""Scripts that data sets use interchangeably."""

WIKI_CODES = {
    "nob": "no",
    "yue": "zh-yue",
    "nan": "zh-min-nan",
    "lzh": "zh-classical",
    "gsw": "als",
    "sgs": "bat-smg",
    "vro": "fiu-vro",
    "rup": "roa-rup",
    "cbk": "cbk-zam",
    "fuv": "ff",
    "kmr": "ku",
    "fil": "tl",
    "tgl": "tl",
    "cmn": "zh",
    "gug": "gn",
    "prs": "fa",
    "dik": "din",
    "bho": "bh",
    "egl": "eml",
}
"""ISO 639-3 -> the wiki's subdomain, where it is not the shortest code."""


def language_codes(language: Language) -> list[str]:
    """The ISO 639-3 codes of a language in data sets, most likely first."""
    codes = own_codes(language)
    return list(dict.fromkeys(codes + [SYNONYMS[code] for code in codes if code in SYNONYMS]))


def names_with_script(language: Language, separator: str) -> list[str]:
    """``mlt_Latn`` and its other names in data sets, most likely first."""
    scripts = dict.fromkeys((language.script, SCRIPT_SYNONYMS.get(language.script, language.script)))
    return [f"{code}{separator}{script}" for script in scripts for code in language_codes(language)]


def wiki_code(language: Language) -> str:
    """The subdomain of the language's Wikipedia, such as ``mt``."""
    from langcodes import standardize_tag

    shortest = min(map(standardize_tag, own_codes(language)), key=len)
    return WIKI_CODES.get(language.code, shortest)
