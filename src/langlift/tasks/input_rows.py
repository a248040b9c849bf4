"""Rows of text files: plain lines, TSV, or one word per line; read one at a time, so files can be of any
length.
"""

import csv
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path

import regex

from langlift.errors import InputError
from langlift.tasks.learner import Row

STANDARD = Path("-")
"""Standard input or output."""
TEXT = "text"
ADDED = ("predicted", "probability", "probabilities")
"""Columns added by predictions."""
ADDED_TO_WORDS = ("words", "tags", "probabilities", "entities", "heads", "relations")
"""Columns added by predictions of tasks that label words."""
WORD = regex.compile(r"[\w\p{M}](?:\S*[\w\p{M}])?|\S")
"""A word in running text: a run without spaces, without the punctuation at its edges."""


class NeverQuoted(csv.excel_tab):
    """TSV in which a quotation mark is text."""

    quoting = csv.QUOTE_NONE


def read_table(
    source: Path,
    lines: Iterable[str],
    needed: Collection[str],
    quoted: bool,
    hint: str,
    added: Collection[str] | None = None,
) -> Iterator[tuple[str, list[str], list[str]]]:
    """The rows of a TSV file with a header: (location for errors, header, fields) of each.

    ``lines`` include their line ends; blank ones are skipped. With ``quoted``, fields may be quoted as in CSV.

    Raises:
        InputError: a ``needed`` column is missing (with ``hint``) or empty in a row, or a row is damaged; with
            ``added`` also if a column is one of these or occurs twice.
    """
    reader = csv.reader(lines, "excel-tab" if quoted else NeverQuoted, strict=True)
    try:
        header = next(reader, [])
        for column in needed:
            if column not in header:
                found = ", ".join(header) or "nothing"
                raise InputError(f"{source}:1: no column '{column}' (found: {found})", hint)
        if added and (
            repeated := next((name for name in header if header.count(name) > 1 or name in added), None)
        ):
            raise InputError(
                f"{source}:1: the column '{repeated}' occurs twice or is added by predictions", "rename or drop it"
            )
        for row in reader:
            if not row or row == [""]:
                continue
            place = f"{source}:{reader.line_num}"
            if len(row) != len(header):
                raise InputError(f"{place}: {len(row)} fields, the header has {len(header)}", "fix the row")
            for column in needed:
                if not row[header.index(column)].strip():
                    raise InputError(f"{place}: empty {column}", "fill it in, or delete the row")
            yield place, header, row
    except csv.Error as error:
        raise InputError(
            f"{source}:{reader.line_num}: {error}",
            'a field that starts with " needs CSV quoting: write "x" y as """x"" y" (spreadsheets do this)',
        ) from None


def read_rows(source: Path, added: Collection[str] = ADDED, quoted: bool = True) -> Iterator[Row]:
    """The rows of a file: the columns of a ``.tsv`` file, among them ``text``, or one ``text`` per line of others.

    Blank lines are skipped. ``quoted``: TSV fields may be quoted as in CSV.

    Raises:
        InputError: the file is missing, not UTF-8 or contains a NUL byte, a row is damaged (the message gives the
            line), or a column occurs twice or is one of ``added``.
    """
    lines = text_lines(source)
    if source.suffix.lower() in (".csv", ".json", ".jsonl", ".conll", ".conllu"):
        raise InputError(f"{source}: this kind of file cannot be labelled", "give plain text lines or .tsv")
    if source.suffix.lower() != ".tsv":
        yield from ({TEXT: line.strip()} for line in lines if line.strip())
        return
    hint = "the first line must name the columns; a plain file of sentences should end in .txt"
    for _, header, row in read_table(source, lines, (TEXT,), quoted, hint, added):
        yield dict(zip(header, row, strict=True))


def text_lines(source: Path) -> Iterator[str]:
    """The lines of a UTF-8 file with their ends, decoded one by one."""
    try:
        with sys.stdin.buffer if source == STANDARD else source.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                try:
                    line = raw.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise InputError(
                        f"{source}:{number}: not valid UTF-8 (byte 0x{raw[error.start]:02x})", "save it as UTF-8"
                    ) from None
                if "\x00" in line:
                    raise InputError(f"{source}:{number}: a NUL byte", "the file is not plain text")
                yield line.removeprefix("\ufeff") if number == 1 else line
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror})", "check the path given") from None


def words_of(text: str) -> list[str]:
    """The words of running text; punctuation at their edges is split off."""
    # WORD may match a control character that Python counts as a space.
    return [word for word in WORD.findall(text) if not word.isspace()]


def read_word_rows(source: Path) -> Iterator[tuple[Row, list[str]]]:
    """The rows of a file and their words: those of a ``.conll`` file, or those of the text in other files.

    The first column of a CoNLL line is the word, the others are ignored. Errors are as in ``read_rows``.
    """
    if source.suffix.lower() != ".conll":
        for row in read_rows(source, ADDED_TO_WORDS):
            yield row, words_of(row[TEXT])
        return
    for lines in conll_sentences(text_lines(source)):
        words = [columns[0] for _, columns in lines]
        if "" in words:
            raise InputError(f"{source}:{lines[words.index('')][0]}: no word", "the first column is the word")
        yield {TEXT: " ".join(words)}, words


def conll_sentences(lines: Iterable[str]) -> Iterator[list[tuple[int, list[str]]]]:
    """The sentences of a CoNLL file, between blank and ``-DOCSTART-`` lines: the number and columns of each line.

    Columns are separated by tabs or spaces.
    """
    sentence: list[tuple[int, list[str]]] = []
    for number, line in enumerate(chain(lines, [""]), start=1):
        if line.strip() and not line.startswith("-DOCSTART-"):
            columns = line.split("\t") if "\t" in line else re.split(" +", line.strip(" \r\n"))
            sentence.append((number, [column.strip() for column in columns]))
        elif sentence:
            yield sentence
            sentence = []
