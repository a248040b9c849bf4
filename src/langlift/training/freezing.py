"""Freezing the encoder at the start of training, while embeddings and head adjust to a new vocabulary."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from langlift.backbones.registry import backbone_of


def encoder_parameters(model: PreTrainedModel) -> list[nn.Parameter]:
    """The trainable parameters that belong neither to the embeddings nor to the masked head."""
    body = model.base_model
    embeddings = {id(p) for p in body.get_submodule(backbone_of(model).embeddings).parameters()}
    return [p for p in body.parameters() if p.requires_grad and id(p) not in embeddings]


@contextmanager
def frozen(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Freeze these parameters inside this context."""
    _set_trainable(parameters, False)
    try:
        yield
    finally:
        _set_trainable(parameters, True)


class FreezeAtStart(TrainerCallback):
    """Freezes parameters in the first ``steps`` steps, only while a step is computed.

    They stay in checkpoints and in the optimiser, which skips parameters without gradient. What is frozen depends
    only on the number of the step, so that a resumed run continues exactly.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], steps: int) -> None:
        self._parameters, self._steps = parameters, steps

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Freeze."""
        if state.global_step < self._steps:
            _set_trainable(self._parameters, False)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Unfreeze, before anything is measured or saved."""
        _set_trainable(self._parameters, True)


def _set_trainable(parameters: Sequence[nn.Parameter], trains: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(trains)
