"""Rows of text files: plain lines, TSV, or one word per line; read one at a time, so files can be of any
length.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import regex

from langlift.corpus.tables import read_table
from langlift.corpus.text_files import iterate_lines
from langlift.errors import InputError
from langlift.progress import say
from langlift.tasks.learner import Row

TEXT = "text"
ADDED = ("predicted", "probability", "probabilities")
"""Columns added by predictions."""
ADDED_TO_WORDS = ("words", "tags", "probabilities", "entities", "heads", "relations")
"""Columns added by predictions of tasks that label words."""
TAG = re.compile(r"O|([BIESLU])-(\S+)")
"""BIO, or BIOES and BILOU, which have their own marks for the last word of an entity and for a single one."""
LANGUAGE_PREFIX = re.compile(r"[a-z]{2,3}(?:-[a-z]{2,})?:(?=.)")
SEARCHED = 1000
"""Number of sentences in a CoNLL file among which the first of several words is looked for."""
WORD = regex.compile(r"[\w\p{M}](?:\S*[\w\p{M}])?|\S")
"""A word in running text: a run without spaces, without the punctuation at its edges."""


def read_rows(source: Path, added: Collection[str] = ADDED, quoted: bool = True) -> Iterator[Row]:
    """The rows of a file: the columns of a ``.tsv`` file, among them ``text``, or one ``text`` per line of others.

    Blank lines are skipped. ``quoted``: TSV fields may be quoted as in CSV.

    Raises:
        InputError: the file is missing, not UTF-8 or contains a NUL byte, a row is damaged (the message gives the
            line), or a column occurs twice or is one of ``added``.
    """
    lines = iterate_lines(source)
    if source.suffix.lower() in (".csv", ".json", ".jsonl", ".conll", ".conllu"):
        raise InputError(f"{source}: this kind of file cannot be labelled", "give plain text lines or .tsv")
    if source.suffix.lower() != ".tsv":
        yield from ({TEXT: line.strip()} for line in lines if line.strip())
        return
    hint = "the first line must name the columns; a plain file of sentences should end in .txt"
    for _, header, row in read_table(source, lines, (TEXT,), quoted, hint, added):
        yield dict(zip(header, row, strict=True))


def words_of(text: str) -> list[str]:
    """The words of running text; punctuation at their edges is split off."""
    # WORD may match a control character that Python counts as a space.
    return [word for word in WORD.findall(text) if not word.isspace()]


def read_word_rows(source: Path, word_column: int = 0) -> Iterator[tuple[Row, list[str]]]:
    """The rows of a file and their words: those of a ``.conll`` file, or those of the text in other files.

    In CoNLL, words are in the column ``word_column`` (0: in the first, after word numbers, which are counted);
    other columns are ignored. Errors are as in ``read_rows``.
    """
    if source.suffix.lower() != ".conll":
        for row in read_rows(source, ADDED_TO_WORDS):
            yield row, words_of(row[TEXT])
        return
    column, repaired = max(word_column, 1), Counter[str]()
    for lines in conll_sentences(iterate_lines(source), lambda kind: repaired.update([kind]), word_column):
        words = [columns[column - 1] if column <= len(columns) else "" for _, columns in lines]
        if "" in words:
            place = f"{source}:{lines[words.index('')][0]}"
            raise InputError(f"{place}: no word in column {column}", "--word-column N names another column")
        yield {TEXT: " ".join(words)}, words
    for kind, count in repaired.items():
        say(f"{source}: {kind} words: {count}")


ConllLine = tuple[int, list[str]]
"""The number of a line, and its columns: the word first."""


def conll_sentences(
    lines: Iterable[str], repairs: Callable[[str], None] = lambda kind: None, word_column: int = 0
) -> Iterator[list[ConllLine]]:
    """The sentences of a CoNLL file, between blank and ``-DOCSTART-`` lines.

    Columns are separated by tabs or spaces. Comments, lines with ``#`` before a sentence, are skipped. If, in the
    first sentence of several words, the first column numbers these, or a language (``sw:``) stands before each,
    column or language are dropped; ``repairs`` is called with ``numbered`` or ``prefixed`` for each such word.
    With ``word_column``, counted from 1, all columns are kept.
    """
    sentences = _conll_blocks(lines)
    start: list[list[ConllLine]] = []
    for sentence in islice(sentences, SEARCHED):
        start.append(sentence)
        if len(sentence) > 1:
            break
    if not start:
        return
    first = start[-1]
    numbered = len(first) > 1 and all(c[0] == str(i) and len(c) > 1 for i, (_, c) in enumerate(first, start=1))
    if word_column or all(len(c) == 2 and TAG.fullmatch(c[1]) for _, c in first):
        numbered = False  # the words are numbers
    at = word_column - 1 if word_column else int(numbered)
    prefixes = {m[0] if at < len(c) and (m := LANGUAGE_PREFIX.match(c[at])) else "" for _, c in first}
    prefix = next(iter(prefixes)) if len(first) > 1 and len(prefixes) == 1 else ""
    at = max(word_column - 1, 0)
    for sentence in chain(start, sentences):
        for _, columns in sentence:
            if numbered and len(columns) > 1 and columns[0].isdecimal():
                del columns[0]
                repairs("numbered")
            if prefix and at < len(columns) and columns[at].startswith(prefix) and columns[at] != prefix:
                columns[at] = columns[at].removeprefix(prefix)
                repairs("prefixed")
        yield sentence


def _conll_blocks(lines: Iterable[str]) -> Iterator[list[ConllLine]]:
    sentence: list[ConllLine] = []
    comments: list[ConllLine] = []
    for number, line in enumerate(chain(lines, [""]), start=1):
        if line.strip() and not line.startswith("-DOCSTART-"):
            columns = line.split("\t") if "\t" in line else re.split(" +", line.strip(" \r\n"))
            columns = [column.strip() for column in columns]
            if not sentence and columns[0].startswith("#"):
                comments.append((number, columns))
                continue
            if not sentence:
                sentence = [one for one in comments if not _is_comment(one[1], columns)]
            sentence.append((number, columns))
        else:
            alone = (one for one in comments if not _is_comment(one[1], one[1]) and not _is_prose(one[1]))
            sentence = sentence or list(alone)
            if sentence:
                yield sentence
            sentence, comments = [], []


def _is_prose(columns: Sequence[str]) -> bool:
    """Whether a line with ``#`` in a block without words is a comment, such as a licence at the top of a file."""
    return len(columns) > 2 and not any(map(TAG.fullmatch, columns))


def _is_comment(columns: Sequence[str], of_word: Sequence[str]) -> bool:
    """Whether a line with ``#`` is a comment, and not a word as in the columns ``of_word`` of the next line."""
    if len(columns) != len(of_word):
        return True
    return not TAG.fullmatch(columns[-1]) and ("=" in "".join(columns) or bool(TAG.fullmatch(of_word[-1])))
