"""From examples to class probabilities, with any classifier of sentences or tokens."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.data import DataLoader

from langlift.training.examples import Collate, Example, OnePass
from langlift.training.precision import autocast
from langlift.training.trainer import on_device

PREDICTION_BATCH = 32

Probabilities = npt.NDArray[np.float32]


@torch.inference_mode()
def probabilities_of(
    model: nn.Module, examples: Sequence[Example], collate: Collate, bf16: bool = False
) -> list[Probabilities]:
    """The class probabilities of each example's labelled items, in order; shape [items, classes] each.

    A sentence is one item; of words, an item is each token with a label (its value is not looked at).
    ``bf16``: the model was trained so, and its frozen weights are.
    """
    model.eval()
    device = next(model.parameters()).device
    by_length = np.argsort([len(example["input_ids"]) for example in examples], kind="stable")
    in_order = OnePass(lambda place, _: examples[by_length[place]], len(examples))
    found: list[Probabilities] = [np.empty((0, 0), dtype=np.float32)] * len(examples)
    done = 0
    for batch in DataLoader(in_order, batch_size=PREDICTION_BATCH, collate_fn=collate):
        with autocast(device, bf16):
            logits = model(on_device(batch, device))
        shares = logits.float().softmax(dim=-1).cpu().numpy()
        # Sorted by length already, the batch keeps its order in either layout.
        places = by_length[done : done + PREDICTION_BATCH]
        counts = [np.count_nonzero(examples[place]["labels"] >= 0) for place in places]
        for place, part in zip(places, np.split(shares, np.cumsum(counts)[:-1]), strict=True):
            found[place] = part
        done += len(places)
    return found
