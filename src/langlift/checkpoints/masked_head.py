"""The file next to an adapter with the MLM head that was trained with it."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from langlift.backbones.masked_head import decoder_bias, head_parameters
from langlift.checkpoints.weight_files import read_safetensors
from langlift.errors import InputError

MASKED_HEAD = "masked_head.safetensors"


def save_masked_head(parameters: Mapping[str, nn.Parameter], folder: Path) -> None:
    """Write parameters of a model's MLM head into an existing folder, with their names in the model."""
    save_file({name: p.detach().cpu().contiguous() for name, p in parameters.items()}, folder / MASKED_HEAD)


def stored_head(model: PreTrainedModel, folder: Path) -> dict[str, nn.Parameter]:
    """The parameters of a model's MLM head that an adapter folder contains; they are not loaded.

    Raises:
        InputError: the file is damaged, or from another architecture, width or vocabulary.
    """
    path = folder / MASKED_HEAD
    if not path.exists():
        return {}
    stored, here = read_safetensors(path), head_parameters(model) | decoder_bias(model)
    if any(name not in here or weight.shape != here[name].shape for name, weight in stored.items()):
        raise InputError(
            f"{path}: an MLM head of another architecture, width or vocabulary",
            "give the base it was trained on",
        )
    return {name: here[name] for name in stored}
