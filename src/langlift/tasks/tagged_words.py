"""Sentences of words with BIO tags from CoNLL files or hub data sets, checked and repaired."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from langlift.corpus.text_files import read_raw_lines
from langlift.errors import InputError
from langlift.tasks.input_rows import conll_sentences
from langlift.tasks.learner import Split
from langlift.tasks.sources import HubSet, SplitFolder, open_source

ENDINGS = (".conll", ".txt", ".tsv", ".bio")
HUB_FIELDS = (("tokens", "words"), ("ner_tags", "tags", "labels"))
TAG = re.compile(r"O|([BI])-(\S+)")
OUTSIDE = "O"

TaggedWords = Split[list[str], list[str]]
"""Sentences as lists of words, and a tag for each word."""


@dataclass(frozen=True)
class RawSentence:
    """A sentence as read; ``places`` are the locations of its words for errors."""

    words: list[str]
    tags: list[str]
    places: list[str]


def open_tagged(data: str) -> SplitFolder | HubSet:
    """A folder of CoNLL files, or a data set in the hub's format; raises an InputError if it is neither."""
    return open_source(data, ENDINGS, "train.conll, dev.conll and test.conll", HUB_FIELDS)


def read_tagged(source: SplitFolder | HubSet, split: str) -> Iterator[RawSentence]:
    """The sentences of a split; hub rows without words are skipped.

    Raises:
        InputError: the split is missing, empty or damaged; file and line, or row, are named.
    """
    if isinstance(source, HubSet):
        name, sentences = f"{source.name} ({split})", _hub_sentences(source, split)
    else:
        path = source.file(split)
        name, sentences = str(path), read_conll(path)
    sentence = None
    for sentence in sentences:
        yield sentence
    if sentence is None:
        raise InputError(f"{name}: no sentences", "every split needs at least one")


def read_conll(path: Path) -> Iterator[RawSentence]:
    """The sentences of a file with a word and its tag per line: the first and the last column.

    Raises:
        InputError: a line lacks one of them, or is not text; file and line are named.
    """
    for lines in conll_sentences(read_raw_lines(path)):
        for number, columns in lines:
            if len(columns) < 2 or not columns[0] or not columns[-1]:
                raise InputError(
                    f"{path}:{number}: not a word and its tag", "separate the word and its tag by a space or tab"
                )
        words, tags = [columns[0] for _, columns in lines], [columns[-1] for _, columns in lines]
        yield RawSentence(words, tags, [f"{path}:{number}" for number, _ in lines])


def _hub_sentences(source: HubSet, split: str) -> Iterator[RawSentence]:
    for place, (words, tags) in source.rows(split):
        if not isinstance(words, list) or not isinstance(tags, list) or len(words) != len(tags):
            raise InputError(f"{place}: not as many tags as words", "fix or drop the row")
        if words:
            yield RawSentence([str(word) for word in words], [str(tag) for tag in tags], [place] * len(words))


def checked_tags(
    sentences: Iterable[RawSentence], split: str, known: set[str] | None, repaired: dict[str, int], strict: bool
) -> TaggedWords:
    """Sentences with valid BIO tags; ``known`` are the types of the training data (``None``: any).

    An ``I-`` that does not continue an entity becomes ``B-``. An unknown type is kept; the model always gets it
    wrong. Both are counted in ``repaired``, by split.

    Raises:
        InputError: a tag is not BIO, or, with ``strict``, something would be counted.
    """
    orphans, strangers = f"{split}_inside_without_begin", f"{split}_of_unknown_type"
    data = TaggedWords([], [])
    for sentence in sentences:
        tags: list[str] = []
        for place, tag in zip(sentence.places, sentence.tags, strict=True):
            match = TAG.fullmatch(tag)
            if match is None:
                raise InputError(f"{place}: tag '{tag}' is not O, B-TYPE or I-TYPE", "convert the tags to BIO")
            kind = match[2]
            if match[1] == "I" and (not tags or tags[-1] not in (f"B-{kind}", f"I-{kind}")):
                if strict:
                    before = tags[-1] if tags else "the start of the sentence"
                    raise InputError(
                        f"{place}: {tag} after {before} does not continue an entity", f"write B-{kind}"
                    )
                repaired[orphans] = repaired.get(orphans, 0) + 1
                tag = f"B-{kind}"
            if known is not None and tag.startswith("B-") and kind not in known:
                if strict:
                    raise InputError(
                        f"{place}: the type '{kind}' never occurs in the training data", "a misspelt tag?"
                    )
                repaired[strangers] = repaired.get(strangers, 0) + 1
            tags.append(tag)
        data.inputs.append(sentence.words)
        data.gold.append(tags)
    return data
