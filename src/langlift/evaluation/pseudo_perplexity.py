"""Pseudo-perplexity of masked language models (Salazar et al. 2020; within words: Kauf and Ivanova 2023)."""

import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from langlift.backbones.base_model import BaseModel, BaseName
from langlift.backbones.loading import default_device, longest_input
from langlift.checkpoints.adapter_folder import load_adapter
from langlift.errors import InputError
from langlift.evaluation.masked_copies import EncodedText, MaskedCopies, scoring_path
from langlift.evaluation.perplexity import shared_scores
from langlift.evaluation.scores import SentenceScore, TextScore, require_known
from langlift.masking import Offsets, word_numbers
from langlift.progress import ProgressBar
from langlift.training.precision import use_bf16
from langlift.training.trainer import on_device

CHECKED_COPIES = 32
"""Number of masked copies on which bf16 is checked."""
WITHIN_WORD = "within_word_l2r"
VARIANTS = ("default", WITHIN_WORD, "published")


@dataclass(frozen=True, kw_only=True)
class MaskedSentence(SentenceScore):
    """One sentence and its own pseudo-perplexity."""

    pseudo_perplexity: float


@dataclass(frozen=True, kw_only=True)
class Score(TextScore):
    """The pseudo-perplexity of a text (lower is better).

    ``per_character`` and ``per_byte`` divide the same log-probability by Unicode code points and UTF-8 bytes.
    ``unknown_share`` and ``byte_share`` are the shares of tokens that are the unknown token or byte-fallback
    tokens. ``truncated`` counts sentences cut at the model's maximum input length; only scored text counts as
    characters and bytes. ``per_sentence`` has each sentence's own scores.
    """

    pseudo_perplexity: float
    per_sentence: list[MaskedSentence]


def score_sentences(
    model: PreTrainedModel,
    tokenizer: Any,
    sentences: Sequence[str],
    variant: str = "default",
    path: str = "fast",
    precision: str = "float32",
) -> Score:
    """Mask each token in turn and sum the log-probabilities of the true tokens.

    ``default``: every token except special ones, each alone; the corpus value is ``exp(-sum log p / tokens)``.
    ``within_word_l2r`` (Kauf and Ivanova 2023, arXiv 2305.10588): with each token, all later tokens of the same
    word are masked too, so that the tokens of a word do not reveal each other. Words end at white space,
    regardless of the tokenizer, so that ``per_character`` can be compared between vocabularies; in scripts without
    spaces each token is a word. ``published`` (arXiv 2502.10140): special tokens are masked too, and the corpus
    value is the arithmetic mean of the sentences' ``exp(-sum log p / tokens)``. ``precision`` bf16, or auto if it
    selects bf16, casts the model, in place.

    Raises:
        InputError: unknown variant, or no sentence has a token.
    """
    require_known(path, precision)
    if variant not in VARIANTS:
        raise InputError(f"unknown variant '{variant}'", f"one of {', '.join(VARIANTS)}")
    started = time.monotonic()
    encoded = _encode(tokenizer, sentences, longest_input(model, tokenizer), variant)
    if not any(e.positions for e in encoded):
        raise InputError("no sentence contains a token to score", "give a text that contains words")
    copies = MaskedCopies(encoded, tokenizer.mask_token_id)
    log_probabilities = scoring_path(path, model)
    if precision != "float32":
        model.requires_grad_(False)  # so that the whole model is cast
    device = next(model.parameters()).device
    sample = on_device(copies.sample(CHECKED_COPIES), device)
    bf16 = use_bf16(precision, model, lambda: -log_probabilities(model, sample).sum(), device)
    with torch.inference_mode(), ProgressBar("scoring", len(copies), "tokens") as bar:
        sums = copies.summed(model, log_probabilities, bar)

    shared = shared_scores(
        tokenizer,
        np.array([e.ids[p] for e in encoded for p in e.positions]),
        total := sum(sums),
        characters=sum(e.characters for e in encoded),
        bytes_=sum(e.bytes for e in encoded),
        started=started,
        path=path,
        bf16=bf16,
    )
    details = [
        MaskedSentence(
            text=text, tokens=len(e.positions), log_probability=s, pseudo_perplexity=exp(-s / len(e.positions))
        )
        for text, e, s in zip(sentences, encoded, sums, strict=True)
        if e.positions
    ]
    corpus_value = exp(-total / shared["tokens"])
    if variant == "published":
        corpus_value = sum(d.pseudo_perplexity for d in details) / len(details)
    return Score(
        variant=variant,
        pseudo_perplexity=corpus_value,
        sentences=len(details),
        truncated=sum(e.truncated for e in encoded),
        per_sentence=details,
        **shared,
    )


def score_model(
    base: BaseName | str,
    sentences: Sequence[str],
    adapter: Path | None = None,
    variant: str = "default",
    path: str = "fast",
    precision: str = "auto",
) -> Score:
    """Load a base model, attach an adapter if given, and score.

    Raises:
        InputError: an unusable model, adapter or text.
    """
    loaded = BaseModel.load(base, masked_only=True)
    if adapter is not None:
        load_adapter(loaded.model, adapter)
    model = loaded.model.to(default_device()).eval()
    return score_sentences(model, loaded.tokenizer, sentences, variant, path, precision)


def _encode(tokenizer: Any, sentences: Sequence[str], longest: int, variant: str) -> list[EncodedText]:
    encodings = tokenizer(
        list(sentences), truncation=True, max_length=longest, return_offsets_mapping=True, verbose=False
    )
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    encoded = []
    for text, ids, offsets in zip(sentences, encodings["input_ids"], encodings["offset_mapping"], strict=True):
        truncated = len(ids) == longest and offsets[-2][1] < len(text.rstrip())
        covered = text[: max(end for _, end in offsets)] if truncated else text
        positions = [p for p, i in enumerate(ids) if variant == "published" or i not in special]
        ends = _word_ends(text, offsets, positions) if variant == WITHIN_WORD else None
        encoded.append(EncodedText(ids, positions, len(covered), len(covered.encode()), truncated, ends))
    return encoded


def _word_ends(text: str, offsets: Offsets, positions: Sequence[int]) -> list[int]:
    """For each of ``positions`` the end (exclusive) of its word's tokens."""
    scored = set(positions)
    # One word number for all, so that words end only at white space: pre-tokenizers differ by model.
    words = word_numbers(text, offsets, [0 if p in scored else None for p in range(len(offsets))])
    starts = [*(np.flatnonzero(np.diff(words)) + 1), len(words)]
    return [int(starts[bisect_right(starts, position)]) for position in positions]
