"""Text to adapt on or to score: a plain file, or a built data folder with train, dev and test."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from langlift.corpus.text_files import json_lines, read_documents, read_lines, require_file, split_documents
from langlift.data_folder import SPLITS
from langlift.errors import InputError
from langlift.files import sha256_of
from langlift.progress import say

SHARES = (0.8, 0.1, 0.1)
SPLIT_SEED = 0
"""Fixed, so that runs with different seeds train and test on the same documents."""


@dataclass(frozen=True)
class Triple:
    """The spans of a verbalised triple's arguments in its text: (start, end) in characters, end exclusive."""

    relation: str
    head: tuple[int, int]
    tail: tuple[int, int]


class SplitFile(Collection[str]):
    """The texts of a split of a built folder, read from its file each time: they may be larger than memory."""

    def __init__(self, folder: Path, split: str) -> None:
        self._folder, self._split = folder, split
        filled = Counter(bool(row["text"].strip()) for _, row in _read_rows(folder, split))
        self._count, path = filled[True], folder / f"{split}.jsonl"
        if not self._count:
            raise InputError(f"{path}: the split is empty", "every split needs at least one text")
        if filled[False]:
            say(f"{path}: {filled[False]} rows without text are left out")

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        return (row["text"].strip() for _, row in _filled_rows(self._folder, self._split))

    def __contains__(self, text: object) -> bool:
        return any(text == one for one in self)


@dataclass(frozen=True)
class TextData:
    """The texts of each split, and the SHA-256 of the source. Those of a built folder are not held in memory.

    ``is_graph``: they are a graph's sentences. ``triples``: theirs, one for each text of each split, if requested.
    """

    train: Collection[str]
    dev: Collection[str]
    test: Collection[str]
    sha256: str
    triples: Mapping[str, list[Triple]] | None = None
    is_graph: bool = False


def load_text_data(data: Path, with_triples: bool = False) -> TextData:
    """Read a text file (split 80/10/10 by document, always in the same way) or a built data folder.

    ``with_triples`` also reads the argument spans of the sentences in a graph folder; other data has none.
    InputError if the path is neither, or its content is damaged (with file and line).
    """
    if not data.is_dir():
        require_file(data)
        parts = split_documents(read_documents(data), SHARES, SPLIT_SEED)
        train, dev, test = ([line for document in part for line in document] for part in parts)
        return TextData(train, dev, test, sha256_of([data]))
    if [split for split in SPLITS if (data / f"{split}.jsonl").exists()] == ["test"]:
        raise InputError(
            f"{data}: contains only test.jsonl: it is for scoring, not for training",
            f"score it with langlift score --text {data}; build training text with langlift corpus build",
        )
    is_graph = any({"head", "tail"} <= row.keys() for _, row in islice(_filled_rows(data, SPLITS[0]), 1))
    return TextData(
        train=SplitFile(data, "train"),
        dev=SplitFile(data, "dev"),
        test=SplitFile(data, "test"),
        sha256=sha256_of(data / f"{split}.jsonl" for split in SPLITS),
        triples={s: _read_triples(data, s) for s in SPLITS} if with_triples and is_graph else None,
        is_graph=is_graph,
    )


def texts_to_score(text: Path, split: str | None = None, sample: int | None = None) -> list[str]:
    """The sentences to score: all lines of a file, or a split of a file or built folder (default: test).

    ``sample`` is the number of sentences to draw at random, always the same ones, in their order. InputError if
    the path is neither, its content is damaged, or there is nothing to score.
    """
    if split is not None and split not in SPLITS:
        raise InputError(f"unknown split '{split}'", f"one of {', '.join(SPLITS)}")
    sentences: Collection[str]
    if text.is_dir():
        sentences = SplitFile(text, split or "test")
    elif split is None:
        sentences = [line for line in read_lines(text) if line]
    else:
        sentences = getattr(load_text_data(text), split)
    if not sentences:
        raise InputError(f"{text}: no sentence to score", "give a text file with one sentence per line")
    if sample is None or sample >= len(sentences):
        return list(sentences)
    if sample < 1:
        raise InputError(f"--sentences {sample}: at least one is needed", "leave the option out to score all")
    chosen = set(np.random.default_rng(SPLIT_SEED).choice(len(sentences), sample, replace=False).tolist())
    return [sentence for number, sentence in enumerate(sentences) if number in chosen]


def _filled_rows(folder: Path, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects in ``folder/split.jsonl`` whose ``text`` is not blank, with their line numbers."""
    return ((number, row) for number, row in _read_rows(folder, split) if row["text"].strip())


def _read_rows(folder: Path, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects in ``folder/split.jsonl``, checked, with their line numbers."""
    path = folder / f"{split}.jsonl"
    if not path.is_file():
        raise InputError(
            f"{folder}: the {split} split is missing ({split}.jsonl)",
            "a data folder contains train.jsonl, dev.jsonl and test.jsonl; a single text file works too",
        )
    for number, row in json_lines(path):
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            found = ", ".join(row) if isinstance(row, dict) else type(row).__name__
            raise InputError(f"{path}:{number}: no field 'text' (found: {found})", "name the text field 'text'")
        if not row["text"].isprintable() and any("\ud800" <= c <= "\udfff" for c in row["text"]):
            raise InputError(f"{path}:{number}: half of a character (a lone surrogate)", "fix the escape \\uD...")
        yield number, row


def _read_triples(folder: Path, split: str) -> list[Triple]:
    triples = []
    for number, row in _filled_rows(folder, split):
        place = f"{folder / f'{split}.jsonl'}:{number}"
        head, tail = (_span(row, part, place) for part in ("head", "tail"))
        if head[0] < tail[1] and tail[0] < head[1]:
            raise InputError(f"{place}: head and tail overlap", "build the folder again: langlift graph build")
        relation = row.get("relation")
        name = relation.get("name") if isinstance(relation, dict) else None
        if not isinstance(name, str):
            raise InputError(f"{place}: no field 'relation' with a 'name'", "langlift graph build writes it")
        triples.append(Triple(name, head, tail))
    return triples


def _span(row: dict[str, Any], part: str, place: str) -> tuple[int, int]:
    """The span of the head or tail in the stripped text of a row."""
    text: str = row["text"]
    argument = row.get(part)
    if not isinstance(argument, dict):
        raise InputError(f"{place}: no field '{part}' with 'start' and 'end'", "langlift graph build writes it")
    start, end = argument.get("start"), argument.get("end")
    before = len(text) - len(text.lstrip())
    if type(start) is not int or type(end) is not int or not before <= start < end <= len(text.rstrip()):
        raise InputError(
            f"{place}: the {part} has the span {start!r} to {end!r}, but the text has {len(text)} characters",
            "spans are in characters from 0, end exclusive; langlift graph build writes them",
        )
    if argument.get("text", text[start:end]) != text[start:end]:
        raise InputError(
            f"{place}: the text at the span of the {part} is not the {part}",
            "spans are in characters (code points), not bytes; langlift graph build writes them",
        )
    return start - before, end - before
