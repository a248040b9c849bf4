"""The optimiser for training a model from scratch."""

from typing import Any

import torch
from torch import nn


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for the layers' weight matrices, AdamW for everything else.

    Muon (Jordan et al. 2024; here ``torch.optim.Muon``, its update scaled to AdamW's root mean square,
    so that one learning rate serves both) orthogonalises the momentum of a matrix. It is not meant for
    embeddings, the output layer, biases and norms.
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
        self.muon = torch.optim.Muon(
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
        # The same dictionaries as the parts': what a scheduler sets here is what they read.
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
