"""Perplexity of texts under causal language models: per token, per character and per byte."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from langlift.errors import InputError
from langlift.evaluation.scores import (
    EncodedText,
    SentenceScore,
    TextScore,
    batches_by_length,
    encoded_texts,
    fast_log_probabilities,
    in_bf16,
    naive_log_probabilities,
    require_known,
    summarised,
)
from langlift.masking import IGNORED
from langlift.progress import ProgressBar
from langlift.training.examples import Example
from langlift.training.language_model_loss import collate_for
from langlift.training.trainer import on_device


@dataclass(frozen=True, kw_only=True)
class CausalText(SentenceScore):
    """One text and its own perplexity."""

    perplexity: float


@dataclass(frozen=True, kw_only=True)
class Perplexity(TextScore):
    """The perplexity of texts (lower is better), over all of them; the other fields are those of ``Score``."""

    perplexity: float
    per_sentence: list[CausalText]


def score_texts(
    model: PreTrainedModel, tokenizer: Any, texts: Sequence[str], path: str = "fast", precision: str = "float32"
) -> Perplexity:
    """``exp(-sum log p(token | previous tokens) / tokens)`` over the ordinary tokens of all texts.

    The first token is scored if the tokenizer adds a beginning-of-text token; otherwise, as in Qwen, there is
    nothing to predict it from, and neither it nor its characters count. Special tokens are not scored.
    ``precision`` bf16, or auto if it selects bf16, casts the model, in place.

    Raises:
        InputError: unknown path or precision, or no text has a token to score.
    """
    require_known(path, precision)
    started = time.monotonic()
    encoded = encoded_texts(model, tokenizer, texts, causal=True)
    chosen = [number for number, text in enumerate(encoded) if text.positions]
    if not chosen:
        raise InputError("no text contains a token to score", "give a text that contains words")
    collate = collate_for(path, model, tokenizer.pad_token_id)
    log_probabilities_of = naive_log_probabilities if path == "naive" else fast_log_probabilities
    batches = [[chosen[i] for i in some] for some in batches_by_length([len(encoded[n].ids) for n in chosen])]
    in_order = [number for batch in batches for number in batch]
    sample = collate([_example(encoded[in_order[len(in_order) // 2]])])
    bf16 = in_bf16(precision, model, log_probabilities_of, sample)
    sums = [0.0] * len(encoded)
    with torch.inference_mode(), ProgressBar("scoring", len(chosen), "texts") as bar:
        for batch in batches:
            examples = on_device(collate([_example(encoded[n]) for n in batch]), model.device)
            values = log_probabilities_of(model, examples).double().cpu()
            for number, part in zip(batch, values.split([len(encoded[n].positions) for n in batch]), strict=True):
                sums[number] = float(part.sum())
            bar.advance(len(batch))
    value, each, shared = summarised(tokenizer, texts, encoded, sums, started=started, path=path, bf16=bf16)
    of_texts = [CausalText(perplexity=own, **fields) for own, fields in each]
    return Perplexity(variant="causal", perplexity=value, per_sentence=of_texts, **shared)


def _example(text: EncodedText) -> Example:
    """Each scored token is the label of the token before it."""
    ids, labels = np.asarray(text.ids, dtype=np.int64), np.full(len(text.ids), IGNORED, dtype=np.int64)
    labels[np.asarray(text.positions) - 1] = ids[text.positions]
    return {"input_ids": ids, "labels": labels}
