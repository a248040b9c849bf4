"""Hidden states of padded batches by CUDA graphs: one launch for a whole pass, instead of one for each kernel."""

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode
from transformers import PreTrainedModel

from langlift.backbones.hidden_states import hidden_states

LENGTH_STEP = 32
"""Batches are padded to a multiple of this number of tokens: each length has a graph of its own."""


class GraphedStates:
    """The body's forward and backward pass in training, captured once for each shape of a batch, then replayed.

    In a small batch a GPU spends most of a step waiting for the next kernel; a graph launches all of them at once.
    Dropout differs from replay to replay, because graphs draw from PyTorch's generator; capturing a graph leaves
    its state as it was, so that a resumed run, which captures anew, computes the same. The graphs share their
    memory: a batch's backward pass must come before the next batch's forward pass. Weights may be updated in
    place only.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._graphs: dict[tuple[object, ...], Callable[..., Tensor]] = {}
        self._pool = torch.cuda.graph_pool_handle() if torch.cuda.is_available() else None
        for parameter in model.parameters():
            if parameter.requires_grad:  # the next replay writes into a graph's own gradients
                parameter.register_hook(torch.clone)

    def applies(self, batch: Mapping[str, Tensor]) -> bool:
        """Whether a batch is computed by a graph: in training on a GPU, unless operations are being counted."""
        training = self._model.training and torch.is_grad_enabled()
        return training and batch["input_ids"].is_cuda and _get_current_dispatch_mode() is None

    def __call__(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The last hidden states of a padded batch with an attention mask; shape [sentences * length, d]."""
        inputs = (batch["input_ids"], batch["attention_mask"])
        trained = tuple(parameter.requires_grad for parameter in self._model.parameters())
        key = (inputs[0].shape, trained)
        if key not in self._graphs:
            self._graphs[key] = self._captured(*inputs)
        return self._graphs[key](*inputs)

    def _captured(self, ids: Tensor, mask: Tensor) -> Callable[..., Tensor]:
        kind = ids.device.type
        casts = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
        with (
            torch.random.fork_rng([ids.device] if ids.is_cuda else []),
            torch.autocast(kind, casts[1], enabled=casts[0], cache_enabled=False),
        ):
            graphed = torch.cuda.make_graphed_callables(
                _Body(self._model), (ids.clone(), mask.clone()), allow_unused_input=True, pool=self._pool
            )
        return cast("Callable[..., Tensor]", graphed)


class _Body(nn.Module):
    """The body with positional arguments, as graphs need it."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return hidden_states(self.model, {"input_ids": ids, "attention_mask": mask})
