"""Triples with named columns: TSV, CSV or JSON lines, plain or gzip.

TSV is split at tabs, nothing is quoted; CSV is read with quotes. A line is a record; in JSON lines, an object.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from langlift.errors import InputError
from langlift.graph.conceptnet import LONGEST_TERM, clean_term, number
from langlift.graph.source_files import SourceFile
from langlift.graph.tally import Edge, Tally

COLUMNS = ("head", "relation", "tail")
WEIGHT = "weight"
KINDS = {".tsv": "tsv", ".tab": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def column_names(text: str | None) -> dict[str, str]:
    """``head=subj,tail=obj`` -> what each of head, relation, tail and weight is called in the source.

    Raises:
        InputError: the text is not of that form.
    """
    names = {name: name for name in (*COLUMNS, WEIGHT)}
    for part in (text or "").split(",") if text else ():
        name, _, given = (piece.strip() for piece in part.partition("="))
        if name not in names or not given:
            raise InputError(
                f"--columns {text}: '{part}' is not of the form name=column",
                "for example --columns head=subj,relation=pred,tail=obj,weight=score",
            )
        names[name] = given
    return names


def read_triples(file: SourceFile, language: str, names: Mapping[str, str], tally: Tally) -> Iterator[Edge]:
    """Yield the edges of a file of triples; heads and tails are taken to be in ``language``.

    ``names`` says what the columns are called; the weight's may be missing (then every weight is 1).

    Raises:
        InputError: the file's kind is unknown; a column is missing; the file cannot be read to its end; or a row
            is damaged and the tally strict.
    """
    suffixes = [suffix.lower() for suffix in file.path.suffixes if suffix.lower() != ".gz"]
    kind = KINDS.get(suffixes[-1] if suffixes else "")
    if kind is None:
        raise InputError(
            f"{file.path}: the kind of file is unknown",
            f"the name must end in {', '.join(KINDS)} (or that and .gz)",
        )
    rows = _objects(file, tally) if kind == "jsonl" else _table(file, kind, names, tally)
    for line, row in rows:
        try:
            head, tail = (clean_term(_text(row, names[name]).replace("_", " ")) for name in ("head", "tail"))
            relation = clean_term(_text(row, names["relation"])).removeprefix("/r/")
            for name, term in (("head", head), ("relation", relation), ("tail", tail)):
                if not term:
                    raise ValueError(f"{names[name]} is empty")
                if len(term) > LONGEST_TERM:
                    raise ValueError(f"{names[name]} has {len(term)} characters")
            weight = number(1.0 if row.get(names[WEIGHT]) in (None, "") else row[names[WEIGHT]])
        except ValueError as error:
            tally.damage(file.path, line, str(error))
            continue
        yield Edge(line, head, language, relation, tail, language, weight)


def _text(row: Mapping[str, object], column: str) -> str:
    """The text of a field, ValueError saying what is wrong with it."""
    if column not in row:
        raise ValueError(f"no field '{column}' (found: {', '.join(row)[:80]})")
    text = row[column]
    if not isinstance(text, str):
        raise ValueError(f"{column} is no text")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{column} is not valid UTF-8")
    if "\0" in text:
        raise ValueError(f"a NUL byte in {column}")
    if "\n" in text.strip():
        raise ValueError(f"a line end inside {column}")
    return text


def _lines(file: SourceFile) -> Iterator[tuple[int, str]]:
    """Number and text of each line without its end; invalid UTF-8 becomes lone surrogates."""
    for first, block in file.blocks():
        for line, row in enumerate(block[:-1].split(b"\n"), start=first):
            yield line, row.decode("utf-8", errors="surrogateescape").removesuffix("\r")


def _objects(file: SourceFile, tally: Tally) -> Iterator[tuple[int, Mapping[str, object]]]:
    for line, text in _lines(file):
        if not text.strip():
            continue
        tally.rows += 1
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):
            tally.damage(file.path, line, "not valid JSON")
            continue
        if isinstance(row, dict):
            yield line, row
        else:
            tally.damage(file.path, line, f"a JSON object is needed, not {type(row).__name__}")


def _table(
    file: SourceFile, kind: str, names: Mapping[str, str], tally: Tally
) -> Iterator[tuple[int, Mapping[str, object]]]:
    rows = _csv_rows(file, tally) if kind == "csv" else ((line, text.split("\t")) for line, text in _lines(file))
    header: Sequence[str] | None = None
    for line, row in rows:
        if not any(field.strip() for field in row):
            continue
        if header is None:
            header = _header(file.path, line, row, names)
            continue
        tally.rows += 1
        if len(row) != len(header):
            tally.damage(file.path, line, f"{len(row)} column{'s' * (len(row) != 1)}, not {len(header)}")
            continue
        yield line, dict(zip(header, row, strict=True))
    if header is None:
        raise InputError(f"{file.path}: the file is empty", f"its first line must name {', '.join(COLUMNS)}")


def _csv_rows(file: SourceFile, tally: Tally) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of each line: a quote that is not closed must not swallow the lines after it."""
    for line, text in _lines(file):
        try:
            if text.count('"') % 2:
                raise csv.Error("a quote is not closed on this line")
            yield line, next(csv.reader([text], strict=True), [])
        except csv.Error as error:
            tally.rows += 1
            tally.damage(file.path, line, f"not valid CSV ({error})")


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
