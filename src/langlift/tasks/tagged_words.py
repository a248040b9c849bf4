"""Sentences of words with BIO tags from CoNLL files, checked and mended."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from langlift.corpus.text_files import read_raw_lines
from langlift.errors import InputError
from langlift.tasks.hub_sets import HubSet, is_hub_set
from langlift.tasks.input_rows import columns_of, parts_sentences

ENDINGS = (".conll", ".txt", ".tsv", ".bio")
TAG = re.compile(r"O|([BI])-(\S+)")
OUTSIDE = "O"


@dataclass(frozen=True)
class TaggedWords:
    """Sentences of one split, each a list of words, and a tag for each word."""

    words: list[list[str]]
    tags: list[list[str]]

    def __len__(self) -> int:
        return len(self.words)

    @property
    def inputs(self) -> list[list[str]]:
        """The words of each sentence."""
        return self.words

    def chosen(self, numbers: Sequence[int]) -> "TaggedWords":
        """The sentences of these numbers, in this order."""
        return TaggedWords([self.words[i] for i in numbers], [self.tags[i] for i in numbers])


@dataclass(frozen=True)
class RawSentence:
    """A sentence as it stands in its source; ``place`` names the source of word i for errors."""

    words: list[str]
    tags: list[str]
    place: Callable[[int], str]


def find_conll(folder: Path, split: str) -> Path | None:
    """The file of a split, if there is one."""
    files = (folder / f"{split}{ending}" for ending in ENDINGS)
    return next((file for file in files if file.is_file()), None)


def conll_file(folder: Path, split: str) -> Path:
    """The file of a split.

    Raises:
        InputError: there is none.
    """
    if found := find_conll(folder, split):
        return found
    raise InputError(
        f"{folder}: the {split} split is missing ({split}.conll, or another of {', '.join(ENDINGS)})",
        "each file holds a word and its tag a line, and a blank line between sentences",
    )


def read_conll(path: Path) -> Iterator[RawSentence]:
    """Sentences of a file with a word and its tag on each line and blank lines between sentences.

    Columns are parted by tabs or spaces; the first is the word, the last the tag.

    Raises:
        InputError: a line lacks one of them, or is not text; file and line are named.
    """
    words: list[str] = []
    tags: list[str] = []
    first = 0
    for number, line in enumerate([*read_raw_lines(path), ""], start=1):
        if parts_sentences(line):
            if words:
                yield RawSentence(words, tags, _lines(path, first))
            words, tags = [], []
            continue
        columns = columns_of(line)
        word, tag = columns[0], columns[-1]
        if len(columns) < 2 or not word or not tag:
            raise InputError(
                f"{path}:{number}: not a word and its tag", "each line holds both, parted by a space or tab"
            )
        if not words:
            first = number
        words.append(word)
        tags.append(tag)


class TaggedFolder:
    """A folder of CoNLL files ``train``, ``dev`` and ``test``.

    Raises:
        InputError: there is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            what = "a folder is needed, not a file" if folder.exists() else "no such folder"
            raise InputError(f"{folder}: {what}", "it must hold train.conll, dev.conll and test.conll")
        self._folder = folder

    def sentences(self, split: str) -> Iterator[RawSentence]:
        """The sentences of a split; raises an InputError as ``read_conll``, or if it is missing or empty."""
        path = conll_file(self._folder, split)
        empty = True
        for sentence in read_conll(path):
            empty = False
            yield sentence
        if empty:
            raise InputError(f"{path}: no sentences", "every split needs at least one")

    def content(self, split: str) -> bytes:
        """The bytes of a split's file, where there is one."""
        file = find_conll(self._folder, split)
        return file.read_bytes() if file else b""


class TaggedHubSet:
    """The same from a data set in the hub's format, such as ``wikiann:sw``."""

    FIELDS = (("tokens", "words"), ("ner_tags", "tags", "labels"))

    def __init__(self, name: str) -> None:
        self._set = HubSet(name)

    def sentences(self, split: str) -> Iterator[RawSentence]:
        """The sentences of a split; rows without a word are passed over."""
        empty = True
        for number, (words, tags) in enumerate(self._set.rows(split, self.FIELDS), start=1):
            place = self._set.place(split, number)
            if not isinstance(words, list) or not isinstance(tags, list) or len(words) != len(tags):
                raise InputError(f"{place}: not as many tags as words", "mend or drop the row")
            if words:
                empty = False
                yield RawSentence([str(word) for word in words], [str(tag) for tag in tags], lambda _, p=place: p)  # type: ignore[misc]
        if empty:
            raise InputError(f"{self._set.name} ({split}): no sentences", "every split needs at least one")

    def content(self, split: str) -> bytes:
        """The rows of a split as bytes."""
        return self._set.content(split, self.FIELDS)


def open_tagged(data: str) -> TaggedFolder | TaggedHubSet:
    """A folder of CoNLL files where there is one, else a data set in the hub's format.

    Raises:
        InputError: it is neither.
    """
    return TaggedHubSet(data) if is_hub_set(data, ENDINGS) else TaggedFolder(Path(data))


def _lines(path: Path, first: int) -> Callable[[int], str]:
    return lambda word: f"{path}:{first + word}"


def checked_tags(
    sentences: Iterable[RawSentence], split: str, known: set[str] | None, repaired: dict[str, int], strict: bool
) -> TaggedWords:
    """Sentences whose tags are sound BIO; ``known`` are the types of the training data (``None``: any).

    An ``I-`` that continues nothing becomes ``B-``. A type that ``known`` lacks stays: it can only be
    missed. Both are counted in ``repaired``, by split.

    Raises:
        InputError: a tag is not BIO, there is no sentence, or, with ``strict``, something had to be counted.
    """
    orphans, strangers = f"{split}_inside_without_begin", f"{split}_of_unknown_type"
    data = TaggedWords([], [])
    for sentence in sentences:
        mended: list[str] = []
        for number, tag in enumerate(sentence.tags):
            match = TAG.fullmatch(tag)
            if match is None:
                raise InputError(
                    f"{sentence.place(number)}: tag '{tag}' is not O, B-TYPE or I-TYPE", "convert the tags to BIO"
                )
            kind = match[2]
            if match[1] == "I" and (not mended or mended[-1] not in (f"B-{kind}", f"I-{kind}")):
                if strict:
                    before = mended[-1] if mended else "the start of the sentence"
                    raise InputError(
                        f"{sentence.place(number)}: {tag} after {before} continues no entity", f"write B-{kind}"
                    )
                repaired[orphans] = repaired.get(orphans, 0) + 1
                tag = f"B-{kind}"
            if known is not None and kind is not None and kind not in known and tag.startswith("B-"):
                if strict:
                    raise InputError(
                        f"{sentence.place(number)}: the type '{kind}' never occurs in the training data",
                        "a misspelt tag?",
                    )
                repaired[strangers] = repaired.get(strangers, 0) + 1
            mended.append(tag)
        data.words.append(sentence.words)
        data.tags.append(mended)
    return data


def types_of(data: TaggedWords) -> set[str]:
    """The types of entities that occur."""
    return {tag[2:] for tags in data.tags for tag in tags if tag != OUTSIDE}


def bio_labels(types: Iterable[str]) -> list[str]:
    """All tags of some types, ``O`` first."""
    return [OUTSIDE, *(f"{mark}-{kind}" for kind in sorted(types) for mark in "BI")]
