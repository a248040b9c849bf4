"""Surprisal of each word of a text under a masked language model."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log
from typing import Any

import regex
import torch
from transformers import PreTrainedModel

from langlift.backbones.loading import longest_input
from langlift.evaluation.masked_copies import EncodedText, MaskedCopies, naive_log_probabilities
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
    longest = longest_input(model, tokenizer)
    encodings = tokenizer(
        list(texts), truncation=True, max_length=longest, return_offsets_mapping=True, verbose=False
    )
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    words: list[list[tuple[int, int]]] = []
    encoded: list[EncodedText] = []
    for text, ids, offsets in zip(texts, encodings["input_ids"], encodings["offset_mapping"], strict=True):
        scored = [p for p, i in enumerate(ids) if i not in special]
        ends = sorted({offsets[p][1] for p in scored})
        words.append([unit for found in BETWEEN_SPACES.finditer(text) for unit in _units(found, ends)])
        before = -1
        for start, end in words[-1]:
            # SentencePiece includes the space before a word, and may have a token for the space alone.
            own = [p for p in scored if before < offsets[p][1] <= end]
            encoded.append(EncodedText(ids, own, end - start, 0, False, [own[-1] + 1] * len(own) if own else []))
            before = end
    sums = MaskedCopies(encoded, tokenizer.mask_token_id).summed(model, naive_log_probabilities)
    rest = iter(zip(encoded, sums, strict=True))
    found = []
    for text, spans in zip(texts, words, strict=True):
        found.append([_surprise(text, span, *next(rest)) for span in spans])
    return found


def _units(found: regex.Match[str], ends: Sequence[int]) -> list[tuple[int, int]]:
    """A run between spaces as one word, or, in a script without spaces, split at the ends of tokens."""
    start, end = found.span()
    if not UNSPACED.search(found[0]):
        return [(start, end)]
    cuts = [start, *(one for one in ends if start < one < end), end]
    return list(pairwise(cuts))


def _surprise(text: str, span: tuple[int, int], encoded: EncodedText, total: float) -> WordSurprise:
    bits = -total / log(2) if encoded.positions else None
    return WordSurprise(text[slice(*span)], *span, bits)
