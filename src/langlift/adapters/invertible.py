"""Invertible adapters on the embeddings (NICE, Dinh et al. 2015; in MAD-X, Pfeiffer et al. 2020)."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from langlift.backbones.registry import backbone_of
from langlift.errors import InputError


class InvertibleCoupling(nn.Module):
    """An additive coupling block: with x = (x1, x2) in halves, ``y1 = x1 + F(x2); y2 = x2 + G(y1)``.

    F and G are ``d/2 -> d/4 -> d/2`` with relu and biases; weights are initialised from N(0, 0.02).
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        half = hidden_size // 2
        self.F = _coupling(half)
        self.G = _coupling(half)

    def forward(self, x: Tensor) -> Tensor:
        """Shape [..., d] -> [..., d]."""
        x1, x2 = x.chunk(2, dim=-1)
        y1 = x1 + self.F(x2)
        return torch.cat((y1, x2 + self.G(y1)), dim=-1)

    def inverse(self, y: Tensor) -> Tensor:
        """The x with ``forward(x) == y``; shape [..., d] -> [..., d]."""
        y1, y2 = y.chunk(2, dim=-1)
        x2 = y2 - self.G(y1)
        return torch.cat((y1 - self.F(x2), x2), dim=-1)

    def after_embeddings(self, module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
        """Forward hook of the embeddings."""
        return self(output)

    def before_decoder(self, module: nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
        """Forward pre-hook of the MLM head's decoder."""
        return (self.inverse(arguments[0]),)


def _coupling(half: int) -> nn.Sequential:
    down, up = nn.Linear(half, half // 2), nn.Linear(half // 2, half)
    for linear in (down, up):
        nn.init.normal_(linear.weight, std=0.02)
        nn.init.zeros_(linear.bias)
    return nn.Sequential(down, nn.ReLU(), up)


def attach_invertible(model: PreTrainedModel, name: str, inverse_at_head: bool) -> None:
    """Add a new block after the embeddings and, if there is an MLM head, its inverse before the decoder.

    InputError if the embeddings and the layers differ in width.
    """
    backbone, hidden_size = backbone_of(model), model.config.hidden_size
    width = model.get_input_embeddings().weight.shape[1]
    if width != hidden_size:
        raise InputError(
            f"an invertible adapter for embeddings of width {width} in a model of width {hidden_size}",
            "choose another method for this base, such as seq_bn",
        )
    embeddings = model.base_model.get_submodule(backbone.embeddings)
    block = InvertibleCoupling(hidden_size).to(device=model.device, dtype=model.dtype)
    embeddings.invertible = nn.ModuleDict({name: block})
    embeddings.register_forward_hook(block.after_embeddings)
    if inverse_at_head:
        model.get_submodule(backbone.head_decoder).register_forward_pre_hook(block.before_decoder)


def invertible_block(model: PreTrainedModel, name: str) -> InvertibleCoupling | None:
    """The invertible block of an attached adapter, if it has one."""
    embeddings = model.base_model.get_submodule(backbone_of(model).embeddings)
    blocks = getattr(embeddings, "invertible", None)
    return blocks[name] if blocks is not None and name in blocks else None
