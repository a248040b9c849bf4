"""Check that an exported model computes what the run computes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from langlift.errors import LangliftError
from langlift.training.trainer import Batch

LIMIT = 1e-3
"""The largest difference between two logits that rounding may cause."""
NEUTRAL = (
    "Anna, Maria, Ali: 3.",
    "Malta 2024",
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10.",
    "Tokio, Nairobi, Lima, Praha, Bamako (12:30).",
    "a b c d e f g",
    "www.example.org",
)
"""For runs without saved sentences: strings of no particular language."""

Compute = Callable[[Batch], Tensor]
"""A padded batch -> logits [items, classes]."""


@dataclass(frozen=True)
class Parity:
    """A comparison on the same batches of ``items`` (sentences, words or gaps).

    ``difference`` is the largest absolute one between two logits, ``agreement`` the share of items with the same
    most probable class.
    """

    items: int
    difference: float
    agreement: float


@torch.inference_mode()
def logits_on(batches: Sequence[Batch], compute: Compute) -> list[Tensor]:
    """The logits of each batch's items."""
    return [compute(batch).float().cpu() for batch in batches]


def compared(expected: Sequence[Tensor], found: Sequence[Tensor]) -> Parity:
    """Compare logits of the same batches; NaN is an infinite difference."""
    items, same, difference = 0, 0, 0.0
    for theirs, ours in zip(expected, found, strict=True):
        largest = float((theirs - ours).abs().max())
        difference = max(difference, largest if largest == largest else float("inf"))
        same += int((theirs.argmax(dim=-1) == ours.argmax(dim=-1)).sum())
        items += len(theirs)
    return Parity(items, difference, same / items)


def require_parity(parity: Parity, what: str) -> None:
    """Raise a LangliftError if the logits differ by more than ``LIMIT``."""
    if not parity.difference <= LIMIT:
        raise LangliftError(
            f"{what} does not compute what the run computes: logits differ by up to {parity.difference:.2g} "
            f"(allowed: {LIMIT:g}), {parity.agreement:.1%} of the answers are the same",
            "nothing was written; please report it, with the method and the base model",
        )
