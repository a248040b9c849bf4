"""Fill a gap in a sentence: what a model puts there, and how probable it finds the right word."""

from dataclasses import dataclass
from math import exp
from typing import Any

import torch
from transformers import PreTrainedModel

from langlift.training.masked_loss import logits_at


@dataclass(frozen=True)
class GapFilling:
    """``filled``: the model's own words for the gap; ``probability`` of the right ones, 0 to 1."""

    filled: str
    probability: float


@torch.inference_mode()
def fill_gap(model: PreTrainedModel, tokenizer: Any, before: str, answer: str, after: str) -> GapFilling:
    """Hide ``answer`` in ``before + answer + after`` and fill the gap from left to right.

    Each piece is predicted with the pieces to its right hidden, as in within-word pseudo-perplexity
    (Kauf & Ivanova 2023): no piece can give its neighbours away. The gap has as many pieces as the
    answer.
    """
    text = before + answer + after
    encoding = tokenizer(text, return_offsets_mapping=True)
    start, end = len(before), len(before) + len(answer)
    gap = [p for p, (a, b) in enumerate(encoding["offset_mapping"]) if a < end and b > start]
    true = torch.tensor([encoding["input_ids"]], device=next(model.parameters()).device)
    own = true.clone()
    own[0, gap] = tokenizer.mask_token_id
    log_probability = 0.0
    for number, position in enumerate(gap):
        here = torch.zeros_like(true, dtype=torch.bool)
        here[0, position] = True
        own[0, position] = logits_at(model, {"input_ids": own}, here).argmax()
        hidden = true.clone()
        hidden[0, gap[number:]] = tokenizer.mask_token_id
        log_probabilities = logits_at(model, {"input_ids": hidden}, here).log_softmax(dim=-1)[0]
        log_probability += float(log_probabilities[true[0, position]])
    return GapFilling(tokenizer.decode(own[0, gap]).strip(), exp(log_probability))
