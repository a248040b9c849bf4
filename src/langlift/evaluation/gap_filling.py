"""Fill a gap in a sentence: with words to choose from, or with the most likely words of any number of tokens."""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any

import regex
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from langlift.backbones.loading import longest_input
from langlift.errors import InputError
from langlift.training.language_model_loss import logits_at
from langlift.vocab.overlap import CanonicalToken


@dataclass(frozen=True)
class Candidate:
    """A word, and its probability among all words tried, 0 to 1."""

    word: str
    probability: float


@dataclass(frozen=True)
class SentenceGap:
    """A sentence in which the word ``answer`` is hidden."""

    before: str
    answer: str
    after: str


@torch.inference_mode()
def fill_gap(model: PreTrainedModel, tokenizer: Any, gap: SentenceGap, words: Sequence[str]) -> list[Candidate]:
    """``words`` and the answer, each tried in the gap, best first.

    A word's tokens are predicted from left to right, each with those to its right masked too, as in within-word
    pseudo-perplexity (Kauf & Ivanova 2023), so that they do not reveal each other. Many words give the same row
    once their tokens are masked, so each distinct row is computed once, in one padded forward pass.
    """
    tried = list(dict.fromkeys([*words, gap.answer]))
    rows: dict[tuple[tuple[int, ...], int], int] = {}
    owners, needed, targets = [], [], []
    for number, word in enumerate(tried):
        ids, places = _pieces(tokenizer, gap, word)
        for place in places:
            hidden = tuple(tokenizer.mask_token_id if p in places and p >= place else i for p, i in enumerate(ids))
            owners.append(number)
            needed.append(rows.setdefault((hidden, place), len(rows)))
            targets.append(ids[place])

    device = next(model.parameters()).device
    sequences = [torch.tensor(hidden) for hidden, _ in rows]
    padded = pad_sequence(sequences, batch_first=True, padding_value=tokenizer.pad_token_id).to(device)
    attended = pad_sequence([torch.ones_like(s) for s in sequences], batch_first=True).to(device)
    chosen = torch.zeros_like(padded, dtype=torch.bool)
    chosen[range(len(rows)), [place for _, place in rows]] = True
    logits = logits_at(model, {"input_ids": padded, "attention_mask": attended}, chosen)
    found = logits.log_softmax(dim=-1)[needed, targets].double().cpu()
    scores = torch.zeros(len(tried), dtype=torch.float64).index_add(0, torch.tensor(owners), found)

    probabilities = scores.softmax(dim=0).tolist()
    order = scores.argsort(descending=True, stable=True).tolist()
    return [Candidate(tried[i], probabilities[i]) for i in order]


def _pieces(tokenizer: Any, gap: SentenceGap, word: str) -> tuple[list[int], list[int]]:
    """The token ids of the sentence with a word in its gap, and the positions of the word's tokens."""
    encoding = tokenizer(gap.before + word + gap.after, return_offsets_mapping=True)
    start, end = len(gap.before), len(gap.before) + len(word)
    return encoding["input_ids"], [
        p for p, (a, b) in enumerate(encoding["offset_mapping"]) if a < end and b > start
    ]


def gaps_in(sentences: Iterable[str], words: Iterable[str], fewest: int, most: int) -> list[SentenceGap]:
    """A gap in each sentence of ``fewest`` to ``most`` words, chosen without a model.

    The gap is the first of ``words`` that occurs in the sentence exactly once; sentences without one are skipped.
    """
    hidden, gaps = set(words), []
    for sentence in sentences:
        parts = sentence.split()
        places = [i for i, part in enumerate(parts) if part in hidden and parts.count(part) == 1]
        if places and fewest <= len(parts) <= most:
            before, answer, after = parts[: places[0]], parts[places[0]], parts[places[0] + 1 :]
            gaps.append(SentenceGap("".join(f"{w} " for w in before), answer, "".join(f" {w}" for w in after)))
    return gaps


def frequent_words(texts: Iterable[str], count: int) -> list[str]:
    """The ``count`` most frequent lower-case words of letters, hyphens and apostrophes only."""
    words = Counter(
        word for text in texts for word in text.split() if word.strip("-'").isalpha() and word.islower()
    )
    return [word for word, _ in words.most_common(count)]


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
    the tokenizer's ``canonical_tokens``. InputError if the text has no gap or several, or is too long for the
    model, or ``top`` is below 1.
    """
    if top < 1:
        raise InputError(f"top must be at least 1, not {top}", "ask for one or more words")
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
    """The text before and after its one gap; raises an InputError if it has none, or several."""
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
