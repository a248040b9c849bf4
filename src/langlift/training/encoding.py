"""Texts as rows of token ids, with what an objective must know of them: the words, or where the arguments are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from langlift.corpus.text_data import Triple
from langlift.errors import InputError
from langlift.masking.targeted import PUBLISHED_RELATIONS, published_positions
from langlift.masking.words import tokens_of_span, word_numbers
from langlift.progress import ProgressBar

TEXTS_AT_ONCE = 1000

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A text, or a part of a long one, as token ids int64 [length], special ones included.

    How it is masked follows from what it holds: ``arguments``, the token positions of head and tail (or of
    the one that can be predicted), for targeted masking; ``words``, the word number of each token int64
    [length], for full-word masking; neither for masked language modelling.
    """

    ids: npt.NDArray[np.int64]
    words: npt.NDArray[np.int64] | None = None
    arguments: tuple[Positions, ...] = ()


@dataclass(frozen=True)
class TargetedRows:
    """The rows of a graph's sentences for targeted masking, and what could not be used as it stands.

    ``left_out`` counts the sentences of which neither argument can be predicted (cut off, unknown to the
    tokenizer, or in one piece with other letters; as published also those of other relations),
    ``one_argument`` those of which only one can, which is then always chosen.
    """

    rows: list[EncodedRow]
    left_out: int
    one_argument: int


def encode(tokenizer: Any, texts: Sequence[str], max_tokens: int, source: str) -> list[EncodedRow]:
    """Rows of each text that holds an ordinary token; a text of more than ``max_tokens`` becomes several.

    Raises:
        InputError: no text does.
    """
    return _known(tokenizer, _encoded(tokenizer, texts, max_tokens, _plain), source)


def encode_words(tokenizer: Any, texts: Sequence[str], max_tokens: int, source: str) -> list[EncodedRow]:
    """As ``encode``, with words; one that is cut at ``max_tokens`` counts as two."""
    return _known(tokenizer, _encoded(tokenizer, texts, max_tokens, _with_words), source)


def encode_triples(
    tokenizer: Any, texts: Sequence[str], triples: Sequence[Triple], max_tokens: int, source: str
) -> TargetedRows:
    """As ``encode``, with arguments; only rows that hold at least one whole argument are kept.

    Raises:
        InputError: there is none.
    """
    special = list(tokenizer.all_special_ids)

    def with_arguments(number: int, text: str, encodings: Sequence[Any]) -> list[EncodedRow]:
        """The rows of one text; an argument is offered by the only row that holds its tokens, if it is one."""
        rows = [EncodedRow(_ids(encoding)) for encoding in encodings]
        for start, end in (triples[number].head, triples[number].tail):
            found = [tokens_of_span(text, encoding.offsets, start, end) for encoding in encodings]
            holders = [i for i, positions in enumerate(found) if positions is None or len(positions)]
            if len(holders) != 1 or (positions := found[holders[0]]) is None:
                continue
            row = rows[holders[0]]
            if not np.isin(row.ids[positions], special).all():
                rows[holders[0]] = replace(row, arguments=(*row.arguments, positions))
        return rows

    hint = "raise max_tokens, or take another objective: mlm or full_word"
    return _targeted(tokenizer, _encoded(tokenizer, texts, max_tokens, with_arguments), source, hint)


def encode_triples_as_published(
    tokenizer: Any, texts: Sequence[str], triples: Sequence[Triple], max_tokens: int, source: str, seed: int
) -> TargetedRows:
    """As ``encode_triples``, as the published script does: the argument is chosen here, once for all epochs.

    Sentences of other than its twelve relations are left out, what is longer than ``max_tokens`` is cut
    off, and the argument is searched word by word, so that other places where its words stand are masked too.
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
    found = _targeted(tokenizer, _encoded(tokenizer, texts, max_tokens, with_choice), source, hint)
    return replace(found, one_argument=0)


RowsOfText = Callable[[int, str, Sequence[Any]], list[EncodedRow]]
"""(number of a text, the text, its encodings in order) -> its rows."""


def _encoded(tokenizer: Any, texts: Sequence[str], max_tokens: int, rows_of: RowsOfText) -> list[list[EncodedRow]]:
    """The rows of each text."""
    rows: list[list[EncodedRow]] = []
    with ProgressBar("cutting into tokens", len(texts), "texts") as bar:
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            some = list(texts[first : first + TEXTS_AT_ONCE])
            batch = tokenizer(
                some, truncation=True, max_length=max_tokens, return_overflowing_tokens=True, verbose=False
            )
            parts: list[list[Any]] = [[] for _ in some]
            for encoding, number in zip(batch.encodings, batch["overflow_to_sample_mapping"], strict=True):
                parts[number].append(encoding)
            rows += [rows_of(first + i, text, parts[i]) for i, text in enumerate(some)]
            bar.advance(len(some))
    return rows


def _plain(number: int, text: str, encodings: Sequence[Any]) -> list[EncodedRow]:
    return [EncodedRow(_ids(encoding)) for encoding in encodings]


def _with_words(number: int, text: str, encodings: Sequence[Any]) -> list[EncodedRow]:
    return [EncodedRow(_ids(e), words=word_numbers(text, e.offsets, e.word_ids)) for e in encodings]


def _ids(encoding: Any) -> npt.NDArray[np.int64]:
    return np.asarray(encoding.ids, dtype=np.int64)


def _known(tokenizer: Any, rows: Sequence[Sequence[EncodedRow]], source: str) -> list[EncodedRow]:
    """The rows that hold an ordinary token."""
    special = list(tokenizer.all_special_ids)
    known = [row for rows_of_text in rows for row in rows_of_text if not np.isin(row.ids, special).all()]
    if not known:
        raise InputError(
            f"{source}: no text holds a token that the base model knows",
            "the model has never seen this script; try another base, such as FacebookAI/xlm-roberta-base",
        )
    return known


def _targeted(tokenizer: Any, rows: Sequence[Sequence[EncodedRow]], source: str, hint: str) -> TargetedRows:
    offered = [sum(len(row.arguments) for row in rows_of_text) for rows_of_text in rows]
    kept = [row for rows_of_text in rows for row in rows_of_text if row.arguments]
    if not kept:
        _known(tokenizer, rows, source)
        raise InputError(f"{source}: no sentence has an argument that can be predicted", hint)
    return TargetedRows(kept, offered.count(0), offered.count(1))
