"""The layouts of adapter folders: file names, the keys of parameters, and reading weights."""

import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from langlift.adapters.bottleneck import bottleneck_places
from langlift.adapters.fusion import AdapterFusion
from langlift.adapters.invertible import invertible_block
from langlift.adapters.method import AdapterConfig
from langlift.adapters.peft_adapter import PeftAdapterConfig
from langlift.backbones.registry import backbone_of
from langlift.errors import InputError

CONFIG_FILE = "adapter_config.json"
ADAPTERHUB_WEIGHTS = "adapter.safetensors"
ADAPTERHUB_PICKLE = "pytorch_adapter.bin"
ADAPTERHUB_SETUP = "adapter_setup.json"
ADAPTERHUB_VERSION = "adapters.1.3.0"
PEFT_WEIGHTS = "adapter_model.safetensors"
PEFT_PICKLE = "adapter_model.bin"

ADAPTERHUB_HEADS = ("head_config.json", "pytorch_model_head.bin", "model_head.safetensors")
FUSION_CONFIG = "adapter_fusion_config.json"
FUSION_WEIGHTS = "model_adapter_fusion.safetensors"
FUSION_PICKLE = "pytorch_model_adapter_fusion.bin"
ADAPTERHUB_FUSIONS = (FUSION_CONFIG, FUSION_PICKLE, FUSION_WEIGHTS)
ADAPTERHUB_EMBEDDINGS = ("embedding.pt",)

BOTTLENECK_KEYS = {
    "down.weight": "adapter_down.0.weight",
    "down.bias": "adapter_down.0.bias",
    "up.weight": "adapter_up.weight",
    "up.bias": "adapter_up.bias",
}
"""langlift's parameter of a bottleneck -> AdapterHub's key after ``...adapters.NAME.``"""

LEGACY_PLACES = {
    "attention_text_task_adapters": "adapters",
    "attention_text_lang_adapters": "adapters",
    "layer_text_task_adapters": "adapters",
    "layer_text_lang_adapters": "adapters",
    "invertible_lang_adapters": "invertible_adapters",
}
"""Parts of keys in adapter-transformers 1.x -> in current releases."""

MAGNITUDE = ".lora_magnitude_vector.weight"
"""A parameter of DoRA; PEFT writes its key without the last part."""


def adapter_keys(model: PreTrainedModel, name: str, config: AdapterConfig) -> Iterator[tuple[str, nn.Parameter]]:
    """(key, parameter) of an attached adapter, in the layout of its method."""
    return (peft_keys if isinstance(config, PeftAdapterConfig) else adapterhub_keys)(model, name)


def adapterhub_keys(model: PreTrainedModel, name: str) -> Iterator[tuple[str, nn.Parameter]]:
    """(AdapterHub's key, parameter) of an attached bottleneck adapter."""
    backbone = backbone_of(model)
    prefix: str = model.base_model_prefix
    for layer, place in enumerate(bottleneck_places(model)):
        if name not in place.adapters:  # left out
            continue
        path = backbone.adapterhub_bottleneck.format(layer=layer)
        adapter = place.adapters[name]
        for ours, theirs in BOTTLENECK_KEYS.items():
            yield f"{prefix}.{path}.{name}.{theirs}", adapter.get_parameter(ours)
    block = invertible_block(model, name)
    if block is not None:
        for ours, parameter in block.named_parameters():
            yield f"{prefix}.invertible_adapters.{name}.{ours}", parameter


def fusion_keys(model: PreTrainedModel, name: str) -> Iterator[tuple[str, nn.Parameter]]:
    """(AdapterHub's key, parameter) of a fusion, without its adapters, in the layers that have one."""
    backbone = backbone_of(model)
    for layer, place in enumerate(bottleneck_places(model)):
        if name not in place.adapters:
            continue
        path = backbone.adapterhub_bottleneck.format(layer=layer).removesuffix("adapters") + "adapter_fusion_layer"
        fusion = place.adapters[name]
        if not isinstance(fusion, AdapterFusion):
            raise TypeError(f"'{name}' is a {type(fusion).__name__}, not a fusion")
        for part, parameter in fusion.own_parameters():
            yield f"{model.base_model_prefix}.{path}.{name}.{part}", parameter


def peft_keys(model: PreTrainedModel, name: str) -> Iterator[tuple[str, nn.Parameter]]:
    """(PEFT's key, parameter) of an attached PEFT adapter."""
    for path, parameter in model.named_parameters():
        place, found, rest = f"{path}.".partition(f".{name}.")
        if found:
            key = f"base_model.model.{place}.{rest}".removesuffix(".")
            yield key.replace(MAGNITUDE, MAGNITUDE.removesuffix(".weight")), parameter


def peft_from_adapterhub(key: str, name: str) -> str:
    """PEFT's key for AdapterHub's of a LoRA weight; other keys are unchanged."""
    place, found, part = key.rpartition(f".loras.{name}.")
    return f"base_model.model.{place}.{part}.weight" if found else key


def adapterhub_from_peft(key: str, name: str) -> str:
    """The inverse of ``peft_from_adapterhub``."""
    place, part = key.removeprefix("base_model.model.").removesuffix(".weight").rsplit(".", 1)
    return f"{place}.loras.{name}.{part}"


def full_peft_keys(model: PreTrainedModel, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """PEFT's weights under the keys for a model with a head, even if they were saved from its body alone."""
    bare = tuple(f"base_model.model.{part}." for part, _ in model.base_model.named_children())
    full = f"base_model.model.{model.base_model_prefix}."
    return {
        full + key.removeprefix("base_model.model.") if key.startswith(bare) else key: value
        for key, value in weights.items()
    }


def renamed(weights: Mapping[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    """The weights of an adapter in AdapterHub's layout, renamed."""
    place = re.compile(rf"\b(adapters|invertible_adapters|loras)\.{re.escape(old)}\.")
    return {place.sub(lambda found: f"{found[1]}.{new}.", key, count=1): value for key, value in weights.items()}


def usable_name(stored: str, prefix: str = "adapter") -> str:
    """A name as that of a module: letters, digits and ``_``, after ``prefix`` if it is no identifier."""
    name = re.sub(r"\W", "_", stored)
    return name if name.isidentifier() else f"{prefix}_{name}"


# Code in a weight file is never executed; one that is missing, damaged or contains anything else is an InputError.


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
            folder = shlex.quote(str(path.parent))
            hint = f"its weights are in a .bin file; run: langlift import {folder} --base MODEL --out FOLDER"
        raise InputError(f"{path}: missing or not readable", hint) from None
    except SafetensorError:
        raise InputError(f"{path}: damaged", "copy the adapter again, or retrain it") from None
