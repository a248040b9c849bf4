"""Triples with named columns: TSV, CSV or JSON lines, plain or gzip.

TSV is split at tabs and not quoted; CSV may be quoted. Each line is a record; in JSON lines, an object.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from langlift.errors import InputError
from langlift.graph.conceptnet import LONGEST_TERM, clean_term, number
from langlift.graph.source_files import Edge, SourceFile, Tally

COLUMNS = ("head", "relation", "tail")
WEIGHT = "weight"
KINDS = {".tsv": "tsv", ".tab": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def column_names(text: str | None) -> dict[str, str]:
    """``head=subj,tail=obj`` -> the column names of head, relation, tail and weight in the source.

    InputError if the text is not of that form.
    """
    names = {name: name for name in (*COLUMNS, WEIGHT)}
    for part in text.split(",") if text else ():
        name, _, given = (piece.strip() for piece in part.partition("="))
        if name not in names or not given:
            raise InputError(
                f"--columns {text}: '{part}' is not of the form name=column",
                "for example --columns head=subj,relation=pred,tail=obj,weight=score",
            )
        names[name] = given
    return names


def read_triples(file: SourceFile, language: str, names: Mapping[str, str], tally: Tally) -> Iterator[Edge]:
    """Yield the edges of a file of triples; heads and tails are in ``language``.

    ``names`` gives the column names; the column of weights is optional (default: every weight is 1). InputError if
    the file type is unknown, a column is missing, or a row is damaged and the tally strict.
    """
    suffixes = [suffix.lower() for suffix in file.path.suffixes if suffix.lower() != ".gz"]
    kind = KINDS.get(suffixes[-1] if suffixes else "")
    if kind is None:
        raise InputError(
            f"{file.path}: unknown file type", f"the name must end in {', '.join(KINDS)} (or that and .gz)"
        )
    header: Sequence[str] | None = None
    for line, text in _lines(file):
        try:
            row: Mapping[str, object]
            if kind == "jsonl":
                if not text.strip():
                    continue
                row = _object(text)
            else:
                fields = text.split("\t") if kind == "tsv" else _csv_fields(text)
                if not any(field.strip() for field in fields):
                    continue
                if header is None:
                    header = _header(file.path, line, fields, names)
                    continue
                if len(fields) != len(header):
                    raise ValueError(f"{len(fields)} column{'s' * (len(fields) != 1)}, not {len(header)}")
                row = dict(zip(header, fields, strict=True))
            edge = _edge(line, row, language, names)
        except ValueError as error:
            tally.damage(file.path, line, str(error))
            continue
        tally.rows += 1
        yield edge
    if header is None and kind != "jsonl":
        raise InputError(f"{file.path}: the file is empty", f"its first line must name {', '.join(COLUMNS)}")


def _lines(file: SourceFile) -> Iterator[tuple[int, str]]:
    """Number and text of each line; invalid UTF-8 becomes lone surrogates."""
    for first, block in file.blocks():
        for line, row in enumerate(block[:-1].split(b"\n"), start=first):
            yield line, row.decode("utf-8", errors="surrogateescape").removesuffix("\r")


def _object(text: str) -> dict[str, object]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("not valid JSON") from None
    if not isinstance(row, dict):
        raise ValueError(f"a JSON object is needed, not {type(row).__name__}")
    return row


def _csv_fields(text: str) -> list[str]:
    """The fields of one line; an unclosed quote must not swallow the following lines."""
    if text.count('"') % 2:
        raise ValueError("not valid CSV (a quote is not closed on this line)")
    try:
        return next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise ValueError(f"not valid CSV ({error})") from None


def _edge(line: int, row: Mapping[str, object], language: str, names: Mapping[str, str]) -> Edge:
    head, tail = (clean_term(_text(row, names[name]).replace("_", " ")) for name in ("head", "tail"))
    relation = clean_term(_text(row, names["relation"])).removeprefix("/r/")
    for name, term in (("head", head), ("relation", relation), ("tail", tail)):
        if not term:
            raise ValueError(f"{names[name]} is empty")
        if len(term) > LONGEST_TERM:
            raise ValueError(f"{names[name]} has {len(term)} characters")
    weight = number(1.0 if row.get(names[WEIGHT]) in (None, "") else row[names[WEIGHT]])
    return Edge(line, head, language, relation, tail, language, weight)


def _text(row: Mapping[str, object], column: str) -> str:
    if column not in row:
        raise ValueError(f"no field '{column}' (found: {', '.join(row)[:80]})")
    text = row[column]
    if not isinstance(text, str):
        raise ValueError(f"{column} is not text")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{column} is not valid UTF-8")
    if "\0" in text:
        raise ValueError(f"a NUL byte in {column}")
    if "\n" in text.strip():
        raise ValueError(f"a line end inside {column}")
    return text


def _header(path: Path, line: int, row: Sequence[str], names: Mapping[str, str]) -> list[str]:
    header = [field.strip() for field in row]
    missing = [names[name] for name in COLUMNS if names[name] not in header]
    if missing:
        found = ", ".join(header).encode("utf-8", "replace").decode("utf-8")[:200]
        if header[0].startswith("/a/["):
            raise InputError(f"{path}:{line}: a row of ConceptNet's dump", f"--source conceptnet:{path}")
        raise InputError(
            f"{path}:{line}: no column '{missing[0]}' (found: {found})",
            "the first line must name the columns; for other names --columns head=...,relation=...,tail=...",
        )
    twice = next((name for name in names.values() if header.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path}:{line}: two columns are called '{twice}'", "rename one of them")
    return header
