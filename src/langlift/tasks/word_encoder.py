"""Sentences of words as token ids with a label for each word; long sentences become several windows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from langlift.backbones.loading import longest_input
from langlift.heads.classification import CONTINUED
from langlift.masking.masked_language_model import IGNORED
from langlift.training.examples import Example
from langlift.training.paths import collate_for


@dataclass(frozen=True)
class EncodedWords:
    """Sentences in order as ``examples``; sentence i became ``windows[i]`` of them, one after the other.

    ``counts[i]`` has the number of labelled tokens of each of its words: 1, or all of the word's.
    """

    examples: list[Example]
    windows: list[int]
    counts: list[list[int]]


class WordEncoder:
    """Tokenises words as they stand in running text, and finds the tokens of each by character offsets.

    So it works alike for WordPiece, BPE and Unigram, which need no word-by-word mode. The ``labelled`` token of
    a word carries its label: ``first``, ``last`` or ``every``; with ``mean`` the first does, and the others are
    marked as its continuation. Where every token has a label, that of the first, or with ``at_end`` of the last,
    is the word's: in a decoder only the last one has seen the whole word. A sentence that is too long is cut
    between words into windows, so that every word gets a label; a word without any token stands as the unknown
    token. The model's attention is set for the path, in place.
    """

    def __init__(
        self,
        tokenizer: Any,
        model: PreTrainedModel,
        max_tokens: int,
        labelled: str = "first",
        path: str = "fast",
        at_end: bool = False,
    ) -> None:
        self._tokenizer, self._labelled, self.at_end = tokenizer, labelled, at_end
        self._prefix, self._suffix = _special_tokens(tokenizer)
        self._room = min(max_tokens, longest_input(model, tokenizer)) - len(self._prefix) - len(self._suffix)
        stand_ins = (tokenizer.unk_token_id, tokenizer.mask_token_id, tokenizer.pad_token_id)
        self._unknown = [next(token for token in stand_ins if token is not None)]
        self.collate = collate_for(path, model, tokenizer.pad_token_id)

    def __call__(self, sentences: Sequence[Sequence[str]], labels: Sequence[Sequence[int]]) -> EncodedWords:
        """Encode sentences of at least one word each; ``labels`` has a number for each word."""
        encoded = self._tokenizer(
            [" ".join(words) for words in sentences],
            add_special_tokens=False,
            return_offsets_mapping=True,
            verbose=False,
        )
        done = EncodedWords([], [], [])
        of_sentences = zip(sentences, labels, encoded["input_ids"], encoded["offset_mapping"], strict=True)
        for words, numbers, ids, offsets in of_sentences:
            pieces = self._pieces(words, ids, offsets)
            begun = len(done.examples)
            window: list[tuple[list[int], int]] = []
            length = 0
            for piece, number in zip(pieces, numbers, strict=True):
                if window and length + len(piece) > self._room:
                    done.examples.append(self._example(window))
                    window, length = [], 0
                window.append((piece, number))
                length += len(piece)
            done.examples.append(self._example(window))
            done.windows.append(len(done.examples) - begun)
            done.counts.append([len(piece) if self._labelled == "every" else 1 for piece in pieces])
        return done

    def _pieces(
        self, words: Sequence[str], ids: Sequence[int], offsets: Sequence[tuple[int, int]]
    ) -> list[list[int]]:
        """The token ids of each word, one at least and as many as fit at most."""
        pieces: list[list[int]] = [[] for _ in words]
        ends = np.cumsum([len(word) + 1 for word in words]) - 1
        # A token belongs to the word of its last character: a SentencePiece mark that stands alone covers
        # the space and so comes before the next word.
        last = [max(start, end - 1) for start, end in offsets]
        for token, place in zip(ids, np.searchsorted(ends, last, side="right"), strict=True):
            if place < len(pieces):
                pieces[place].append(token)
        return [piece[: self._room] or self._unknown for piece in pieces]

    def _example(self, window: Sequence[tuple[list[int], int]]) -> Example:
        ids, labels = list(self._prefix), [IGNORED] * len(self._prefix)
        for piece, number in window:
            ids += piece
            labels += self._labels(number, len(piece))
        ids += self._suffix
        labels += [IGNORED] * len(self._suffix)
        return {"input_ids": np.asarray(ids, dtype=np.int64), "labels": np.asarray(labels, dtype=np.int64)}

    def _labels(self, number: int, tokens: int) -> list[int]:
        """The labels of a word's tokens."""
        if self._labelled == "every":
            return [number] * tokens
        other = CONTINUED if self._labelled == "mean" and number != IGNORED else IGNORED
        others = [other] * (tokens - 1)
        return [*others, number] if self._labelled == "last" else [number, *others]


def _special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The ids that the tokenizer puts before and behind a sentence."""
    encoded = tokenizer("a", return_special_tokens_mask=True)
    ids, special = encoded["input_ids"], encoded["special_tokens_mask"]
    first = special.index(0)
    behind = special[::-1].index(0)
    return ids[:first], ids[len(ids) - behind :]
