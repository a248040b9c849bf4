"""The fast implementation of a language modelling loss, and a naive one as its reference; same results."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from langlift.backbones.quick_dropout import use_quick_dropout
from langlift.backbones.registry import first_position
from langlift.backbones.segmented_attention import takes_flat_batches, use_flat_attention
from langlift.progress import say
from langlift.training.examples import Collate, FlatBatch, PadBatch
from langlift.training.language_model_loss import fast_loss, summed_loss

SummedLoss = Callable[[PreTrainedModel, dict[str, Tensor]], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class LossPath:
    """The layout of batches, and the summed loss of a batch."""

    collate: Collate
    loss: SummedLoss


def loss_path(path: str, model: PreTrainedModel, pad_token_id: int) -> LossPath:
    """The ``fast`` or ``naive`` path for a model, whose attention is set accordingly, in place."""
    collate = collate_for(path, model, pad_token_id)
    return LossPath(collate, summed_loss if path == "naive" else fast_loss)


def collate_for(path: str, model: PreTrainedModel, pad_token_id: int) -> Collate:
    """Flat batches on the fast path if the model supports them; otherwise padded ones, with a message."""
    if path == "naive":
        return PadBatch(pad_token_id)
    if takes_flat_batches(model):
        use_flat_attention(model)
        use_quick_dropout(model)
        return FlatBatch(first_position(model))
    say(f"{type(model).__name__} does not support unpadded batches: texts of similar length are padded instead")
    return PadBatch(pad_token_id)
