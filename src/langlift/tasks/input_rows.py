"""Text to label as files: plain lines, TSV, or a word a line; one row at a time, however many there are."""

import csv
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import regex

from langlift.errors import InputError
from langlift.tasks.labelled_text import QUOTING
from langlift.tasks.learner import Row

STANDARD = Path("-")
"""Names standard input or output."""
TEXT = "text"
ADDED = ("predicted", "probability", "probabilities")
"""Columns that predictions add."""
ADDED_TO_WORDS = ("words", "tags", "probabilities", "entities", "heads", "relations")
"""The same where words have labels."""
WORD = regex.compile(r"[\w\p{M}](?:\S*[\w\p{M}])?|\S")
"""A word in running text: what stands between spaces, without the punctuation at its ends."""


class NeverQuoted(csv.excel_tab):
    """TSV in which a quotation mark is text."""

    quoting = csv.QUOTE_NONE


def read_rows(source: Path, added: Sequence[str] = ADDED, quoted: bool = True) -> Iterator[Row]:
    """The rows of a file, one at a time: of ``.tsv`` its columns (``text`` among them), else a ``text`` each line.

    Blank lines are passed over. TSV fields are quoted as in CSV where needed, or with ``quoted`` false never.

    Raises:
        InputError: the file is missing, is not UTF-8, holds a NUL byte, or a row is damaged; the line is named.
    """
    lines = text_lines(source)
    if source.suffix.lower() in (".csv", ".json", ".jsonl", ".conll", ".conllu"):
        raise InputError(f"{source}: not a kind of file that can be labelled", "give plain text lines or .tsv")
    if source.suffix.lower() != ".tsv":
        yield from ({TEXT: line.strip()} for line in lines if line.strip())
        return
    dialect = "excel-tab" if quoted else NeverQuoted
    reader = csv.reader(lines, dialect, strict=True)
    try:
        header = next(reader, [])
        if TEXT not in header:
            raise InputError(
                f"{source}:1: no column '{TEXT}' (found: {', '.join(header) or 'nothing'})",
                "the first line must name the columns; a plain file of sentences should end in .txt",
            )
        if repeated := next((name for name in header if header.count(name) > 1 or name in added), None):
            raise InputError(f"{source}:1: the column '{repeated}' stands twice or is ours", "rename or drop it")
        text = header.index(TEXT)
        for row in reader:
            if not row or row == [""]:
                continue
            if len(row) != len(header):
                raise InputError(
                    f"{source}:{reader.line_num}: {len(row)} fields, the header has {len(header)}", "mend the row"
                )
            if not row[text].strip():
                raise InputError(f"{source}:{reader.line_num}: empty {TEXT}", "fill it in or delete the row")
            yield dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise InputError(f"{source}:{reader.line_num}: {error}", QUOTING) from None


def text_lines(source: Path) -> Iterator[str]:
    """The lines of a UTF-8 file with their ends, decoded one by one so that any length is taken."""
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
    """The words of running text, the punctuation at their ends set apart."""
    # Of the control characters that Python takes for spaces, WORD may match one alone.
    return [word for word in WORD.findall(text) if not word.isspace()]


def read_word_rows(source: Path) -> Iterator[tuple[Row, list[str]]]:
    """The rows of a file and the words of each: a ``.conll`` file has a word a line, others are split into words.

    Of a CoNLL line the first column is the word, the rest is passed over; blank lines part sentences.

    Raises:
        InputError: as ``read_rows``.
    """
    if source.suffix.lower() != ".conll":
        for row in read_rows(source, ADDED_TO_WORDS):
            yield row, words_of(row[TEXT])
        return
    words: list[str] = []
    for number, line in enumerate(chain(text_lines(source), [""]), start=1):
        if not parts_sentences(line):
            words.append(columns_of(line)[0])
            if not words[-1]:
                raise InputError(f"{source}:{number}: no word", "the first column holds the word")
        elif words:
            yield {TEXT: " ".join(words)}, words
            words = []


def parts_sentences(line: str) -> bool:
    """Whether a line of a CoNLL file stands between sentences."""
    return not line.strip() or line.startswith("-DOCSTART-")


def columns_of(line: str) -> list[str]:
    """The columns of a line of a CoNLL file, parted by tabs or spaces."""
    columns = line.split("\t") if "\t" in line else re.split(" +", line.strip(" \r\n"))
    return [column.strip() for column in columns]
