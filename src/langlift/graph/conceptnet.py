"""ConceptNet's dump of assertions: one pass, in memory that does not grow with the file.

A row has five columns between tabs: URI, relation (``/r/IsA``), start, end (``/c/<language>/<term>[/...]``) and
JSON metadata. Every row's form is checked (columns, UTF-8, NUL); the content of the rows of one language.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from unicodedata import normalize

from langlift.graph.source_files import SourceFile
from langlift.graph.tally import Edge, Tally, count_name
from langlift.languages import INDIVIDUAL, Language

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
"""Languages that ConceptNet 5.7 keeps under the code of another (its languages.py, LCODE_ALIASES)."""

LONGEST_TERM = 1000
EXTERNAL = "ExternalURL"
NOT_SEPARATORS = bytes(byte for byte in range(256) if byte not in b"\t\n\0")
ROW_SEPARATORS = b"\t\t\t\t\n"
LANGUAGE_CODE = re.compile(r"[a-z]{2,3}(?:[-_][a-z0-9]+)*", re.IGNORECASE)


@cache
def conceptnet_codes(language: Language) -> tuple[str, ...]:
    """The codes that may stand for a language in ConceptNet, the likeliest first.

    ``nob_Latn`` -> ``no``, ``nb``, ``nob``. A code of two letters stands before one of three, and the code under
    which ConceptNet merges several languages before the language's own.
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


def concept(uri: str, term: str = "third_segment") -> tuple[str, str]:
    """The language and the term of a node: ``/c/mt/dar_il-baħar/n`` -> ``("mt", "dar il-baħar")``.

    With ``term="last_segment"`` the last segment is taken for the term (``n``), as the published converter did.

    Raises:
        ValueError: the URI is no concept's; the message says why.
    """
    parts = uri.split("/")
    if len(parts) < 3 or parts[0] or parts[1] != "c":
        raise ValueError(f"'{uri[:80]}' is no concept (/c/<language>/<term>)")
    if not LANGUAGE_CODE.fullmatch(parts[2]):
        raise ValueError(f"'{uri[:80]}' names no language")
    text = "" if len(parts) < 4 else clean_term(parts[3 if term == "third_segment" else -1].replace("_", " "))
    if not text:
        raise ValueError(f"'{uri[:80]}' has an empty term")
    if len(text) > LONGEST_TERM:
        raise ValueError(f"a term of {len(text)} characters")
    return parts[2], text


def clean_term(text: str) -> str:
    """The text in Unicode NFC, with each run of white space as one space, and none at its ends."""
    return " ".join(normalize("NFC", text).split())


def read_conceptnet(
    file: SourceFile, codes: tuple[str, ...], tally: Tally, either_end: bool = False, term: str = "third_segment"
) -> Iterator[Edge]:
    """Yield the edges whose start (or, with ``either_end``, start or end) is in a language; count the rest.

    ``codes`` are the language's in ConceptNet. Edges to addresses on the web (``ExternalURL``) are dropped.

    Raises:
        InputError: the file cannot be read to its end; or a row is damaged and the tally strict.
    """
    wanted, selected, damaged, rows = frozenset(codes), 0, tally.damaged, tally.rows
    for line, row in _rows_naming(file, codes, tally):
        fields = row.decode("utf-8").rstrip("\r").split("\t")
        starts, ends = (_language_of(node) in wanted for node in fields[2:4])
        if not (starts or (either_end and ends)):
            continue
        selected += 1
        relation = fields[1].removeprefix("/r/")
        if relation == EXTERNAL:
            tally.drop("external_url", file.path, Edge(line, fields[2], "", relation, fields[3], "", 1.0))
            continue
        try:
            edge = _edge(line, fields, relation, term, tally)
        except ValueError as error:
            tally.damage(file.path, line, str(error))
            selected -= 1
            continue
        yield edge
    # What is neither damaged nor selected is about other languages.
    tally.dropped["other_language"] += tally.rows - rows - (tally.damaged - damaged) - selected


def _edge(line: int, fields: list[str], relation: str, term: str, tally: Tally) -> Edge:
    """The edge of a row, ValueError saying what is wrong with it."""
    if not fields[0].startswith("/a/"):
        raise ValueError(f"'{fields[0][:80]}' is no assertion (/a/[...])")
    if relation == fields[1] or not relation:
        raise ValueError(f"'{fields[1][:80]}' is no relation (/r/<name>)")
    head_language, head = concept(fields[2], term)
    tail_language, tail = concept(fields[3], term)
    try:
        metadata = json.loads(fields[4])
    except (ValueError, RecursionError):
        raise ValueError("the metadata is not valid JSON") from None
    if not isinstance(metadata, dict):
        raise ValueError("the metadata is no JSON object")
    weight = number(metadata.get("weight", 1.0))
    count_name(tally.licences, str(metadata.get("license", "not stated"))[:200])
    return Edge(line, head, head_language, relation, tail, tail_language, weight)


def number(value: object) -> float:
    """A finite weight; ValueError otherwise."""
    try:
        weight = float("nan") if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        weight = float("nan")
    if not abs(weight) < float("inf"):
        raise ValueError(f"the weight {str(value)[:40]!r} is no number")
    return weight


def _language_of(node: str) -> str:
    """The language that a node names, even when the rest of it is damaged."""
    return node.split("/", 3)[2] if node.startswith("/c/") else ""


def _rows_naming(file: SourceFile, codes: tuple[str, ...], tally: Tally) -> Iterator[tuple[int, bytes]]:
    """Yield number and bytes of each well-formed row with a node in one of the languages; count all rows.

    A block of rows is checked as a whole (tabs and line ends must alternate as they should), and only the rows
    that name the language are cut out of it; a block that fails is gone through row by row.
    """
    names = re.compile(rb"\t/c/(?:" + b"|".join(re.escape(code).encode() for code in codes) + rb")(?=[/\t\r\n])")
    for first, block in file.blocks():
        if not _is_regular(block):
            yield from _row_by_row(file, first, block, names, tally)
            continue
        tally.rows += block.count(b"\n")
        line, position = first, 0
        for match in names.finditer(block):
            if match.start() < position:
                continue
            begin = block.rfind(b"\n", position, match.start()) + 1 or position
            end = block.index(b"\n", match.end())
            line += block.count(b"\n", position, begin)
            yield line, block[begin:end]
            line, position = line + 1, end + 1


def _is_regular(block: bytes) -> bool:
    """Whether every line of a block has five columns, valid UTF-8 and no NUL."""
    separators = block.translate(None, NOT_SEPARATORS)
    return separators == ROW_SEPARATORS * (len(separators) // 5) and _is_utf8(block)


def _is_utf8(data: bytes) -> bool:
    try:
        return data.isascii() or bool(data.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def _row_by_row(
    file: SourceFile, first: int, block: bytes, names: re.Pattern[bytes], tally: Tally
) -> Iterator[tuple[int, bytes]]:
    for line, row in enumerate(block[:-1].split(b"\n"), start=first):
        if not row.strip(b"\r"):
            continue
        tally.rows += 1
        columns = row.count(b"\t") + 1
        if b"\0" in row:
            tally.damage(file.path, line, "a NUL byte")
        elif columns != 5:
            tally.damage(file.path, line, f"{columns} column{'s' * (columns > 1)}, not 5")
        elif not _is_utf8(row):
            tally.damage(file.path, line, "not valid UTF-8")
        elif names.search(row + b"\n"):
            yield line, row
