"""What public data sets call a language: their configurations, labels and wiki codes."""

from langlift.languages import INDIVIDUAL, Language

PAIRS = (("est", "ekk"), ("zho", "cmn"), ("nep", "npi"), ("grn", "gug"))
SAME = {one: other for pair in PAIRS for one, other in (pair, pair[::-1])}
"""Codes that data sets use for one another."""

SCRIPTS = {"Hans": "Hani", "Hant": "Hani", "Kore": "Hang", "Hang": "Kore", "Aran": "Arab"}
"""Scripts that data sets use for one another."""

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
}
"""ISO 639-3 -> the wiki's subdomain, where it is not simply the shortest code."""


def language_codes(language: Language) -> list[str]:
    """The ISO 639-3 codes that data sets know a language by, the likeliest first."""
    macros = [macro for macro, individual in INDIVIDUAL.items() if individual == language.code]
    codes = [language.code, *macros]
    return list(dict.fromkeys(codes + [SAME[code] for code in codes if code in SAME]))


def names_with_script(language: Language, separator: str) -> list[str]:
    """``mlt_Latn`` and what else data sets may call it, the likeliest first."""
    scripts = [language.script] + ([SCRIPTS[language.script]] if language.script in SCRIPTS else [])
    return [f"{code}{separator}{script}" for script in scripts for code in language_codes(language)]


def wiki_code(language: Language) -> str:
    """The subdomain of the language's Wikipedia, such as ``mt``."""
    from langcodes import standardize_tag

    macros = [macro for macro, individual in INDIVIDUAL.items() if individual == language.code]
    if language.code in WIKI_CODES:
        return WIKI_CODES[language.code]
    return min((standardize_tag(code) for code in (language.code, *macros)), key=len)
