"""Surprisal of each word of a text under a masked language model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import log
from typing import Any

import regex
import torch
from transformers import PreTrainedModel

from langlift.evaluation.masked_copies import MaskedCopies, naive_log_probabilities
from langlift.evaluation.scores import EncodedText, encoded_texts
from langlift.masking import UNSPACED

BETWEEN_SPACES = regex.compile(r"\S+")


@dataclass(frozen=True)
class WordSurprise:
    """A word, its place in the text, and its surprisal in bits: the negative base-2 logarithm of its probability.

    ``bits`` is None for words beyond the model's maximum input length.
    """

    word: str
    start: int
    end: int
    bits: float | None

    @property
    def bits_per_character(self) -> float | None:
        """The mean per character, to compare long and short words."""
        return None if self.bits is None else self.bits / (self.end - self.start)


@torch.inference_mode()
def word_surprises(model: PreTrainedModel, tokenizer: Any, texts: Sequence[str]) -> list[list[WordSurprise]]:
    """The words of every text, separated by spaces, with their surprisals.

    In scripts without spaces between words, the model's tokens are used as words, unless they are single bytes.
    A word's tokens are predicted one by one, with all later tokens of the word masked too, as in within-word
    pseudo-perplexity (Kauf and Ivanova 2023, arXiv 2305.10588), so that they do not reveal each other.
    """
    words: list[list[tuple[int, int]]] = []
    copies: list[EncodedText] = []
    for text, encoded in zip(texts, encoded_texts(model, tokenizer, texts), strict=True):
        scored = [(p, encoded.offsets[p][1]) for p in encoded.positions]
        ends = sorted({end for _, end in scored})
        words.append([unit for found in BETWEEN_SPACES.finditer(text) for unit in _units(found, ends)])
        before = -1
        for _, end in words[-1]:
            # SentencePiece includes the space before a word, and may have a token for the space alone.
            own = [p for p, its_end in scored if before < its_end <= end]
            copies.append(replace(encoded, positions=own, ends=[own[-1] + 1] * len(own) if own else []))
            before = end
    sums = MaskedCopies(copies, tokenizer.mask_token_id).summed(model, naive_log_probabilities)
    bits = iter(-total / log(2) if one.positions else None for one, total in zip(copies, sums, strict=True))
    return [
        [WordSurprise(text[slice(*span)], *span, next(bits)) for span in spans]
        for text, spans in zip(texts, words, strict=True)
    ]


def _units(found: regex.Match[str], ends: Sequence[int]) -> list[tuple[int, int]]:
    """A run between spaces as one word, or, in a script without spaces, split at the ends of tokens."""
    start, end = found.span()
    if not UNSPACED.search(found[0]):
        return [(start, end)]
    cuts = [start, *(one for one in ends if start < one < end), end]
    return list(pairwise(cuts))
