"""Sentences with one token masked at a time, and the log-probabilities of the masked tokens."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import torch
from torch import Tensor
from transformers import PreTrainedModel

from langlift.backbones.hidden_states import hidden_states
from langlift.backbones.registry import first_position
from langlift.backbones.segmented_attention import FLAT, supports_flat_batches, use_flat_attention
from langlift.evaluation.scores import TOKENS_AT_ONCE, EncodedText, LogProbabilities
from langlift.progress import ProgressBar
from langlift.training.decoder_loss import log_probabilities
from langlift.training.language_model_loss import before_decoder, decoder_of, logits_at
from langlift.training.trainer import on_device


class MaskedCopies:
    """A copy of every sentence for each of its tokens, with that token (and those masked with it) masked.

    A batch, of equal length, has ``input_ids`` int64 [copies, length], ``masked`` int64 [copies] (the position of
    the token) and ``targets`` int64 [copies] (the token).
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
        targets = ids[torch.arange(len(copies)), masked]
        places = torch.arange(ids.shape[1])
        ids[(places >= masked[:, None]) & (places < ends[:, None])] = self._mask
        return {"input_ids": ids, "masked": masked, "targets": targets}


def scoring_path(path: str, model: PreTrainedModel) -> LogProbabilities:
    """Computes log-probabilities on the ``fast`` or ``naive`` path; sets the model's attention, in place."""
    if path == "naive":
        return naive_log_probabilities
    if supports_flat_batches(model):
        use_flat_attention(model)
    return fast_log_probabilities


def naive_log_probabilities(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    """The log-probability of every masked token of a batch of ``MaskedCopies``: float32 [copies]."""
    logits = logits_at(model, {"input_ids": batch["input_ids"]}, _chosen(batch))
    return logits.log_softmax(dim=-1).gather(1, batch["targets"][:, None]).squeeze(1)


def fast_log_probabilities(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    """The same, but the end of the last layer and the head are computed only for the masked tokens."""
    ids = batch["input_ids"]
    inputs = {"input_ids": ids}
    if model.config._attn_implementation == FLAT:
        count, length = ids.shape
        positions = torch.arange(length, device=ids.device) + first_position(model)
        inputs = {
            "input_ids": ids.view(1, -1),
            "position_ids": positions.repeat(count)[None],
            "lengths": torch.full((count,), length),
        }
    rows = _chosen(batch).view_as(inputs["input_ids"])
    before = before_decoder(model, hidden_states(model, inputs, rows))
    decoder = decoder_of(model)
    return log_probabilities(before, decoder.weight, decoder.bias, batch["targets"])


def _chosen(batch: Mapping[str, Tensor]) -> Tensor:
    places = torch.arange(batch["input_ids"].shape[1], device=batch["masked"].device)
    return places == batch["masked"][:, None]
