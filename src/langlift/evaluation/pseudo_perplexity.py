"""Scores of texts: pseudo-perplexity of masked language models, perplexity of decoders, surprisal of words.

Salazar et al. 2020; within words: Kauf and Ivanova 2023.
"""

import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from math import log
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import regex
import torch
from torch import Tensor
from transformers import PreTrainedModel

from langlift.backbones.loading import BaseModel, BaseName, default_device, is_causal
from langlift.backbones.registry import first_position
from langlift.backbones.segmented_attention import supports_flat_batches, use_flat_attention
from langlift.checkpoints.adapter_folder import load_adapter
from langlift.errors import InputError
from langlift.evaluation.scores import (
    TOKENS_AT_ONCE,
    EncodedText,
    LogProbabilities,
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
from langlift.masking import IGNORED, UNSPACED, word_numbers
from langlift.progress import ProgressBar
from langlift.training.examples import Example
from langlift.training.language_model_loss import collate_for
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
    ``precision`` bf16, or auto if it selects bf16, casts the model, in place. InputError for an unknown path or
    precision, or if no text has a token to score.
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


class MaskedCopies:
    """A copy of every sentence for each of its tokens, with that token (and those masked with it) masked.

    A batch, of equal length, has ``input_ids`` int64 [copies, length], and ``labels`` of this shape: the token at
    its position, and ``IGNORED``.
    """

    def __init__(self, encoded: Sequence[EncodedText], mask_token_id: int) -> None:
        self._encoded, self._mask = encoded, mask_token_id
        copies = [
            (len(e.ids), owner, position, end)
            for owner, e in enumerate(encoded)
            for position, end in zip(e.positions, e.ends or [p + 1 for p in e.positions], strict=True)
        ]
        self._copies = sorted(copies)

    def __len__(self) -> int:
        return len(self._copies)

    def batches(self) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """(sentence numbers, batch), shortest first, each of about ``TOKENS_AT_ONCE`` tokens."""
        for length, group in groupby(self._copies, key=lambda copy: copy[0]):
            same = list(group)
            size = max(1, TOKENS_AT_ONCE // length)
            for start in range(0, len(same), size):
                chunk = same[start : start + size]
                yield [owner for _, owner, _, _ in chunk], self._batch(chunk)

    def sample(self, size: int) -> dict[str, Tensor]:
        """One batch of up to ``size`` copies of medium length, to check the arithmetic."""
        length = self._copies[len(self._copies) // 2][0]
        same = [copy for copy in self._copies if copy[0] == length]
        return self._batch(same[:: max(1, len(same) // size)][:size])

    def summed(self, model: PreTrainedModel, way: LogProbabilities, bar: ProgressBar | None = None) -> list[float]:
        """The summed log-probability of each sentence, natural logarithm, accumulated in float64."""
        device = next(model.parameters()).device
        sums = [0.0] * len(self._encoded)
        for owners, batch in self.batches():
            values = way(model, on_device(batch, device)).double().tolist()
            for owner, value in zip(owners, values, strict=True):
                sums[owner] += value
            if bar:
                bar.advance(len(owners))
        return sums

    def _batch(self, copies: Sequence[tuple[int, int, int, int]]) -> dict[str, Tensor]:
        ids = torch.tensor([self._encoded[owner].ids for _, owner, _, _ in copies])
        masked = torch.tensor([position for _, _, position, _ in copies])
        ends = torch.tensor([end for _, _, _, end in copies])
        places = torch.arange(ids.shape[1])
        labels = ids.where(places == masked[:, None], IGNORED)
        ids[(places >= masked[:, None]) & (places < ends[:, None])] = self._mask
        return {"input_ids": ids, "labels": labels}


def scoring_path(path: str, model: PreTrainedModel) -> LogProbabilities:
    """Computes log-probabilities on the ``fast`` or ``naive`` path; sets the model's attention, in place."""
    if path == "naive":
        return naive_log_probabilities
    if not supports_flat_batches(model):
        return fast_log_probabilities
    use_flat_attention(model)
    return _flat_log_probabilities


def _flat_log_probabilities(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    """``fast_log_probabilities`` of a batch of ``MaskedCopies`` as a flat one."""
    count, length = batch["input_ids"].shape
    positions = torch.arange(length, device=batch["input_ids"].device) + first_position(model)
    flat = {
        "input_ids": batch["input_ids"].view(1, -1),
        "labels": batch["labels"].view(1, -1),
        "position_ids": positions.repeat(count)[None],
        "lengths": torch.full((count,), length),
    }
    return fast_log_probabilities(model, flat)


BETWEEN_SPACES = regex.compile(r"\S+")


@dataclass(frozen=True)
class WordSurprise:
    """A word, its place in the text, and its surprisal in bits: the negative base-2 logarithm of its probability.

    ``bits`` is None for words beyond the model's maximum input length.
    """

    word: str
    start: int
    end: int
    bits: float | None

    @property
    def bits_per_character(self) -> float | None:
        """The mean per character, to compare long and short words."""
        return None if self.bits is None else self.bits / (self.end - self.start)


@torch.inference_mode()
def word_surprises(model: PreTrainedModel, tokenizer: Any, texts: Sequence[str]) -> list[list[WordSurprise]]:
    """The words of every text, separated by spaces, with their surprisals.

    In scripts without spaces between words, the model's tokens are used as words, unless they are single bytes.
    A word's tokens are predicted one by one, with all later tokens of the word masked too, as in within-word
    pseudo-perplexity (Kauf and Ivanova 2023, arXiv 2305.10588), so that they do not reveal each other.
    """
    words: list[list[tuple[int, int]]] = []
    copies: list[EncodedText] = []
    for text, encoded in zip(texts, encoded_texts(model, tokenizer, texts), strict=True):
        scored = [(p, encoded.offsets[p][1]) for p in encoded.positions]
        ends = sorted({end for _, end in scored})
        words.append([unit for found in BETWEEN_SPACES.finditer(text) for unit in _units(found, ends)])
        before = -1
        for _, end in words[-1]:
            # SentencePiece includes the space before a word, and may have a token for the space alone.
            own = [p for p, its_end in scored if before < its_end <= end]
            copies.append(replace(encoded, positions=own, ends=[own[-1] + 1] * len(own) if own else []))
            before = end
    sums = MaskedCopies(copies, tokenizer.mask_token_id).summed(model, naive_log_probabilities)
    bits = iter(-total / log(2) if one.positions else None for one, total in zip(copies, sums, strict=True))
    return [
        [WordSurprise(text[slice(*span)], *span, next(bits)) for span in spans]
        for text, spans in zip(texts, words, strict=True)
    ]


def _units(found: regex.Match[str], ends: Sequence[int]) -> list[tuple[int, int]]:
    """A run between spaces as one word, or, in a script without spaces, split at the ends of tokens."""
    start, end = found.span()
    if not UNSPACED.search(found[0]):
        return [(start, end)]
    cuts = [start, *(one for one in ends if start < one < end), end]
    return list(pairwise(cuts))
