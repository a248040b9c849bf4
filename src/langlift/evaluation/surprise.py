"""How surprising each word of a text is to a masked language model."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log
from typing import Any

import regex
import torch
from transformers import PreTrainedModel

from langlift.backbones.loading import longest_input
from langlift.evaluation.masked_copies import EncodedText, MaskedCopies, scoring_path
from langlift.masking.words import UNSPACED
from langlift.training.trainer import on_device

BETWEEN_SPACES = regex.compile(r"\S+")


@dataclass(frozen=True)
class WordSurprise:
    """A word, its place in the text, and its surprisal in bits: the negative base-2 logarithm of its probability.

    ``bits`` is None for what the model did not read, as the text was too long for it.
    """

    word: str
    start: int
    end: int
    bits: float | None

    @property
    def bits_per_character(self) -> float | None:
        """The same spread over the word's characters, so that long words can be compared with short ones."""
        return None if self.bits is None else self.bits / (self.end - self.start)


@torch.inference_mode()
def word_surprises(model: PreTrainedModel, tokenizer: Any, texts: Sequence[str]) -> list[list[WordSurprise]]:
    """Every text's words with their surprisals, in order: what stands between spaces.

    In scripts without spaces between words the model's own pieces stand for words; a vocabulary that has none,
    only bytes, leaves them one.

    A word's pieces are predicted one by one with all that follow in the same word masked too, as in within-word
    pseudo-perplexity (Kauf and Ivanova 2023, arXiv 2305.10588), so that they do not give each other away.
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
            # SentencePiece counts the space before a word in, and may have a token for it alone.
            own = [p for p in scored if before < offsets[p][1] <= end]
            encoded.append(EncodedText(ids, own, end - start, 0, False, [own[-1] + 1] * len(own) if own else []))
            before = end
    copies, way = MaskedCopies(encoded, tokenizer.mask_token_id), scoring_path("naive", model)
    sums = [0.0] * len(encoded)
    for owners, batch in copies.batches():
        values = way(model, on_device(batch, next(model.parameters()).device)).double().tolist()
        for owner, value in zip(owners, values, strict=True):
            sums[owner] += value
    rest = iter(zip(encoded, sums, strict=True))
    found = []
    for text, spans in zip(texts, words, strict=True):
        found.append([_surprise(text, span, *next(rest)) for span in spans])
    return found


def _units(found: regex.Match[str], ends: Sequence[int]) -> list[tuple[int, int]]:
    """What stands between spaces as one word, or where its script has no spaces cut where pieces end."""
    start, end = found.span()
    if not UNSPACED.search(found[0]):
        return [(start, end)]
    cuts = [start, *(one for one in ends if start < one < end), end]
    return list(pairwise(cuts))


def _surprise(text: str, span: tuple[int, int], encoded: EncodedText, total: float) -> WordSurprise:
    bits = -total / log(2) if encoded.positions else None
    return WordSurprise(text[slice(*span)], *span, bits)
