"""Whether an exported model gives the answers that the run gives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from langlift.errors import LangliftError
from langlift.training.trainer import Batch

LIMIT = 1e-3
"""The largest difference of two logits that is still the same answer, computed in another order."""
NEUTRAL = (
    "Anna, Maria, Ali: 3.",
    "Malta 2024",
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10.",
    "Tokio, Nairobi, Lima, Praha, Bamako (12:30).",
    "a b c d e f g",
    "www.example.org",
)
"""What a model is tried on where its run recorded no sentences: strings of no language in particular."""

Computed = Callable[[Batch], Tensor]
"""A padded batch in, logits [items, classes] out."""


@dataclass(frozen=True)
class Parity:
    """Two computations on the same batches.

    ``items`` were answered (sentences, words or gaps); ``difference`` is the largest absolute one between their
    logits, ``agreement`` the share of items whose most probable class is the same.
    """

    items: int
    difference: float
    agreement: float


@torch.inference_mode()
def answers_to(batches: Sequence[Batch], computed: Computed) -> list[Tensor]:
    """The logits of each batch's items."""
    return [computed(batch).float().cpu() for batch in batches]


def compared(expected: Sequence[Tensor], found: Sequence[Tensor]) -> Parity:
    """Two computations' logits of the same batches; what is not a number differs infinitely."""
    items, same, difference = 0, 0, 0.0
    for theirs, ours in zip(expected, found, strict=True):
        if theirs.shape != ours.shape:
            raise RuntimeError(f"logits of shapes {tuple(theirs.shape)} and {tuple(ours.shape)}")
        largest = float((theirs - ours).abs().max())
        difference = max(difference, largest if largest == largest else float("inf"))
        same += int((theirs.argmax(dim=-1) == ours.argmax(dim=-1)).sum())
        items += len(theirs)
    return Parity(items, difference, same / items)


def require_parity(parity: Parity, what: str) -> None:
    """Raise a LangliftError if two computations differ by more than ``LIMIT``."""
    if not parity.difference <= LIMIT:
        raise LangliftError(
            f"{what} does not compute what the run computes: logits differ by up to {parity.difference:.2g} "
            f"(allowed: {LIMIT:g}), {parity.agreement:.1%} of the answers are the same",
            "nothing was written; please report it, with the method and the base model",
        )
