"""Read the weights of an adapter from its file; code in a file is never executed.

A file that is missing, damaged or contains anything else is an InputError.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from langlift.errors import InputError


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file."""
    with _safetensors_readable(path):
        return load_file(path)


def read_either(folder: Path, safetensors: str, pickle: str) -> tuple[Path, dict[str, Tensor]]:
    """The weight file of a folder, the one in safetensors if there are both, and its tensors."""
    if (folder / safetensors).exists() or not (folder / pickle).exists():
        return folder / safetensors, read_safetensors(folder / safetensors)
    return folder / pickle, read_pickle(folder / pickle)


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, empty if it has none."""
    with _safetensors_readable(path), safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def read_pickle(path: Path) -> dict[str, Tensor]:
    """All tensors of a file written by ``torch.save``; only tensors are unpickled, never other objects."""
    hint = "download the adapter again"
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise InputError(f"{path}: missing or not readable", "the adapter folder is incomplete") from None
    except Exception as error:  # noqa: BLE001 - a damaged pickle can raise anything
        raise InputError(
            f"{path}: damaged, or contains more than tensors ({type(error).__name__})", hint
        ) from None
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) and value.layout is torch.strided
        for key, value in content.items()
    ):
        raise InputError(f"{path}: does not contain named tensors", hint)
    return content


@contextmanager
def _safetensors_readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError:
        hint = "the adapter folder is incomplete"
        if list(path.parent.glob("*.bin")):
            hint = f"its weights are in a .bin file; run: langlift import {path.parent} --base MODEL --out FOLDER"
        raise InputError(f"{path}: missing or not readable", hint) from None
    except SafetensorError:
        raise InputError(f"{path}: damaged", "copy the adapter again, or retrain it") from None
