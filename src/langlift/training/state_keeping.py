"""A loss term that preserves an encoder's hidden states while it learns to fill masks."""

import copy

import torch
from torch import Tensor
from transformers import PreTrainedModel

from langlift.backbones.hidden_states import hidden_states
from langlift.masking.masked_language_model import IGNORED
from langlift.training.decoder_loss import summed_cross_entropy
from langlift.training.language_model_loss import before_decoder, decoder_of, logit_cap
from langlift.training.paths import SummedLoss


def frozen_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of the model that does not train, as a teacher."""
    teacher: PreTrainedModel = copy.deepcopy(model).eval()
    return teacher.requires_grad_(False)


def state_keeping_loss(teacher: PreTrainedModel, weight: float) -> SummedLoss:
    """The masked loss, and a term that keeps the last hidden states of all other tokens close to the teacher's.

    With s the state of a token that is not predicted, in a text with masks, and t the teacher's for the same token
    of the text without masks, the term is the unexplained variance of t: the sum of ``|s - t|^2`` over that of
    ``|t - mean(t)|^2``, times ``weight`` and the number of predicted tokens (the masked loss is a sum over these).
    The mean, most of a sentence encoder's norm, carries no meaning and is subtracted. So the states of texts
    without masks are preserved, while those at masks learn to predict the missing word. The term is computed on
    the first half of a batch's texts, which halves its cost.
    """

    def loss(student: PreTrainedModel, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        chosen = batch["labels"] != IGNORED
        states = hidden_states(student, batch)
        change = _lost_variance(teacher, states, first_half(batch))
        decoder = decoder_of(student)
        masked = summed_cross_entropy(
            before_decoder(student, states[chosen.reshape(-1)]),
            decoder.weight,
            decoder.bias,
            batch["labels"][chosen],
            logit_cap(student),
        )
        return masked + weight * chosen.sum() * change, chosen.sum()

    return loss


def with_states_kept(loss: SummedLoss, teacher: PreTrainedModel, weight: float) -> SummedLoss:
    """Another loss over predicted tokens with the term of ``state_keeping_loss``, which here needs a pass."""

    def both(student: PreTrainedModel, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        total, items = loss(student, batch)
        half = first_half(batch)
        return total + weight * items * _lost_variance(teacher, hidden_states(student, half), half), items

    return both


def _lost_variance(teacher: PreTrainedModel, states: Tensor, half: dict[str, Tensor]) -> Tensor:
    """The unexplained variance of the teacher's states, given the student's states of at least these texts."""
    labels = half["labels"]
    with torch.no_grad():
        whole = torch.where(labels != IGNORED, labels, half["input_ids"])
        wanted = hidden_states(teacher, half | {"input_ids": whole})
    kept = labels == IGNORED
    if (mask := half.get("attention_mask")) is not None:
        kept = kept & mask.bool()
    kept = kept.reshape(-1)
    now, then = states[: len(kept)][kept].float(), wanted[kept].float()
    return (now - then).square().sum() / (then - then.mean(0)).square().sum()


def first_half(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The first half, rounded up, of a padded or flat batch's texts."""
    if "lengths" not in batch:
        return {name: tensor[: (len(tensor) + 1) // 2] for name, tensor in batch.items()}
    lengths = batch["lengths"][: (len(batch["lengths"]) + 1) // 2]
    tokens = int(lengths.sum())
    return {name: lengths if name == "lengths" else tensor[:, :tokens] for name, tensor in batch.items()}
