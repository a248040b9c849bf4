"""Class probabilities of examples, with any classifier of sentences or tokens."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.data import DataLoader

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
    ordered = [examples[number] for number in by_length]
    found: list[Probabilities] = []
    for batch in DataLoader(ordered, batch_size=PREDICTION_BATCH, collate_fn=collate):  # type: ignore[arg-type]
        with autocast(device, bf16):
            logits = model(on_device(batch, device))
        shares = logits.float().softmax(dim=-1).cpu().numpy()
        # Sorted by length already, the batch keeps its order in either layout.
        part = ordered[len(found) : len(found) + PREDICTION_BATCH]
        ends = np.cumsum([np.count_nonzero(example["labels"] >= 0) for example in part])[:-1]
        found += np.split(shares, ends)
    return [found[place] for place in np.argsort(by_length, kind="stable")]
