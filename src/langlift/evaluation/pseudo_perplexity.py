"""Pseudo-perplexity of masked language models (Salazar et al. 2020; within words: Kauf and Ivanova 2023)."""

import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from langlift.backbones.loading import BaseModel, BaseName, default_device, is_causal
from langlift.checkpoints.adapter_folder import load_adapter
from langlift.errors import InputError
from langlift.evaluation.masked_copies import MaskedCopies, scoring_path
from langlift.evaluation.perplexity import Perplexity, score_texts
from langlift.evaluation.scores import (
    EncodedText,
    SentenceScore,
    TextScore,
    encoded_texts,
    in_bf16,
    require_known,
    summarised,
)
from langlift.masking import word_numbers
from langlift.progress import ProgressBar

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
    encoded = encoded_texts(model, tokenizer, sentences, specials=variant == "published")
    if variant == WITHIN_WORD:
        encoded = [replace(one, ends=_word_ends(text, one)) for text, one in zip(sentences, encoded, strict=True)]
    if not any(e.positions for e in encoded):
        raise InputError("no sentence contains a token to score", "give a text that contains words")
    copies = MaskedCopies(encoded, tokenizer.mask_token_id)
    log_probabilities = scoring_path(path, model)
    bf16 = in_bf16(precision, model, log_probabilities, copies.sample(CHECKED_COPIES))
    with torch.inference_mode(), ProgressBar("scoring", len(copies), "tokens") as bar:
        sums = copies.summed(model, log_probabilities, bar)
    value, each, shared = summarised(tokenizer, sentences, encoded, sums, started=started, path=path, bf16=bf16)
    of_sentences = [MaskedSentence(pseudo_perplexity=own, **fields) for own, fields in each]
    if variant == "published":
        value = mean(own for own, _ in each)
    return Score(variant=variant, pseudo_perplexity=value, per_sentence=of_sentences, **shared)


def score_model(
    base: BaseName | str,
    texts: Sequence[str],
    adapter: Path | None = None,
    variant: str = "default",
    path: str = "fast",
    precision: str = "auto",
) -> Score | Perplexity:
    """Load a base model, attach an adapter if given, and score; decoders have a ``Perplexity``.

    Raises:
        InputError: an unusable model, adapter or text, or a variant of masked models for a decoder.
    """
    causal = is_causal(base)
    if causal and variant != "default":
        raise InputError(f"--variant {variant}: only for masked language models", "leave it out")
    loaded = BaseModel.load(base)
    if adapter is not None:
        load_adapter(loaded.model, adapter)
    model = loaded.model.to(default_device()).eval()
    if causal:
        return score_texts(model, loaded.tokenizer, texts, path, precision)
    return score_sentences(model, loaded.tokenizer, texts, variant, path, precision)


def _word_ends(text: str, encoded: EncodedText) -> list[int]:
    """For each scored token the end (exclusive) of its word's tokens."""
    scored = set(encoded.positions)
    # One word number for all, so that words end only at white space: pre-tokenizers differ by model.
    numbers = [0 if p in scored else None for p in range(len(encoded.ids))]
    words = word_numbers(text, encoded.offsets, numbers)
    starts = [*(np.flatnonzero(np.diff(words)) + 1), len(words)]
    return [int(starts[bisect_right(starts, position)]) for position in encoded.positions]
