"""Texts as rows of token ids, with the words or argument positions that an objective needs; rows on disk."""

import os
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from weakref import finalize

import numpy as np
import numpy.typing as npt

from langlift.corpus.text_data import Triple
from langlift.errors import InputError
from langlift.files import writing
from langlift.masking import PUBLISHED_RELATIONS, published_positions, tokens_of_span, word_numbers
from langlift.progress import ProgressBar, say

BATCH_TEXTS = 1000

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A text, or a part of a long one, as token ids int64 [length], including special ones.

    Its fields determine how it is masked: ``arguments``, the token positions of head and tail (or of the one that
    can be predicted), for targeted masking; ``words``, the word number of each token int64 [length], for full-word
    masking; neither for masked language modelling.
    """

    ids: npt.NDArray[np.int64]
    words: npt.NDArray[np.int64] | None = None
    arguments: tuple[Positions, ...] = ()


@dataclass(frozen=True)
class TargetedRows:
    """The rows of a graph's sentences for targeted masking.

    ``left_out`` counts the sentences in which neither argument can be predicted (cut off, unknown to the
    tokenizer, or in one token with other letters; as published also those of other relations), ``one_argument``
    those in which only one can be, which is then always chosen.
    """

    rows: list[EncodedRow]
    left_out: int
    one_argument: int


def encode(
    tokenizer: Any, texts: Collection[str], max_tokens: int, source: str, with_words: bool = False
) -> list[EncodedRow]:
    """The rows of ``encode_in_stream``, as a list."""
    return list(encode_in_stream(tokenizer, texts, max_tokens, source, with_words))


def encode_in_stream(
    tokenizer: Any, texts: Collection[str], max_tokens: int, source: str, with_words: bool = False
) -> Iterator[EncodedRow]:
    """Rows of each text that has an ordinary token; a text of more than ``max_tokens`` becomes several rows.

    A word that is cut at ``max_tokens`` counts as two. InputError, after the last text, if none has one.
    """
    rows = (
        EncodedRow(_ids(encoding), word_numbers(text, encoding.offsets, encoding.word_ids) if with_words else None)
        for text, encodings in _tokenised(tokenizer, texts, max_tokens)
        for encoding in encodings
    )
    return _known(tokenizer, rows, source)


def encode_triples(
    tokenizer: Any, texts: Collection[str], triples: Sequence[Triple], max_tokens: int, source: str
) -> TargetedRows:
    """As ``encode``, with arguments; only rows with at least one whole argument are kept.

    InputError if there are none.
    """
    special = list(tokenizer.all_special_ids)

    def with_arguments(triple: Triple, text: str, encodings: Sequence[Any]) -> list[EncodedRow]:
        """The rows of one text; an argument belongs to a row if that is the only one with its tokens."""
        rows = [EncodedRow(_ids(encoding)) for encoding in encodings]
        for start, end in (triple.head, triple.tail):
            found = [tokens_of_span(text, encoding.offsets, start, end) for encoding in encodings]
            holders = [i for i, positions in enumerate(found) if positions is None or len(positions)]
            if len(holders) != 1 or (positions := found[holders[0]]) is None:
                continue
            row = rows[holders[0]]
            if not np.isin(row.ids[positions], special).all():
                rows[holders[0]] = replace(row, arguments=(*row.arguments, positions))
        return rows

    hint = "raise max_tokens, or use another objective: mlm or full_word"
    tokenised = zip(triples, _tokenised(tokenizer, texts, max_tokens), strict=True)
    return _targeted(tokenizer, [with_arguments(triple, *text) for triple, text in tokenised], source, hint)


def encode_triples_as_published(
    tokenizer: Any, texts: Collection[str], triples: Sequence[Triple], max_tokens: int, source: str, seed: int
) -> TargetedRows:
    """As ``encode_triples``, but as in the published script: the argument is chosen here, once for all epochs.

    Sentences of relations other than its twelve are left out, texts are truncated at ``max_tokens``, and the
    argument is searched word by word, so that other occurrences of its words are masked too.
    """
    special = list(tokenizer.all_special_ids)

    def with_choice(number: int, text: str, encodings: Sequence[Any]) -> list[EncodedRow]:
        ids, triple = _ids(encodings[0]), triples[number]
        random = np.random.default_rng((seed, 0, number))
        start, end = triple.head if random.random() < 0.5 else triple.tail
        if triple.relation not in PUBLISHED_RELATIONS:
            return [EncodedRow(ids)]
        words = text[start:end].split()
        positions = published_positions(ids, tokenizer(words, add_special_tokens=False)["input_ids"])
        if np.isin(ids[positions], special).all():
            return [EncodedRow(ids)]
        return [EncodedRow(ids, arguments=(positions,))]

    hint = f"leave targeted_as_published off; it keeps only {', '.join(sorted(PUBLISHED_RELATIONS))}"
    tokenised = enumerate(_tokenised(tokenizer, texts, max_tokens))
    found = _targeted(tokenizer, [with_choice(number, *text) for number, text in tokenised], source, hint)
    return replace(found, one_argument=0)


def _tokenised(tokenizer: Any, texts: Collection[str], max_tokens: int) -> Iterator[tuple[str, list[Any]]]:
    """Each text and its encodings in order; only ``BATCH_TEXTS`` are in memory."""
    remaining = iter(texts)
    with ProgressBar("tokenising", len(texts), "texts") as bar:
        while some := list(islice(remaining, BATCH_TEXTS)):
            batch = tokenizer(
                some, truncation=True, max_length=max_tokens, return_overflowing_tokens=True, verbose=False
            )
            parts: list[list[Any]] = [[] for _ in some]
            for encoding, number in zip(batch.encodings, batch["overflow_to_sample_mapping"], strict=True):
                parts[number].append(encoding)
            yield from zip(some, parts, strict=True)
            bar.advance(len(some))


def _ids(encoding: Any) -> npt.NDArray[np.int64]:
    return np.asarray(encoding.ids, dtype=np.int64)


def _known(tokenizer: Any, rows: Iterable[EncodedRow], source: str) -> Iterator[EncodedRow]:
    """The rows that have an ordinary token; the others are counted."""
    special = list(tokenizer.all_special_ids)
    known = unknown = 0
    for row in rows:
        if np.isin(row.ids, special).all():
            unknown += 1
        else:
            known += 1
            yield row
    if not known:
        raise InputError(
            f"{source}: no text has a token that the base model knows",
            "the model has never seen this script; try another base, such as FacebookAI/xlm-roberta-base",
        )
    if unknown:
        say(f"{source}: {unknown} rows without a token that the model knows are left out")


def _targeted(tokenizer: Any, rows: Sequence[Sequence[EncodedRow]], source: str, hint: str) -> TargetedRows:
    offered = [sum(len(row.arguments) for row in rows_of_text) for rows_of_text in rows]
    kept = [row for rows_of_text in rows for row in rows_of_text if row.arguments]
    if not kept:
        list(_known(tokenizer, chain.from_iterable(rows), source))
        raise InputError(f"{source}: no sentence has an argument that can be predicted", hint)
    return TargetedRows(kept, offered.count(0), offered.count(1))


class StoredRows(Sequence[EncodedRow]):
    """Rows in a file without a name, which is gone when it is closed or the process ends, however it ends.

    A token takes the bytes of the smallest unsigned integer that holds the ``largest_id``, and 4 more
    ``with_words``. A row takes 8 bytes of memory, and more only if it has arguments. Rows are read, not mapped, so
    that the file never counts as memory of this process. ``folder`` is a folder on the disk to use (default: the
    system's for temporary files).
    """

    def __init__(self, largest_id: int, with_words: bool = False, folder: Path | None = None) -> None:
        columns: list[Any] = [("ids", np.min_scalar_type(largest_id))]
        self._token = np.dtype([*columns, ("words", np.int32)] if with_words else columns)
        self._with_words, self._place = with_words, folder or Path("temporary file")
        self._ends, self._arguments = array("q", [0]), dict[int, tuple[Positions, ...]]()
        with writing(self._place):
            self._file = TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        self.close = finalize(self, self._file.close)

    def extend(self, rows: Iterable[EncodedRow]) -> None:
        """Append rows, one after another; LangliftError if the disk is full."""
        with writing(self._place), open(self._file.fileno(), "ab", closefd=False) as file:
            for row in rows:
                tokens = np.empty(len(row.ids), self._token)
                tokens["ids"] = row.ids
                if self._with_words:
                    tokens["words"] = row.words
                file.write(tokens.tobytes())
                if row.arguments:
                    self._arguments[len(self)] = row.arguments
                self._ends.append(self._ends[-1] + len(tokens))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The number of tokens of each row, int64 [rows]."""
        ends = np.frombuffer(self._ends, dtype=np.int64)
        return ends[1:] - ends[:-1]

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, number: int) -> EncodedRow:  # type: ignore[override]  # no slices
        if not 0 <= number < len(self):
            raise IndexError(number)
        begin, end = (self._ends[n] * self._token.itemsize for n in (number, number + 1))
        tokens = np.frombuffer(os.pread(self._file.fileno(), end - begin, begin), self._token)
        words = tokens["words"].astype(np.int64) if self._with_words else None
        return EncodedRow(tokens["ids"].astype(np.int64), words, self._arguments.get(number, ()))


def disk_of(out: Path) -> Path | None:
    """The nearest folder above ``out`` that can be written in, for rows; None if there is none."""
    above = out.absolute().parents
    return next((folder for folder in above if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)), None)
