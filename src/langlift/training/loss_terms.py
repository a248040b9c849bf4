"""Terms added to a masked loss: consistency of two passes, hidden states preserved, halves of texts contrasted."""

import copy
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, normalize
from transformers import PreTrainedModel, TrainerCallback, TrainerState

from langlift.adapters.mosa import Mixture
from langlift.backbones.hidden_states import hidden_states, mean_states
from langlift.masking import IGNORED
from langlift.training.decoder_loss import summed_cross_entropy, summed_symmetric_divergence
from langlift.training.examples import HalvingBatch
from langlift.training.language_model_loss import (
    LossPath,
    before_decoder,
    decoder_of,
    fast_loss,
    logit_cap,
    logits_at,
)
from langlift.training.trainer import Batch, SummedLoss


class DrawExperts(TrainerCallback):
    """Draws a mixture's experts before every training step."""

    def __init__(self, mixture: Mixture) -> None:
        self._mixture = mixture

    def on_step_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Draw by the run's seed and the step's number."""
        self._mixture.draw(args.seed, state.global_step)


def consistent_loss(path: str, mixture: Mixture, weight: float) -> SummedLoss:
    """The masked loss of a pass plus ``weight`` times its divergence from a second pass.

    The second pass uses other experts and other dropout; only the first is compared with the labels. The
    divergence is computed at the predicted positions only.
    """

    def loss(model: PreTrainedModel, batch: Batch) -> tuple[Tensor, Tensor]:
        chosen = batch["labels"] != IGNORED
        labels = batch["labels"][chosen]
        if path == "naive" or logit_cap(model) is not None:  # the chunked divergence does not support a cap
            inputs = {name: value for name, value in batch.items() if name != "labels"}
            first = logits_at(model, inputs, chosen)
            mixture.redraw()
            second = logits_at(model, inputs, chosen)
            total = cross_entropy(first, labels, reduction="sum")
            divergence = symmetric_divergence(first, second)
        else:
            decoder = decoder_of(model)
            first = before_decoder(model, hidden_states(model, batch, chosen))
            mixture.redraw()
            second = before_decoder(model, hidden_states(model, batch, chosen))
            total = summed_cross_entropy(first, decoder.weight, decoder.bias, labels)
            divergence = summed_symmetric_divergence(first, second, decoder.weight, decoder.bias)
        return total + weight * divergence, chosen.sum()

    return loss


def symmetric_divergence(first: Tensor, second: Tensor) -> Tensor:
    """``(KL(p || q) + KL(q || p)) / 2`` of the distributions of two sets of logits, summed over rows (nats).

    Shapes [rows, classes]; float32 scalar. As in the published code, each divergence has gradients only for its
    second distribution.
    """
    p, q = first.float().log_softmax(dim=-1), second.float().log_softmax(dim=-1)
    towards_p = kl_div(q, p.detach(), reduction="sum", log_target=True)
    towards_q = kl_div(p, q.detach(), reduction="sum", log_target=True)
    return (towards_p + towards_q) / 2


def frozen_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A frozen copy of the model, as a teacher."""
    teacher: PreTrainedModel = copy.deepcopy(model).eval()
    return teacher.requires_grad_(False)


def state_keeping_loss(teacher: PreTrainedModel, weight: float) -> SummedLoss:
    """A masked loss, and a term that keeps the last hidden states of all other tokens close to the teacher's.

    With s the state of a token that is not predicted, in a text with masks, and t the teacher's for the same token
    of the text without masks, the term is the unexplained variance of t: the sum of ``|s - t|^2`` over that of
    ``|t - mean(t)|^2``, times ``weight`` and the number of predicted tokens (the masked loss is a sum over these).
    The mean, which makes up most of a sentence encoder's norm, carries no information and is subtracted. So the
    states of texts without masks are preserved, while those at masks learn to predict the missing word. The term
    is computed on the first half of a batch's texts, which halves its cost.
    """

    def both(student: PreTrainedModel, batch: Batch) -> tuple[Tensor, Tensor]:
        states = hidden_states(student, batch)
        total, items = fast_loss(student, batch, states)
        return total + weight * items * _lost_variance(teacher, states, first_half(batch)), items

    return both


def _lost_variance(teacher: PreTrainedModel, states: Tensor, half: Batch) -> Tensor:
    """The unexplained variance of the teacher's states, given the student's states of at least these texts."""
    kept = half["labels"] == IGNORED
    with torch.no_grad():
        whole = torch.where(kept, half["input_ids"], half["labels"])
        wanted = hidden_states(teacher, half | {"input_ids": whole})
    if (mask := half.get("attention_mask")) is not None:
        kept = kept & mask.bool()
    kept = kept.reshape(-1)
    now, then = states[: len(kept)][kept].float(), wanted[kept].float()
    return (now - then).square().sum() / (then - then.mean(0)).square().sum()


def first_half(batch: Batch) -> Batch:
    """The first half, rounded up, of a padded or flat batch's texts."""
    if "lengths" not in batch:
        return {name: tensor[: (len(tensor) + 1) // 2] for name, tensor in batch.items()}
    lengths = batch["lengths"][: (len(batch["lengths"]) + 1) // 2]
    tokens = int(lengths.sum())
    return {name: lengths if name == "lengths" else tensor[:, :tokens] for name, tensor in batch.items()}


TEMPERATURE = 0.05
"""Divides the cosine similarities in ``contrastive_loss``; SimCSE's value."""


def contrastive_loss(weight: float) -> SummedLoss:
    """A masked loss, and a term by which a text's two halves recognise each other among those of the batch.

    For batches of ``HalvingBatch``. A half is represented by the mean of its last hidden states. The term is the
    cross-entropy of finding a text's second half by cosine similarity to its first one, and vice versa, averaged
    over the halved texts, times ``weight`` and the number of predicted tokens. Masked training alone moves an
    encoder's states away from what a sentence is about; the halves of a text are about the same thing. As in
    DeCLUTR (arXiv 2006.03659), but in the same pass as the masked loss.
    """

    def both(model: PreTrainedModel, batch: Batch) -> tuple[Tensor, Tensor]:
        states = hidden_states(model, batch)
        total, items = fast_loss(model, batch, states)
        first, second = batch["halves"]
        if len(first) < 2:
            return total, items
        means = normalize(mean_states(states, batch).float(), dim=-1)
        similarities = means[first] @ means[second].T / TEMPERATURE
        same = torch.arange(len(first), device=similarities.device)
        found = (cross_entropy(similarities, same) + cross_entropy(similarities.T, same)) / 2
        return total + weight * items * found, items

    return both


def with_contrast(path: LossPath, weight: float) -> LossPath:
    """The loss path with ``contrastive_loss`` and its batches, unless ``weight`` is 0."""
    return LossPath(HalvingBatch(path.collate), contrastive_loss(weight)) if weight else path
