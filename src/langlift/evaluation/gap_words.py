"""The most likely words for a gap in a sentence, of any number of tokens."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any

import regex
import torch
from torch import Tensor
from transformers import PreTrainedModel

from langlift.backbones.loading import longest_input
from langlift.errors import InputError
from langlift.training.language_model_loss import logits_at
from langlift.vocab.overlap import CanonicalToken

GAP = "___"
GAPS = regex.compile("_{3,}")
"""A gap: three or more underscores."""
MOST_PIECES = 4
BEAMS = 12
IN_WORDS = r"\p{L}\p{M}'’‘ʼ`׳״·\u200c\u200d-"
"""Letters, and characters between them: apostrophes, gershayim, the Catalan dot, joiners, hyphens."""
WORD = regex.compile(rf"[\p{{L}}\p{{M}}][{IN_WORDS}]*")
PART = regex.compile(rf"[{IN_WORDS}]+")


@dataclass(frozen=True)
class WordGuess:
    """A word for a gap; ``probability`` is the product of its tokens' probabilities, 0 to 1."""

    word: str
    probability: float
    pieces: int

    @property
    def score(self) -> float:
        """The score for comparing words of different numbers of tokens."""
        return log(self.probability) / ((5 + self.pieces) / 6)


def most_likely_words(
    model: PreTrainedModel, tokenizer: Any, forms: Mapping[int, CanonicalToken], text: str, top: int = 5
) -> list[WordGuess]:
    """The ``top`` most likely words for the one ``___`` in a text, best first.

    Words of one to four tokens are found by beam search; their tokens are predicted from left to right with those
    to the right masked. Between spaces, the first token must begin a word, and the others must continue it. The
    summed log-probability would favour short words, its mean long ones, whose ends are easy to guess; so words are
    compared by the sum divided by the length penalty (5 + tokens) / 6 (Wu et al. 2016, equation 14). ``forms`` are
    the tokenizer's ``canonical_tokens``.

    Raises:
        InputError: the text has no gap or several, or is too long for the model.
    """
    before, after = around_gap(text)
    allowed = _allowed(forms, len(tokenizer), between=not before or before[-1].isspace())
    found: dict[str, WordGuess] = {}
    for count in range(1, MOST_PIECES + 1):
        ids = tokenizer(before + tokenizer.mask_token * count + after, verbose=False)["input_ids"]
        if len(ids) > longest_input(model, tokenizer):
            raise InputError(f"{len(ids)} tokens are too many for this model", "shorten the text around the gap")
        for pieces, total in _beams(model, torch.tensor(ids), tokenizer.mask_token_id, allowed):
            word = tokenizer.decode(pieces).strip()
            guess = WordGuess(word, max(exp(total), sys.float_info.min), count)
            if WORD.fullmatch(word) and (word not in found or guess.score > found[word].score):
                found[word] = guess
    return sorted(found.values(), key=lambda guess: -guess.score)[:top]


def around_gap(text: str) -> tuple[str, str]:
    """The text before and after its one gap.

    Raises:
        InputError: the text has no gap or several.
    """
    parts = GAPS.split(text)
    if len(parts) != 2:
        raise InputError(
            f"a text with one gap is needed, and this has {len(parts) - 1}: {text[:60]!r}",
            f"put {GAP} (three underscores) where the word is missing",
        )
    return parts[0], parts[1]


def _allowed(forms: Mapping[int, CanonicalToken], size: int, between: bool) -> tuple[Tensor, Tensor]:
    """The ids allowed as first token and as later tokens, bool [size] each."""
    first, later = torch.zeros(size, dtype=torch.bool), torch.zeros(size, dtype=torch.bool)
    for number, form in forms.items():
        if form.byte is not None or PART.fullmatch(form.surface):
            later[number] = not form.initial
            first[number] = form.initial or not between
    return first, later


@torch.inference_mode()
def _beams(
    model: PreTrainedModel, ids: Tensor, mask: int, allowed: tuple[Tensor, Tensor]
) -> Sequence[tuple[list[int], float]]:
    """The best token ids for the masks in a text, int64 [length], with their summed log-probabilities."""
    gaps = (ids == mask).nonzero().flatten().tolist()
    device = next(model.parameters()).device
    rows, totals = ids[None], torch.zeros(1)
    for number, position in enumerate(gaps):
        chosen = torch.zeros_like(rows, dtype=torch.bool)
        chosen[:, position] = True
        logits = logits_at(model, {"input_ids": rows.to(device)}, chosen.to(device)).float().cpu()
        shares = logits.log_softmax(dim=-1)
        possible = allowed[min(number, 1)][: shares.shape[1]]
        shares[:, : len(possible)].masked_fill_(~possible, -torch.inf)
        shares[:, len(possible) :] = -torch.inf
        both = (totals[:, None] + shares).flatten()
        best = both.topk(min(BEAMS, int(both.isfinite().sum())))
        rows = rows[best.indices // shares.shape[1]].clone()
        rows[:, position] = best.indices % shares.shape[1]
        totals = best.values
    return [(row[gaps].tolist(), total) for row, total in zip(rows, totals.tolist(), strict=True)]
