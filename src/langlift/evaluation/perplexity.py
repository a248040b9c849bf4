"""Perplexity of texts under causal language models: per token, per character and per byte."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, isfinite
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedModel

from langlift.backbones.base_model import BaseModel, BaseName
from langlift.backbones.hidden_states import hidden_states
from langlift.backbones.loading import default_device, longest_input
from langlift.checkpoints.adapter_folder import load_adapter
from langlift.errors import InputError, LangliftError
from langlift.evaluation.scores import (
    SentenceScore,
    TextScore,
    batches_by_length,
    byte_tokens,
    require_known,
)
from langlift.masking import IGNORED
from langlift.progress import ProgressBar
from langlift.training.cost import peak_memory_bytes
from langlift.training.decoder_loss import log_probabilities
from langlift.training.examples import Example
from langlift.training.language_model_loss import before_decoder, collate_for, decoder_of, logit_cap, logits_at
from langlift.training.precision import precision_name, use_bf16
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


@dataclass(frozen=True)
class _Scored:
    """A text's token ids with labels for the scored tokens, and the number of characters and bytes they cover."""

    example: Example
    tokens: int
    characters: int
    bytes: int
    truncated: bool


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
    scored = _encode(tokenizer, texts, longest_input(model, tokenizer))
    chosen = [number for number, text in enumerate(scored) if text.tokens]
    if not chosen:
        raise InputError("no text contains a token to score", "give a text that contains words")
    collate = collate_for(path, model, tokenizer.pad_token_id)
    log_probabilities_of = _naive if path == "naive" else _fast
    if precision != "float32":
        model.requires_grad_(False)  # so that the whole model is cast
    device = next(model.parameters()).device
    batches = list(batches_by_length([len(scored[number].example["input_ids"]) for number in chosen]))
    in_order = [chosen[place] for batch in batches for place in batch]
    sample = on_device(collate([scored[in_order[len(in_order) // 2]].example]), device)
    bf16 = use_bf16(precision, model, lambda: -log_probabilities_of(model, sample).sum(), device)
    sums = dict.fromkeys(chosen, 0.0)
    with torch.inference_mode(), ProgressBar("scoring", len(chosen), "texts") as bar:
        for numbers in ([chosen[place] for place in batch] for batch in batches):
            values = (
                log_probabilities_of(model, on_device(collate([scored[n].example for n in numbers]), device))
                .double()
                .cpu()
            )
            for number, part in zip(numbers, values.split([scored[n].tokens for n in numbers]), strict=True):
                sums[number] = float(part.sum())
            bar.advance(len(numbers))
    used = [scored[n] for n in chosen]
    shared = shared_scores(
        tokenizer,
        np.concatenate([e["labels"][e["labels"] != IGNORED] for e in (text.example for text in used)]),
        total := sum(sums.values()),
        characters=sum(text.characters for text in used),
        bytes_=sum(text.bytes for text in used),
        started=started,
        path=path,
        bf16=bf16,
    )
    return Perplexity(
        variant="causal",
        perplexity=exp(-total / shared["tokens"]),
        sentences=len(chosen),
        truncated=sum(text.truncated for text in scored),
        per_sentence=[
            CausalText(
                text=texts[n], tokens=text.tokens, log_probability=sums[n], perplexity=exp(-sums[n] / text.tokens)
            )
            for n, text in zip(chosen, used, strict=True)
        ],
        **shared,
    )


def shared_scores(
    tokenizer: Any,
    ids: npt.NDArray[np.int64],
    total: float,
    *,
    characters: int,
    bytes_: int,
    started: float,
    path: str,
    bf16: bool,
) -> dict[str, Any]:
    """The fields of ``TextScore`` that depend on all scored tokens, ``ids``, and their summed log-probability.

    Raises:
        LangliftError: the model's probabilities are not finite.
    """
    if not isfinite(total):
        raise LangliftError(
            f"the log-probability of the text is {total}",
            "the model's weights may be damaged; if not, try --precision float32",
        )
    seconds = time.monotonic() - started
    return {
        "per_character": exp(-total / characters),
        "per_byte": exp(-total / bytes_),
        "unknown_share": float((ids == tokenizer.unk_token_id).mean()),
        "byte_share": float(np.isin(ids, byte_tokens(tokenizer)).mean()),
        "tokens": len(ids),
        "seconds": round(seconds, 2),
        "path": path,
        "precision": precision_name(bf16),
        "tokens_per_second": round(len(ids) / max(seconds, 1e-9), 1),
        "peak_memory_bytes": peak_memory_bytes(),
    }


def score_causal_model(
    base: BaseName | str,
    texts: Sequence[str],
    adapter: Path | None = None,
    path: str = "fast",
    precision: str = "auto",
) -> Perplexity:
    """Load a causal base model, attach an adapter if given, and score.

    Raises:
        InputError: an unusable model, adapter or text.
    """
    loaded = BaseModel.load(base)
    if adapter is not None:
        load_adapter(loaded.model, adapter)
    return score_texts(loaded.model.to(default_device()).eval(), loaded.tokenizer, texts, path, precision)


def _encode(tokenizer: Any, texts: Sequence[str], longest: int) -> list[_Scored]:
    encodings = tokenizer(
        list(texts), truncation=True, max_length=longest, return_offsets_mapping=True, verbose=False
    )
    special = list(set(tokenizer.all_special_ids) - {tokenizer.unk_token_id})
    found = []
    for text, row, offsets in zip(texts, encodings["input_ids"], encodings["offset_mapping"], strict=True):
        ids = np.asarray(row, dtype=np.int64)
        ordinary = ~np.isin(ids, special)
        labels = np.append(np.where(ordinary, ids, IGNORED)[1:], IGNORED)
        end = max((end for _, end in offsets), default=0)
        truncated = len(ids) == longest and end < len(text.rstrip())
        start = offsets[0][1] if len(ids) and ordinary[0] else 0
        covered = text[start : end if truncated else len(text)]
        tokens = int((labels != IGNORED).sum())
        found.append(
            _Scored({"input_ids": ids, "labels": labels}, tokens, len(covered), len(covered.encode()), truncated)
        )
    return found


def _naive(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    """The log-probability of every labelled token of a padded batch, in order: float32 [labelled]."""
    rows = batch["labels"] != IGNORED
    logits = logits_at(model, {name: value for name, value in batch.items() if name != "labels"}, rows)
    return logits.log_softmax(dim=-1).gather(1, batch["labels"][rows][:, None]).squeeze(1)


def _fast(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    """The same for a flat or a padded batch, in chunks of the vocabulary's logits."""
    rows = batch["labels"] != IGNORED
    before = before_decoder(model, hidden_states(model, batch, rows))
    decoder = decoder_of(model)
    return log_probabilities(before, decoder.weight, decoder.bias, batch["labels"][rows], logit_cap(model))
