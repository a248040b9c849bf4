"""Fill a gap in a sentence with the word that a model finds most probable there."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from langlift.training.language_model_loss import logits_at


@dataclass(frozen=True)
class GapFilling:
    """``filled``: the most probable word; ``rank`` of the right word among all tried, 1 is best."""

    filled: str
    rank: int


def fill_gap(
    model: PreTrainedModel, tokenizer: Any, before: str, answer: str, after: str, words: Sequence[str]
) -> GapFilling:
    """Try each of ``words`` (and ``answer``) between ``before`` and ``after``."""
    scores = {
        word: word_log_probability(model, tokenizer, before, word, after)
        for word in dict.fromkeys([*words, answer])
    }
    ranking = sorted(scores, key=lambda word: -scores[word])
    return GapFilling(ranking[0], ranking.index(answer) + 1)


@torch.inference_mode()
def word_log_probability(model: PreTrainedModel, tokenizer: Any, before: str, word: str, after: str) -> float:
    """log p(word | before, after), natural logarithm.

    The word's pieces are predicted from left to right, each with those to its right hidden too, as in
    within-word pseudo-perplexity (Kauf & Ivanova 2023): no piece can give its neighbours away.
    """
    encoding = tokenizer(before + word + after, return_offsets_mapping=True)
    start, end = len(before), len(before) + len(word)
    gap = [p for p, (a, b) in enumerate(encoding["offset_mapping"]) if a < end and b > start]
    ids = torch.tensor([encoding["input_ids"]] * len(gap), device=next(model.parameters()).device)
    targets = ids[0, gap]
    chosen = torch.zeros_like(ids, dtype=torch.bool)
    for row, position in enumerate(gap):
        ids[row, gap[row:]] = tokenizer.mask_token_id
        chosen[row, position] = True
    logits = logits_at(model, {"input_ids": ids}, chosen)
    return float(logits.log_softmax(dim=-1).gather(1, targets[:, None]).sum())


def frequent_words(texts: Iterable[str], count: int) -> list[str]:
    """The ``count`` most frequent words (runs between spaces that hold letters, hyphens and apostrophes only)."""
    words = Counter(
        word for text in texts for word in text.split() if word.strip("-'").isalpha() and word.islower()
    )
    return [word for word, _ in words.most_common(count)]
