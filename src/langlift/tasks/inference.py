"""Class probabilities of examples, with any classifier of sentences or tokens."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from langlift.training.examples import Collate, Example
from langlift.training.precision import autocast
from langlift.training.trainer import on_device

PREDICTION_BATCH = 32

Probabilities = npt.NDArray[np.float32]


@torch.inference_mode()
def probabilities_of(
    model: nn.Module, examples: Sequence[Example], collate: Collate, bf16: bool = False
) -> list[Probabilities]:
    """The class probabilities of each example's labelled items, in order; shape [items, classes] each.

    A sentence is one item; of words, an item is each token with a label (of any value). ``bf16``: as the model
    was trained.
    """
    model.eval()
    device = next(model.parameters()).device
    by_length = np.argsort([len(example["input_ids"]) for example in examples], kind="stable")
    found: dict[int, Probabilities] = {}
    for start in range(0, len(examples), PREDICTION_BATCH):
        numbers = by_length[start : start + PREDICTION_BATCH]
        batch = [examples[number] for number in numbers]
        with autocast(device, bf16):
            logits = model(on_device(collate(batch), device))
        shares = logits.float().softmax(dim=-1).cpu().numpy()
        # Sorted by length already, the batch keeps its order in either layout.
        ends = np.cumsum([np.count_nonzero(example["labels"] >= 0) for example in batch])[:-1]
        found |= zip(numbers.tolist(), np.split(shares, ends), strict=True)
    return [found[number] for number in range(len(examples))]
