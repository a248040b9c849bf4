"""Finding a language by its code or name: ``mlt``, ``mlt_Latn``, ``mt`` and ``Maltese`` are the same one."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from unicodedata import normalize

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

SHARED = {"gaelic": {"ga", "gd", "gv"}}
"""Names that several languages go by, where the data below knows it of fewer."""
LISTED = 12

SCRIPTS = {"kor": "Hang", "prs": "Arab", "azb": "Arab"}
"""Scripts in data sets, where CLDR differs or has none."""


@dataclass(frozen=True)
class Language:
    """A language in one script: ISO 639-3 code, ISO 15924 script, English name.

    The name may depend on how it was asked for (``no``: Norwegian, ``nob``: Norwegian Bokmål), the rest does not.
    """

    code: str
    script: str
    name: str = field(compare=False)

    def __str__(self) -> str:
        return f"{self.code}_{self.script}"


def find_language(text: str) -> Language:
    """The language of a code, a code with a script, or a name.

    Accepts ISO 639-1 and 639-3 codes (``mt``, ``mlt``), FLORES-200's and BCP 47's forms with a script
    (``mlt_Latn``, ``mt-Latn``), and names in English, the language itself or another (``Maltese``, ``Malti``), in
    any case. Without a script, the most likely one is used (Unicode's likely subtags).

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
    plain, names = _plain(wanted), _names()
    codes = names.any.get(plain, set()) | SHARED.get(plain, set())
    words = {code for name, found in names.english.items() if plain and plain in name.split() for code in found}
    named, all_named = ({_language(code, None) for code in sorted(found)} for found in (codes, codes | words))
    if len(all_named) == 1 and named:
        return named.pop()
    if all_named:
        raise _several(text, all_named)
    near = get_close_matches(plain, names.known, n=3, cutoff=0.7)
    meant = dict.fromkeys(_language(code, None) for name in near for code in sorted(names.known[name]))
    similar = " or ".join(f"{one.name} ({one})" for one in meant)
    raise InputError(
        f"unknown language '{text}'",
        (f"did you mean {similar}? Otherwise " if similar else "")
        + "give an ISO 639 code (mlt, mt), a code with a script (mlt_Latn) or a name (Maltese)",
    )


def own_codes(language: Language) -> list[str]:
    """The ISO 639-3 codes of a language: its own, and those of macrolanguages that are used for it."""
    return [language.code, *(macro for macro, individual in INDIVIDUAL.items() if individual == language.code)]


def _several(text: str, languages: Iterable[Language]) -> InputError:
    choices = sorted(f"{language} ({language.name})" for language in languages)
    more = f" and {len(choices) - LISTED} more" if len(choices) > LISTED else ""
    return InputError(
        f"'{text}' may be several languages: {', '.join(choices[:LISTED])}{more}", "use one of these codes"
    )


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
    name = next((names[key] for key in keys if key in names), None) or _rare_name(individual)
    likely = (Tag.get(key, normalize=False).maximize().script for key in keys if key in names)
    return Language(individual, script or SCRIPTS.get(individual) or next(likely, None) or "Latn", name)


@cache
def _english_names() -> dict[str, str]:
    """English names of languages (CLDR's and ``NAMES``), by shortest code."""
    from babel import Locale

    return NAMES | {code: name for code, name in Locale("en").languages.items() if "_" not in code}


def _rare_name(code: str) -> str:
    """The English name of a language that is not in CLDR; the code if it has none."""
    from language_data.name_data import CODE_TO_NAMES

    return str(CODE_TO_NAMES.get(code, {}).get("en", code))


@dataclass(frozen=True)
class _Names:
    """Plain names -> codes: in ``any`` language, in ``english``, and in English or the language itself."""

    any: dict[str, set[str]]
    english: dict[str, set[str]]
    known: dict[str, set[str]]


@cache
def _names() -> _Names:
    """Names from CLDR and Wiktionary (language_data), and from IANA's registry, which has every ISO 639-3 code."""
    from language_data.name_data import CODE_TO_NAMES
    from language_data.registry_parser import parse_registry

    found = _Names({}, {}, {})

    def add(name: str, code: str, *tables: dict[str, set[str]]) -> None:
        for table in tables:
            table.setdefault(_plain(name), set()).add(code)

    for code, names in CODE_TO_NAMES.items():
        if 2 <= len(code) <= 3 and code.islower():  # it also has scripts and regions
            for language, name in names.items():
                own = [found.known] if language in ("en", code) else []
                add(name, code, found.any, *own, *([found.english] if language == "en" else []))
    for row in parse_registry():
        if row["Type"] == "language" and row.get("Scope") not in ("special", "collection"):
            for name in row["Description"]:
                add(name, row["Subtag"], found.any, found.english, found.known)
    return found


def _plain(name: str) -> str:
    """A name without case, accents and brackets, for comparison."""
    bare = re.sub("[\u0300-\u036f]", "", normalize("NFKD", name.casefold()))
    return " ".join(re.sub(r"[(),-]", " ", bare).replace("’", "'").split())
