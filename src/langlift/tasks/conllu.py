"""CoNLL-U: sentences are read strictly, and written back with only the predicted columns changed."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NoReturn

from langlift.errors import InputError
from langlift.heads.spanning_tree import cycle_in

NAMES = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
UPOS, HEAD, DEPREL = 3, 6, 7
EMPTY = "_"
WORD = re.compile(r"[1-9][0-9]{0,8}")
RANGE = re.compile(r"([1-9][0-9]{0,8})-([1-9][0-9]{0,8})")
EMPTY_NODE = re.compile(r"([0-9]{1,9})\.([1-9][0-9]{0,8})")
NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
IDENTITY = re.compile(r"#\s*sent_id\s*=\s*(.*\S)")


@dataclass(frozen=True)
class Sentence:
    """A sentence: all its lines, and the columns of its syntactic words (lines with a whole number as ID).

    ``heads`` counts words from 1, 0 is the root; it is empty if the sentence has no tree.
    """

    lines: list[str]
    rows: list[int]
    """The index in ``lines`` of each word."""
    words: list[str]
    tags: list[str]
    heads: list[int]
    relations: list[str]
    source: str = ""
    number: int = 1
    first_line: int = 1

    def place(self, row: int) -> str:
        """The location of one of ``lines`` for errors: file, line, number of the sentence and its sent_id."""
        name = next((f" ({m[1]})" for line in self.lines if (m := IDENTITY.fullmatch(line.strip()))), "")
        return f"{self.source}:{self.first_line + row}: sentence {self.number}{name}"

    def place_of_word(self, number: int) -> str:
        """The location of a word, counted from 0."""
        return self.place(self.rows[number])

    def filled(self, columns: Mapping[int, Sequence[object]]) -> list[str]:
        """Its lines with these columns (counted from 0) replaced; each column has a value for every word."""
        lines = list(self.lines)
        for word, row in enumerate(self.rows):
            cells = lines[row].split("\t")
            for column, values in columns.items():
                cells[column] = str(values[word])
            lines[row] = "\t".join(cells)
        return lines


def parse_conllu(lines: Iterable[str], source: str, trees: bool = True) -> Iterator[Sentence]:
    """The sentences in ``lines``, which have no line ends; ``source`` names them in errors.

    A sentence has a valid tree with a single root, or no HEAD at all. Without ``trees`` these columns are ignored.

    Raises:
        InputError: a wrong number of columns, an empty column, IDs out of order, a multiword token beyond the end
        of the sentence, a nonexistent HEAD, a cycle, no root or several roots; with file, line and sentence.
    """
    block: list[str] = []
    number, first = 0, 1
    for at, line in enumerate(chain(lines, [""]), start=1):
        if line:
            first = first if block else at
            block.append(line)
        elif block:
            number += 1
            yield _parsed(block, source, number, first, trees)
            block = []


def sentence_of(words: Sequence[str], text: str, number: int) -> Sentence:
    """A sentence without annotation, of words in the order of ``text``; ``number`` is its sent_id."""
    words, text = [" ".join(word.split()) for word in words], " ".join(text.split())
    lines, end = [f"# sent_id = {number}", f"# text = {text}"], 0
    for place, word in enumerate(words, start=1):
        end = text.index(word, end) + len(word)
        joined = end < len(text) and text[end] != " "
        misc = "SpaceAfter=No" if joined else EMPTY
        lines.append("\t".join([str(place), word, *[EMPTY] * (len(NAMES) - 3), misc]))
    unknown = [EMPTY] * len(words)
    return Sentence(lines, list(range(2, len(lines))), list(words), unknown, [], unknown, number=number)


def _parsed(lines: list[str], source: str, number: int, first_line: int, trees: bool) -> Sentence:
    sentence = Sentence(lines, [], [], [], [], [], source, number, first_line)
    covered = covered_row = empty_nodes = 0
    heads: list[str] = []
    for row, line in enumerate(lines):
        if line.startswith("#"):
            if row and not lines[row - 1].startswith("#"):
                _refuse(sentence, row, "a comment inside the sentence", "comments come before the first word")
            continue
        cells = line.split("\t")
        if len(cells) != len(NAMES):
            what = f"{len(cells)} {'column' if len(cells) == 1 else 'columns'} instead of {len(NAMES)}"
            hint = "columns are separated by single tabs, and sentences by an empty line"
            _refuse(sentence, row, what, hint)
        if missing := [name for name, cell in zip(NAMES, cells, strict=True) if not cell.strip()]:
            _refuse(sentence, row, f"{missing[0]} is empty", "write _ for an empty value")
        identity, done = cells[0], len(sentence.words)
        if WORD.fullmatch(identity) and int(identity) == done + 1:
            empty_nodes = 0
            sentence.rows.append(row)
            sentence.words.append(cells[1])
            sentence.tags.append(cells[UPOS])
            heads.append(cells[HEAD])
            sentence.relations.append(cells[DEPREL])
        elif (span := RANGE.fullmatch(identity)) and int(span[1]) == done + 1 > covered and int(span[2]) > done:
            covered, covered_row = int(span[2]), row
        elif (node := EMPTY_NODE.fullmatch(identity)) and (int(node[1]), int(node[2])) == (done, empty_nodes + 1):
            empty_nodes += 1
        else:
            hint = f"expected: the word {done + 1}, a multiword token starting there, or {done}.{empty_nodes + 1}"
            _refuse(sentence, row, f"the ID '{identity}' is not valid here", hint)
    if not sentence.words:
        _refuse(sentence, 0, "no words", "delete it, or add its words")
    if covered > len(sentence.words):
        what = f"the multiword token ends at word {covered}, the sentence at {len(sentence.words)}"
        _refuse(sentence, covered_row, what, "fix the ID")
    if trees and any(head != EMPTY for head in heads):
        sentence.heads.extend(_checked_tree(sentence, heads))
    return sentence


def _checked_tree(sentence: Sentence, cells: Sequence[str]) -> list[int]:
    count, heads, root = len(cells), [], 0
    for word, (cell, relation) in enumerate(zip(cells, sentence.relations, strict=True), start=1):
        row = sentence.rows[word - 1]
        if not NUMBER.fullmatch(cell):
            _refuse(sentence, row, f"HEAD '{cell}' is not a number", "0 is the root, words count from 1")
        head = int(cell)
        if head > count:
            _refuse(sentence, row, f"HEAD {head}, but there are {count} words", "fix the number")
        if head == word:
            _refuse(sentence, row, f"word {word} is its own HEAD", "fix the number")
        if relation == EMPTY:
            _refuse(sentence, row, "a HEAD without a DEPREL", "add the relation")
        if head == 0:
            if root:
                _refuse(sentence, row, f"a second root (the first is word {root})", "a tree has one root")
            root = word
        heads.append(head)
    if cycle := cycle_in([0, *heads]):
        path = " -> ".join(map(str, [*cycle, cycle[0]]))
        _refuse(sentence, sentence.rows[cycle[0] - 1], f"the HEADs form a cycle ({path})", "fix one of them")
    return heads


def _refuse(sentence: Sentence, row: int, what: str, hint: str) -> NoReturn:
    raise InputError(f"{sentence.place(row)}: {what}", hint)
