"""A frozen encoder at the start of training, while embeddings and head settle on a new vocabulary."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from langlift.backbones.registry import backbone_of


def encoder_parameters(model: PreTrainedModel) -> list[nn.Parameter]:
    """The parameters that train and are neither of the embeddings nor of the masked head."""
    body = model.base_model
    embeddings = {id(p) for p in body.get_submodule(backbone_of(model).embeddings).parameters()}
    return [p for p in body.parameters() if p.requires_grad and id(p) not in embeddings]


@contextmanager
def frozen(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Train without these parameters, inside this context."""
    _train(parameters, False)
    try:
        yield
    finally:
        _train(parameters, True)


class FreezeAtStart(TrainerCallback):
    """Freezes parameters in the first ``steps`` steps, while a step is computed and at no other time.

    They stay in the optimiser, which passes over what has no gradient, and in checkpoints. What is frozen
    depends on the number of the step alone, so a resumed run goes on as the killed one would have.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], steps: int) -> None:
        self._parameters, self._steps = parameters, steps

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Freeze."""
        if state.global_step < self._steps:
            _train(self._parameters, False)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Thaw, before anything is measured or saved."""
        _train(self._parameters, True)


def _train(parameters: Sequence[nn.Parameter], trains: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(trains)
