"""AdapterFusion (Pfeiffer et al. 2021, section 3.2): learned attention over several bottleneck adapters."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

PENALTY = 0.01
"""Weight of the regulariser in the loss, as published."""
NEARLY_ZERO = 1e-6
"""Initial value of the off-diagonal entries of W_v; the diagonal is 1."""


class AdapterFusion(nn.Module):
    """Takes the place of the adapters A_i that it fuses: ``F(z) = sum_i p_i W_v u_i`` with ``u_i = A_i(z)``.

    ``p = softmax(dropout(scores))``, ``scores_i = (W_q z + b_q) . (W_k u_i + b_k)``, unscaled, one head.
    Like a single adapter's output it is added to s, so a post-LN layer computes ``y = LN(s + F(LN s))``
    and a pre-LN layer ``s + F(s)``. W_q and W_k start from N(0, 0.02), their biases from 0, W_v (without
    bias) from the identity.
    """

    def __init__(self, adapters: nn.ModuleDict, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.adapters = adapters
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.attention = nn.Softmax(dim=-1)
        for linear in (self.query, self.key):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
        with torch.no_grad():
            self.value.weight.fill_(NEARLY_ZERO).fill_diagonal_(1.0)

    def forward(self, z: Tensor) -> Tensor:
        """Shape [..., d] -> [..., d]."""
        outputs = torch.stack([adapter(z) for adapter in self.adapters.values()], dim=-2)
        query = self.query(z)
        # W_k is applied to the query and W_v to the sum: once per token instead of once per adapter.
        scores = (outputs * (query @ self.key.weight).unsqueeze(-2)).sum(dim=-1)
        scores = (scores + (query @ self.key.bias).unsqueeze(-1)).float()
        shares = self.attention(self.dropout(scores))
        fused: Tensor = self.value((outputs * shares.unsqueeze(-1)).sum(dim=-2))
        return fused

    def own_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters of the fusion itself, by name, without those of the adapters."""
        for part in ("query", "key", "value"):
            for name, parameter in self.get_submodule(part).named_parameters():
                yield f"{part}.{name}", parameter


def fusions_of(model: nn.Module) -> list[AdapterFusion]:
    """The fusions in a model, from the lowest layer up."""
    return [module for module in model.modules() if isinstance(module, AdapterFusion)]


def fusion_penalty(model: nn.Module) -> Tensor:
    """The regulariser ``0.01 * sum over layers ||I - W_v||^2``, a scalar to add to the mean loss."""
    penalties = []
    for fusion in fusions_of(model):
        weight = fusion.value.weight
        identity = torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
        penalties.append((identity - weight).square().sum())
    return PENALTY * torch.stack(penalties).sum()


@contextmanager
def watched_attention(model: nn.Module) -> Iterator[list[Tensor]]:
    """Within this context, each forward pass appends the weights p of every layer, in order, to the yielded list.

    Each is a tensor [..., adapters], with the leading dimensions of the hidden states.
    """
    seen: list[Tensor] = []

    def note(module: nn.Module, arguments: Any, shares: Tensor) -> None:
        seen.append(shares.detach())

    handles = [fusion.attention.register_forward_hook(note) for fusion in fusions_of(model)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
