"""A masked head trained with an adapter: a file of its own beside the adapter."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from langlift.backbones.masked_head import head_parameters
from langlift.checkpoints.weight_files import read_safetensors
from langlift.errors import InputError

MASKED_HEAD = "masked_head.safetensors"


def save_masked_head(model: PreTrainedModel, folder: Path) -> None:
    """Write the model's masked head, without its decoder, into an existing folder; names as in the model."""
    weights = {name: p.detach().cpu().contiguous() for name, p in head_parameters(model).items()}
    save_file(weights, folder / MASKED_HEAD)


def load_masked_head(model: PreTrainedModel, folder: Path) -> None:
    """Load the masked head of an adapter folder into a model, in place, if the folder has one.

    Raises:
        InputError: the file is damaged, or from another architecture or width.
    """
    path = folder / MASKED_HEAD
    if not path.exists():
        return
    stored, here = read_safetensors(path), head_parameters(model)
    shapes = {name: tuple(weight.shape) for name, weight in stored.items()}
    if shapes != {name: tuple(parameter.shape) for name, parameter in here.items()}:
        raise InputError(
            f"{path}: a masked head of another architecture or width", "give the base it was trained on"
        )
    with torch.no_grad():
        for name, parameter in here.items():
            parameter.copy_(stored[name])
