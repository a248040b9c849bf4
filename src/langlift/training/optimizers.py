"""The optimiser for training a model from scratch."""

from collections.abc import Sequence
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from langlift.training.precision import has_bf16


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for the layers' weight matrices, AdamW for everything else.

    Muon (Jordan et al. 2024; here ``torch.optim.Muon``, with updates scaled to AdamW's root mean square, so that
    one learning rate suits both) orthogonalises the momentum of a matrix. It is not meant for embeddings, the
    output layer, biases and norms.
    """

    def __init__(self, model: nn.Module, learning_rate: float, weight_decay: float) -> None:
        tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
        matrices, decayed, rest = [], [], []
        for parameter in model.parameters():
            if parameter.ndim < 2:
                rest.append(parameter)
            elif id(parameter) in tables:
                decayed.append(parameter)
            else:
                matrices.append(parameter)
        by_bf16 = has_bf16(next(model.parameters()).device)
        self.muon = (torch.optim.Muon if by_bf16 else Float32Muon)(
            matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        self.adamw = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": weight_decay},
                {"params": rest, "weight_decay": 0.0},
            ],
            lr=learning_rate,
            betas=(0.9, 0.98),
            eps=1e-6,
        )
        self._parts = (self.muon, self.adamw)
        super().__init__(matrices + decayed + rest, {"lr": learning_rate})
        # The parts' own dictionaries, so that a scheduler's changes reach them.
        self.param_groups = [group for part in self._parts for group in part.param_groups]

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for part in self._parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """The state of both parts."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore both parts."""
        self.muon.load_state_dict(state_dict["muon"])
        self.adamw.load_state_dict(state_dict["adamw"])
        self.param_groups = [group for part in self._parts for group in part.param_groups]


class Float32Muon(torch.optim.Muon):
    """``torch.optim.Muon`` with matrix products in float32 instead of bf16, and the same state.

    On processors without bf16, bf16 products are slow.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient, scaled to AdamW's root mean square."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(matrix.grad)
                momentum = state["momentum_buffer"].lerp_(matrix.grad, 1 - group["momentum"])
                update = matrix.grad.lerp(momentum, group["momentum"])
                update = orthogonalised(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(update, alpha=-group["lr"] * 0.2 * sqrt(max(matrix.shape)))


def orthogonalised(matrix: Tensor, coefficients: Sequence[float], steps: int, least_norm: float) -> Tensor:
    """About the nearest orthogonal matrix, float32 [rows, columns], by Newton-Schulz iteration (Jordan 2024)."""
    a, b, c = coefficients
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / wide.norm().clamp(min=least_norm)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide
