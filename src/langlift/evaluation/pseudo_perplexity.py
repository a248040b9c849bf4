"""Pseudo-perplexity of masked language models (Salazar et al. 2020)."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import exp
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from langlift.backbones.loading import default_device, load_masked_model, load_tokenizer, longest_input
from langlift.checkpoints.adapter_folder import load_adapter
from langlift.errors import InputError
from langlift.progress import ProgressBar
from langlift.training.masked_loss import logits_at

BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")
TOKENS_AT_ONCE = 4096
VARIANTS = ("default", "published")


@dataclass(frozen=True)
class SentenceScore:
    """One sentence: its tokens scored, summed natural log-probability and own pseudo-perplexity."""

    text: str
    tokens: int
    log_probability: float
    pseudo_perplexity: float


@dataclass(frozen=True)
class Score:
    """Pseudo-perplexities of a text (lower is better) and what they were computed from.

    ``per_character`` and ``per_byte`` spread the same log-probability over Unicode code points and
    UTF-8 bytes. ``unknown_share`` and ``byte_share`` are the shares of tokens that are the unknown
    token or byte-fallback tokens. ``truncated`` counts sentences cut at the model's longest input;
    only what was scored counts as characters and bytes.
    """

    variant: str
    pseudo_perplexity: float
    per_character: float
    per_byte: float
    unknown_share: float
    byte_share: float
    sentences: int
    tokens: int
    truncated: int
    seconds: float
    per_sentence: list[SentenceScore]


@dataclass(frozen=True)
class _Encoded:
    ids: list[int]
    positions: list[int]
    """Positions that are masked, one after the other."""
    characters: int
    bytes: int
    truncated: bool


def score_sentences(
    model: PreTrainedModel, tokenizer: Any, sentences: Sequence[str], variant: str = "default"
) -> Score:
    """Mask each token alone and sum the log-probabilities of the true tokens.

    ``default``: every token but the special ones; the corpus value is ``exp(-sum log p / tokens)``.
    ``published`` (arXiv 2502.10140): special tokens are masked too, and the corpus value is the
    arithmetic mean of the sentences' ``exp(-sum log p / tokens)``.

    Raises:
        InputError: unknown variant, or no sentence holds a token.
    """
    if variant not in VARIANTS:
        raise InputError(f"unknown variant '{variant}'", f"one of {', '.join(VARIANTS)}")
    started = time.monotonic()
    encoded = _encode(tokenizer, sentences, longest_input(model, tokenizer), variant)
    if not any(e.positions for e in encoded):
        raise InputError("no sentence holds a token to score", "give text with words in it")
    sums = _log_probabilities(model, tokenizer.mask_token_id, encoded)

    tokens = sum(len(e.positions) for e in encoded)
    total = sum(sums)
    ids = torch.tensor([e.ids[p] for e in encoded for p in e.positions])
    byte_ids = [i for token, i in tokenizer.get_vocab().items() if BYTE_TOKEN.fullmatch(token)]
    details = [
        SentenceScore(text, len(e.positions), s, exp(-s / len(e.positions)))
        for text, e, s in zip(sentences, encoded, sums, strict=True)
        if e.positions
    ]
    corpus_value = exp(-total / tokens)
    if variant == "published":
        corpus_value = sum(d.pseudo_perplexity for d in details) / len(details)
    return Score(
        variant=variant,
        pseudo_perplexity=corpus_value,
        per_character=exp(-total / sum(e.characters for e in encoded)),
        per_byte=exp(-total / sum(e.bytes for e in encoded)),
        unknown_share=float((ids == tokenizer.unk_token_id).double().mean()),
        byte_share=float(torch.isin(ids, torch.tensor(byte_ids, dtype=ids.dtype)).double().mean()),
        sentences=len(details),
        tokens=tokens,
        truncated=sum(e.truncated for e in encoded),
        seconds=round(time.monotonic() - started, 2),
        per_sentence=details,
    )


def score_model(
    base: str,
    sentences: Sequence[str],
    adapter: Path | None = None,
    variant: str = "default",
    trust_remote_code: bool = False,
) -> Score:
    """Load a base model, attach an adapter if one is named, and score.

    Raises:
        InputError: a model, adapter or text that cannot be used.
    """
    tokenizer = load_tokenizer(base, trust_remote_code)
    model = load_masked_model(base, trust_remote_code)
    if adapter is not None:
        load_adapter(model, adapter)
    return score_sentences(model.to(default_device()).eval(), tokenizer, sentences, variant)


def _encode(tokenizer: Any, sentences: Sequence[str], longest: int, variant: str) -> list[_Encoded]:
    encodings = tokenizer(
        list(sentences), truncation=True, max_length=longest, return_offsets_mapping=True, verbose=False
    )
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    encoded = []
    for text, ids, offsets in zip(sentences, encodings["input_ids"], encodings["offset_mapping"], strict=True):
        truncated = len(ids) == longest and offsets[-2][1] < len(text.rstrip())
        covered = text[: max(end for _, end in offsets)] if truncated else text
        positions = [p for p, i in enumerate(ids) if variant == "published" or i not in special]
        encoded.append(_Encoded(ids, positions, len(covered), len(covered.encode()), truncated))
    return encoded


@torch.inference_mode()
def _log_probabilities(model: PreTrainedModel, mask_id: int, encoded: Sequence[_Encoded]) -> list[float]:
    """The summed log-probability of each sentence, natural logarithm, accumulated in float64."""
    device = next(model.parameters()).device
    sums = [0.0] * len(encoded)
    with ProgressBar("scoring", sum(len(e.positions) for e in encoded), "tokens") as bar:
        for owners, ids, positions in _batches(encoded):
            ids, positions = ids.to(device), positions.to(device)
            rows = torch.arange(len(ids), device=device)
            targets = ids[rows, positions]
            masked = ids.clone()
            masked[rows, positions] = mask_id
            chosen = torch.zeros_like(ids, dtype=torch.bool)
            chosen[rows, positions] = True
            logits = logits_at(model, {"input_ids": masked}, chosen)
            values = logits.log_softmax(dim=-1)[rows, targets].double().tolist()
            for owner, value in zip(owners, values, strict=True):
                sums[owner] += value
            bar.advance(len(owners))
    return sums


def _batches(encoded: Sequence[_Encoded]) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """(sentence numbers, token ids [n, length], position to mask [n]); copies of equal length, so no padding."""
    copies = [(len(e.ids), owner, p) for owner, e in enumerate(encoded) for p in e.positions]
    for length, group in groupby(sorted(copies), key=lambda copy: copy[0]):
        same = list(group)
        size = max(1, TOKENS_AT_ONCE // length)
        for start in range(0, len(same), size):
            chunk = same[start : start + size]
            yield (
                [owner for _, owner, _ in chunk],
                torch.tensor([encoded[owner].ids for _, owner, _ in chunk]),
                torch.tensor([position for _, _, position in chunk]),
            )
