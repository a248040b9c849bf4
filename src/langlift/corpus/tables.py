"""Rows and fields of tables: TSV, quoted or not, and CSV."""

import csv
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from langlift.corpus.text_files import iterate_lines, json_lines
from langlift.errors import InputError

DELIMITERS = ",;\t"
TEXT_FILES = (".tsv", ".csv", ".jsonl")


def fields_of(line: str, quoted: bool, expected: int = 0, delimiter: str = "\t") -> list[str]:
    """The fields of a line, read as CSV if ``quoted`` and every quotation closes on the line.

    A quotation mark that is left open is text. If only one of the readings has ``expected`` fields, it is the one.
    """
    plain = line.split(delimiter)
    if not quoted or '"' not in line:
        return plain
    try:
        [fields] = csv.reader([line], delimiter=delimiter, strict=True)
    except csv.Error:
        return plain
    return plain if len(fields) != expected == len(plain) else fields


def table_rows(source: Path, lines: Iterable[str], quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table, with the number of the first line of each; blank lines are skipped, except the first.

    In a ``.csv`` file, rows may span lines, and the header shows which of ``DELIMITERS`` separates fields. In
    others (TSV) each line is a row, whose fields may be ``quoted``. InputError if a quotation in CSV is damaged or
    never closed.
    """
    lines = (line.rstrip("\r\n") for line in chain(lines, [""]))
    if source.suffix.lower() != ".csv":
        width = 0
        for number, line in enumerate(lines, start=1):
            if line or number == 1:
                row = fields_of(line, quoted, width)
                width = width or len(row)
                yield number, row
        return
    header = next(lines)
    delimiter = max(DELIMITERS, key=header.count)
    rows = (f"{line}\n" for line in chain([header], lines))
    reader, number = csv.reader(rows, delimiter=delimiter, strict=True), 1
    try:
        for row in reader:
            if row or number == 1:
                yield number, row
            number = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{source}:{number}: not valid CSV ({error})", "fix the quotation marks") from None


def read_table(
    source: Path,
    lines: Iterable[str],
    needed: Collection[str],
    quoted: bool,
    hint: str,
    added: Collection[str] | None = None,
) -> Iterator[tuple[str, list[str], list[str]]]:
    """The rows of a TSV or CSV file with a header: (location for errors, header, fields) of each.

    They are those of ``table_rows``. InputError if a ``needed`` column is missing (with ``hint``) or empty in a
    row, or a row has more or fewer fields than the header; with ``added`` also if a column is one of these or
    occurs twice.
    """
    header: list[str] = []
    for number, row in table_rows(source, lines, quoted):
        place = f"{source}:{number}"
        if number == 1:
            header = row
            for column in needed:
                if column not in header:
                    found = ", ".join(header) or "nothing"
                    raise InputError(f"{place}: no column '{column}' (found: {found})", hint)
            repeated = [name for name in header if header.count(name) > 1 or name in added] if added else []
            if repeated:
                raise InputError(
                    f"{place}: the column '{repeated[0]}' occurs twice or is added by predictions",
                    "rename or drop it",
                )
        else:
            if len(row) != len(header):
                raise InputError(f"{place}: {len(row)} fields, the header has {len(header)}", "fix the row")
            for column in needed:
                if not row[header.index(column)].strip():
                    raise InputError(f"{place}: empty {column}", "fill it in, or delete the row")
            yield place, header, row


def table_files(builder: Any) -> dict[str, list[Path]]:
    """The files by split of a ``DatasetBuilder``, if all are ``TEXT_FILES`` on this machine; else none."""
    files = {str(split): list(map(Path, some)) for split, some in (builder.config.data_files or {}).items()}
    ours = all(path.suffix.lower() in TEXT_FILES and path.is_file() for some in files.values() for path in some)
    return files if ours and getattr(builder.config, "sep", None) in (None, ",", "\t") else {}


def rows_of_files(paths: Iterable[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of ``TEXT_FILES`` by field, with their locations; InputError if a row is damaged."""
    for path in paths:
        if path.suffix.lower() == ".jsonl":
            for number, row in json_lines(path):
                if not isinstance(row, dict):
                    raise InputError(f"{path}:{number}: not an object", 'one {"text": ...} per line')
                yield f"{path}:{number}", row
        else:
            for place, header, fields in read_table(path, iterate_lines(path), (), True, ""):
                yield place, dict(zip(header, fields, strict=True))
