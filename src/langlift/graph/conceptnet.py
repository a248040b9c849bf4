"""ConceptNet's language codes, its nodes, and the edges in the rows of its dump.

A row has five columns between tabs: URI, relation (``/r/IsA``), start, end (``/c/<language>/<term>[/...]``) and
JSON metadata.
"""

import json
import re
from collections.abc import Sequence
from functools import cache
from unicodedata import normalize

from langlift.errors import InputError, printable
from langlift.graph.source_files import Edge
from langlift.languages import INDIVIDUAL, Language, find_language

MERGED = {
    "ary": "ar",
    "arz": "ar",
    "bs": "sh",
    "ciw": "oj",
    "ckb": "ku",
    "ffm": "ff",
    "hr": "sh",
    "id": "ms",
    "mvf": "mn",
    "nb": "no",
    "nn": "no",
    "sgs": "lt",
    "sr": "sh",
    "tgl": "fil",
    "vro": "et",
    "xal": "xwo",
    "yue": "zh",
}
"""Languages that ConceptNet 5.7 stores under another code (its languages.py, LCODE_ALIASES)."""

LONGEST_TERM = 1000
LONGEST_LICENCE = 200
NOT_STATED = "not stated"
EXTERNAL = "ExternalURL"
LANGUAGE_CODE = re.compile(r"[a-z]{2,3}(?:[-_][a-z0-9]+)*", re.IGNORECASE)


@cache
def conceptnet_codes(language: Language) -> tuple[str, ...]:
    """The codes that a language may have in ConceptNet, the most likely first.

    ``nob_Latn`` -> ``no``, ``nb``, ``nob``. The code under which ConceptNet merges several languages comes before
    the language's own, and codes of two letters before those of three.
    """
    from langcodes import standardize_tag

    macrolanguage = next((macro for macro, own in INDIVIDUAL.items() if own == language.code), language.code)
    own = {
        standardize_tag(language.code),
        standardize_tag(language.code, macro=True),
        standardize_tag(macrolanguage),
    }
    if language.code == "tgl":
        own = {"tl"}
    own |= {language.code}
    merged = {MERGED[code] for code in own if code in MERGED}
    return tuple(sorted(merged)) + tuple(sorted(own - merged, key=lambda code: (len(code), code)))


def language_of_code(code: str) -> Language | None:
    """The language of a code in the dump, or None.

    For a code under which ConceptNet merges several languages, it is the one that public data sets mean by it:
    ``no`` is Bokmål, ``sh`` Serbian, ``ms`` Malay, ``ku`` Kurmanji.
    """
    try:
        return find_language(code) if LANGUAGE_CODE.fullmatch(code) else None
    except InputError:
        return None


def concept(uri: str, term: str = "third_segment") -> tuple[str, str]:
    """The language and the term of a node: ``/c/mt/dar_il-baħar/n`` -> ``("mt", "dar il-baħar")``.

    With ``term="last_segment"`` the last segment (``n``) is the term, as in the published converter. ValueError if
    the URI is not a concept's.
    """
    parts = uri.split("/")
    if len(parts) < 3 or parts[0] or parts[1] != "c":
        raise ValueError(f"'{uri[:80]}' is not a concept (/c/<language>/<term>)")
    if not LANGUAGE_CODE.fullmatch(parts[2]):
        raise ValueError(f"'{uri[:80]}' has no language code")
    text = "" if len(parts) < 4 else clean_term(parts[3 if term == "third_segment" else -1].replace("_", " "))
    if not text:
        raise ValueError(f"'{uri[:80]}' has an empty term")
    if len(text) > LONGEST_TERM:
        raise ValueError(f"a term of {len(text)} characters")
    return parts[2], text


def clean_term(text: str) -> str:
    """The text in Unicode NFC, with runs of white space reduced to one space and stripped."""
    return " ".join(normalize("NFC", text).split())


def edge_of_row(line: int, fields: Sequence[str], term: str = "third_segment") -> Edge:
    """The edge in a row's columns, with unchanged nodes if it is to a web address; ValueError if damaged."""
    relation = fields[1].removeprefix("/r/")
    if relation == EXTERNAL and fields[2].startswith("/c/") and (language := fields[2].split("/", 3)[2]):
        return Edge(line, fields[2], language, relation, fields[3], "", 1.0)  # even if the node is damaged
    if not fields[0].startswith("/a/"):
        raise ValueError(f"'{fields[0][:80]}' is not an assertion (/a/[...])")
    if relation == fields[1] or not relation:
        raise ValueError(f"'{fields[1][:80]}' is not a relation (/r/<name>)")
    head_language, head = concept(fields[2], term)
    tail_language, tail = concept(fields[3], term)
    try:
        metadata = json.loads(fields[4])
    except (ValueError, RecursionError):
        raise ValueError("the metadata is not valid JSON") from None
    if not isinstance(metadata, dict):
        raise ValueError("the metadata is not a JSON object")
    weight = number(metadata.get("weight", 1.0))
    licence = printable(str(metadata.get("license", NOT_STATED)))
    return Edge(line, head, head_language, relation, tail, tail_language, weight, licence[:LONGEST_LICENCE])


def number(value: object) -> float:
    """A finite weight; ValueError otherwise."""
    try:
        weight = float("nan") if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        weight = float("nan")
    if not abs(weight) < float("inf"):
        raise ValueError(f"the weight {str(value)[:40]!r} is not a number")
    return weight
