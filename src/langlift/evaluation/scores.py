"""The scores of a text, by masked models and decoders alike."""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, isfinite
from typing import Any

import numpy as np
from torch import Tensor
from transformers import PreTrainedModel

from langlift.backbones.hidden_states import hidden_states
from langlift.backbones.loading import longest_input
from langlift.errors import InputError, LangliftError
from langlift.masking import IGNORED, Offsets
from langlift.notebook import Shown
from langlift.training.cost import peak_memory_bytes
from langlift.training.decoder_loss import log_probabilities
from langlift.training.language_model_loss import before_decoder, decoder_of, logit_cap, logits_at
from langlift.training.precision import precision_name, use_bf16
from langlift.training.recipes import PATHS, PRECISIONS
from langlift.training.trainer import Batch, on_device

TOKENS_AT_ONCE = 4096
BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")

LogProbabilities = Callable[[PreTrainedModel, Mapping[str, Tensor]], Tensor]
"""(model, batch) -> log-probabilities (natural) of the batch's scored tokens, float32."""


@dataclass(frozen=True, kw_only=True)
class SentenceScore:
    """One sentence or text: the number of scored tokens and their summed natural log-probability."""

    text: str
    tokens: int
    log_probability: float


@dataclass(frozen=True, kw_only=True)
class TextScore(Shown):
    """The scores of a text other than the perplexity itself; ``Score`` describes the fields."""

    variant: str
    per_character: float
    per_byte: float
    unknown_share: float
    byte_share: float
    sentences: int
    tokens: int
    truncated: int
    seconds: float
    path: str = "fast"
    precision: str = "float32"
    tokens_per_second: float = 0.0
    peak_memory_bytes: int = 0


@dataclass(frozen=True)
class EncodedText:
    """A text as token ids, the positions of those scored, and the number of characters and bytes they cover.

    ``offsets`` are the tokens' places in the text. ``ends`` is, for each of ``positions``, the end (exclusive) of
    the tokens masked with it (default: it alone).
    """

    ids: list[int]
    positions: list[int]
    characters: int
    bytes: int
    truncated: bool
    offsets: Offsets = ()
    ends: list[int] | None = None


def encoded_texts(
    model: PreTrainedModel, tokenizer: Any, texts: Sequence[str], specials: bool = False, causal: bool = False
) -> list[EncodedText]:
    """Texts cut at the model's longest input; all tokens but special ones are scored, with ``specials`` these too.

    ``causal``: the first token has nothing to be predicted from, so neither it nor its characters count. If it is
    only a part of a character (byte-level), of which the rest is scored, the character counts.
    """
    longest = longest_input(model, tokenizer)
    encodings = tokenizer(
        list(texts), truncation=True, max_length=longest, return_offsets_mapping=True, verbose=False
    )
    special = set() if specials else set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    encoded = []
    for text, ids, offsets in zip(texts, encodings["input_ids"], encodings["offset_mapping"], strict=True):
        positions = [p for p, i in enumerate(ids) if i not in special and not (causal and p == 0)]
        start = (
            min(offsets[0][1], offsets[1][0]) if causal and positions[:1] == [1] and ids[0] not in special else 0
        )
        end = max((end for _, end in offsets), default=0)
        truncated = len(ids) == longest and end < len(text.rstrip())
        covered = text[start : end if truncated else len(text)]
        encoded.append(EncodedText(ids, positions, len(covered), len(covered.encode()), truncated, offsets))
    return encoded


def naive_log_probabilities(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    """The log-probability of every labelled token of a padded batch, in order: float32 [labelled]."""
    rows = batch["labels"] != IGNORED
    logits = logits_at(model, {name: value for name, value in batch.items() if name != "labels"}, rows)
    return logits.log_softmax(dim=-1).gather(1, batch["labels"][rows][:, None]).squeeze(1)


def fast_log_probabilities(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    """The same for a flat or a padded batch.

    The end of the last layer and the head are computed only for the labelled tokens, in chunks of the logits.
    """
    rows = batch["labels"] != IGNORED
    before = before_decoder(model, hidden_states(model, batch, rows))
    decoder = decoder_of(model)
    return log_probabilities(before, decoder.weight, decoder.bias, batch["labels"][rows], logit_cap(model))


def in_bf16(precision: str, model: PreTrainedModel, log_probabilities: LogProbabilities, sample: Batch) -> bool:
    """Whether to score in bf16; if so, the whole model is cast to it, in place. ``sample`` is a batch to try."""
    if precision != "float32":
        model.requires_grad_(False)  # so that the whole model is cast
    sample = on_device(sample, model.device)
    return use_bf16(precision, model, lambda: -log_probabilities(model, sample).sum(), model.device)


def summarised(
    tokenizer: Any,
    texts: Sequence[str],
    encoded: Sequence[EncodedText],
    sums: Sequence[float],
    *,
    started: float,
    path: str,
    bf16: bool,
) -> tuple[float, list[tuple[float, dict[str, Any]]], dict[str, Any]]:
    """The perplexity; of each text with scored tokens its own and its ``SentenceScore``; and the ``TextScore``.

    ``sums`` are the summed log-probabilities of the texts' scored tokens. LangliftError if the model's
    probabilities are not finite.
    """
    total, seconds = sum(sums), time.monotonic() - started
    if not isfinite(total):
        raise LangliftError(
            f"the log-probability of the text is {total}",
            "the model's weights may be damaged; if not, try --precision float32",
        )
    used = [(text, e, value) for text, e, value in zip(texts, encoded, sums, strict=True) if e.positions]
    ids = np.array([e.ids[p] for _, e, _ in used for p in e.positions])
    byte_tokens = [number for token, number in tokenizer.get_vocab().items() if BYTE_TOKEN.fullmatch(token)]
    sentences = [
        (exp(-value / len(e.positions)), {"text": text, "tokens": len(e.positions), "log_probability": value})
        for text, e, value in used
    ]
    shared = {
        "per_character": exp(-total / sum(e.characters for _, e, _ in used)),
        "per_byte": exp(-total / sum(e.bytes for _, e, _ in used)),
        "unknown_share": float((ids == tokenizer.unk_token_id).mean()),
        "byte_share": float(np.isin(ids, byte_tokens).mean()),
        "sentences": len(used),
        "tokens": len(ids),
        "truncated": sum(e.truncated for e in encoded),
        "seconds": round(seconds, 2),
        "path": path,
        "precision": precision_name(bf16),
        "tokens_per_second": round(len(ids) / max(seconds, 1e-9), 1),
        "peak_memory_bytes": peak_memory_bytes(),
    }
    return exp(-total / len(ids)), sentences, shared


def require_known(path: str, precision: str) -> None:
    """Raise an InputError for an unknown path or precision."""
    for name, value, choices in (("path", path, PATHS), ("precision", precision, PRECISIONS)):
        if value not in choices:
            raise InputError(f"unknown {name} '{value}'", f"one of {', '.join(choices)}")


def batches_by_length(
    lengths: Sequence[int], at_once: int = TOKENS_AT_ONCE, most: float = inf
) -> Iterator[list[int]]:
    """The numbers of texts, shortest first, in batches of at most ``at_once`` tokens and ``most`` texts."""
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and (len(batch) == most or (len(batch) + 1) * lengths[number] > at_once):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
