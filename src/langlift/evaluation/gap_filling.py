"""Fill a gap in a sentence: candidate words, ordered by their probability under a model."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from langlift.training.language_model_loss import logits_at


@dataclass(frozen=True)
class Candidate:
    """A word, and its probability among all words tried, 0 to 1."""

    word: str
    probability: float


@dataclass(frozen=True)
class GapFilling:
    """The words tried, best first; ``rank`` is that of the right word, from 1."""

    candidates: list[Candidate]
    rank: int


@dataclass(frozen=True)
class SentenceGap:
    """A sentence in which the word ``answer`` is hidden."""

    before: str
    answer: str
    after: str


@torch.inference_mode()
def fill_gap(model: PreTrainedModel, tokenizer: Any, gap: SentenceGap, words: Sequence[str]) -> GapFilling:
    """Try each of ``words`` (and the answer) in the gap.

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
    return GapFilling(
        [Candidate(tried[i], probabilities[i]) for i in order], order.index(tried.index(gap.answer)) + 1
    )


def _pieces(tokenizer: Any, gap: SentenceGap, word: str) -> tuple[list[int], list[int]]:
    """The token ids of the sentence with a word in its gap, and the positions of the word's tokens."""
    encoding = tokenizer(gap.before + word + gap.after, return_offsets_mapping=True)
    start, end = len(gap.before), len(gap.before) + len(word)
    return encoding["input_ids"], [
        p for p, (a, b) in enumerate(encoding["offset_mapping"]) if a < end and b > start
    ]


def gaps_in(
    sentences: Iterable[str], words: Iterable[str], fewest_words: int, most_words: int
) -> list[SentenceGap]:
    """A gap in each sentence of ``fewest_words`` to ``most_words`` words, chosen without a model.

    The gap is the first of ``words`` that occurs in the sentence exactly once; sentences without one are skipped.
    """
    hidden, gaps = set(words), []
    for sentence in sentences:
        parts = sentence.split()
        places = [i for i, part in enumerate(parts) if part in hidden and parts.count(part) == 1]
        if places and fewest_words <= len(parts) <= most_words:
            before, answer, after = parts[: places[0]], parts[places[0]], parts[places[0] + 1 :]
            gaps.append(SentenceGap("".join(f"{w} " for w in before), answer, "".join(f" {w}" for w in after)))
    return gaps


def frequent_words(texts: Iterable[str], count: int) -> list[str]:
    """The ``count`` most frequent lower-case words of letters, hyphens and apostrophes only."""
    words = Counter(
        word for text in texts for word in text.split() if word.strip("-'").isalpha() and word.islower()
    )
    return [word for word, _ in words.most_common(count)]
