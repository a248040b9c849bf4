"""Weights in 8 bits: a model folder of a quarter of the size, loaded as float32."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from langlift.errors import InputError

EIGHT_BITS = "model-8bit.safetensors"
"""The weight file, instead of ``model.safetensors``."""
FORMAT = "langlift-8bit-1"
"""The name of this format in the file's metadata."""
SCALES = ".scales"
"""Suffix of the name of a matrix's scales."""
LARGEST = 127
HINT = "the file is damaged or incomplete: download or write it again"


def write_eight_bits(model: PreTrainedModel, folder: Path) -> None:
    """Write a model's configuration and its weights in 8 bits into ``folder``, which is created if needed.

    A matrix W [rows, columns] becomes the matrix Q (int8) and a scale s (bfloat16) for each row:

        s_i >= max_j |W_ij| / 127,   Q_ij = round(W_ij / s_i),   and it is read as   W'_ij = s_i Q_ij,

    with s_i rounded up to bfloat16 (by less than 1 %), so that no weight moves by more than half its row's scale.
    Other weights (biases, norms) are stored unchanged, tied weights once. The tokenizer is not written. InputError
    if a weight is not a finite number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored: dict[str, Tensor] = {}
    once: dict[int, tuple[str, Tensor]] = {}  # tied weights under the first of their names
    for name, tensor in model.state_dict().items():
        once.setdefault(tensor.data_ptr(), (name, tensor.detach().cpu().contiguous()))
    for name, tensor in once.values():
        if tensor.ndim != 2 or not tensor.is_floating_point():
            stored[name] = tensor
        elif not tensor.isfinite().all():
            raise InputError(
                f"{name}: contains weights that are not finite", "the model is broken: train it again"
            )
        else:
            stored[name], stored[name + SCALES] = _rounded(tensor)
    save_file(stored, folder / EIGHT_BITS, metadata={"format": FORMAT})
    config = deepcopy(model.config)
    config.architectures, config.dtype = [type(model).__name__], torch.float32
    config.save_pretrained(folder)


def has_eight_bits(folder: str | Path) -> bool:
    """Whether a model folder has its weights in 8 bits, which transformers alone cannot read."""
    return (Path(folder) / EIGHT_BITS).is_file()


def read_eight_bits(folder: str | Path) -> dict[str, Tensor]:
    """The weights of a folder written by ``write_eight_bits``, matrices as float32; tied weights occur once."""
    path = Path(folder) / EIGHT_BITS
    try:
        with safe_open(path, framework="pt") as file:
            found = (file.metadata() or {}).get("format")
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read ({error})", HINT) from None
    if found != FORMAT:
        raise InputError(
            f"{path}: has the format {found}, not {FORMAT}", "a newer version of langlift may be able to read it"
        )
    matrices = {name.removesuffix(SCALES) for name in stored if name.endswith(SCALES)}
    weights = {name: tensor for name, tensor in stored.items() if not name.endswith(SCALES)}
    return weights | {name: _restored(path, name, stored) for name in matrices}


def _rounded(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Q (int8) [rows, columns] and the scales (bfloat16) [rows]."""
    matrix = matrix.float()
    # A bfloat16 has 8 significant bits: a value increased by 1/256 never rounds to less than the original.
    scales = (matrix.abs().amax(dim=1) / LARGEST * (1 + 2**-8)).to(torch.bfloat16)
    steps = matrix / scales.float().clamp_min(torch.finfo(torch.float32).tiny)[:, None]  # a row may be all zeros
    return steps.round().to(torch.int8), scales


def _restored(path: Path, name: str, stored: Mapping[str, Tensor]) -> Tensor:
    matrix, scales = stored.get(name), stored[name + SCALES]
    if matrix is None or matrix.dtype != torch.int8 or scales.shape != matrix.shape[:1]:
        raise InputError(f"{path}: {name} and its scales do not match", HINT)
    return matrix.float() * scales.float()[:, None]
