"""Freezing the encoder at the start of training, while embeddings and head adjust to a new vocabulary."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedModel, TrainerCallback, TrainerState

from langlift.backbones.registry import backbone_of


def encoder_parameters(model: PreTrainedModel) -> list[nn.Parameter]:
    """The trainable parameters that belong neither to the embeddings nor to the MLM head."""
    body = model.base_model
    embeddings = {id(p) for p in body.get_submodule(backbone_of(model).embeddings).parameters()}
    return [p for p in body.parameters() if p.requires_grad and id(p) not in embeddings]


class FreezeAtStart(TrainerCallback):
    """Freezes the encoder's parameters in the first ``steps`` steps, only while a step is computed.

    They remain in checkpoints and in the optimiser, which skips parameters without a gradient. Freezing depends
    only on the step number, so that a resumed run continues exactly.
    """

    def __init__(self, encoder: Sequence[nn.Parameter], steps: int) -> None:
        self._encoder, self._steps = encoder, steps

    def on_step_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Freeze."""
        if state.global_step < self._steps:
            self.train_encoder(False)

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Unfreeze, before anything is measured or saved."""
        self.train_encoder(True)

    def train_encoder(self, trains: bool) -> None:
        """Whether the encoder's parameters get gradients."""
        for parameter in self._encoder:
            parameter.requires_grad_(trains)
