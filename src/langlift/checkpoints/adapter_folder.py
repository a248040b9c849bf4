"""Save and load adapter folders: AdapterHub's layout for bottleneck adapters, PEFT's for LoRA."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.composition import AdapterConfig, attach
from langlift.adapters.lora import LoraConfig, peft_config
from langlift.backbones.registry import backbone_of
from langlift.checkpoints.layouts import (
    ADAPTERHUB_WEIGHTS,
    CONFIG_FILE,
    PEFT_WEIGHTS,
    adapterhub_config,
    adapterhub_keys,
    peft_keys,
)
from langlift.errors import InputError


def save_adapter(model: PreTrainedModel, name: str, config: AdapterConfig, folder: Path, base: str) -> None:
    """Write an attached adapter into an existing folder; ``base`` is the base model's name for the record."""
    if isinstance(config, LoraConfig):
        description = peft_config(config, backbone_of(model).lora_targets)
        description.base_model_name_or_path = base
        description.save_pretrained(str(folder))
        weights, file = peft_keys(model, name), PEFT_WEIGHTS
    else:
        hidden_size = model.config.hidden_size
        content = {
            "config": adapterhub_config(config),
            "hidden_size": hidden_size,
            "model_class": type(model).__name__,
            "model_name": base,
            "model_type": model.config.model_type,
            "name": name,
            "version": "adapters.1.3.0",
            "langlift": {"inverse_at_head": config.inverse_at_head},
        }
        text = json.dumps(content, indent=2, sort_keys=True)
        (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
        weights, file = adapterhub_keys(model, name), ADAPTERHUB_WEIGHTS
    save_file({key: p.detach().cpu().contiguous() for key, p in weights}, folder / file)


def load_adapter(model: PreTrainedModel, folder: Path, name: str | None = None) -> str:
    """Attach the adapter of a folder on top of the model's stack, with its weights; returns its name.

    ``name`` overrides the stored name.

    Raises:
        InputError: the folder holds no adapter, or one of another architecture, size or kind.
    """
    description = read_description(folder)
    if "peft_type" in description:
        return _load_lora(model, folder, description, name or "lora")
    return _load_bottleneck(model, folder, description, name)


def read_description(folder: Path) -> dict[str, Any]:
    """An adapter folder's ``adapter_config.json``.

    Raises:
        InputError: it is missing or damaged.
    """
    path = folder / CONFIG_FILE
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(
            f"{folder}: not an adapter folder (no {CONFIG_FILE})",
            "give the folder that 'langlift adapt --out' wrote",
        ) from None
    except ValueError:
        raise InputError(f"{path}: not valid JSON", "the folder is damaged; copy or train it again") from None
    if not isinstance(description, dict) or not (
        {"config", "name"} <= description.keys() or "peft_type" in description
    ):
        raise InputError(f"{path}: describes no adapter", "it must be written by langlift, adapters or PEFT")
    return description


def _load_bottleneck(model: PreTrainedModel, folder: Path, description: dict[str, Any], name: str | None) -> str:
    _require_architecture(model, folder, description)
    config = _seq_bn_config(folder, description["config"], description.get("langlift", {}))
    stored_name = str(description["name"])
    name = name or re.sub(r"\W", "_", stored_name)
    weights = _read_weights(folder / ADAPTERHUB_WEIGHTS)
    weights = {key.replace(f".{stored_name}.", f".{name}."): value for key, value in weights.items()}
    block_key = f"{model.base_model_prefix}.invertible_adapters.{name}.F.0.weight"
    if config.invertible != (block_key in weights):
        raise InputError(f"{folder}: configuration and weights disagree on the invertible block", "train it again")
    attach(model, name, config)
    used = _fill(adapterhub_keys(model, name), weights, folder)
    # Higher in a stack an invertible block is not used.
    _require_all_used(folder, {k for k in weights.keys() - used if ".invertible_adapters." not in k})
    return name


def _load_lora(model: PreTrainedModel, folder: Path, description: dict[str, Any], name: str) -> str:
    targets = description.get("target_modules") or []
    expected = backbone_of(model).lora_targets
    if description["peft_type"] != "LORA" or set(targets) != set(expected) or description.get("bias") != "none":
        raise InputError(
            f"{folder / CONFIG_FILE}: only LoRA on {' and '.join(expected)} without biases can be loaded",
            f"found {description['peft_type']} on {', '.join(targets)}",
        )
    variants = ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "modules_to_save")
    if variant := next((v for v in variants if description.get(v)), None):
        raise InputError(f"{folder / CONFIG_FILE}: {variant} is set", "only plain LoRA can be loaded")
    weights = _read_weights(folder / PEFT_WEIGHTS)
    _require_prefix(model, folder, weights)
    attach(model, name, LoraConfig(rank=int(description["r"]), alpha=float(description["lora_alpha"])))
    used = _fill(peft_keys(model, name), weights, folder)
    _require_all_used(folder, weights.keys() - used)
    return name


def _require_prefix(model: PreTrainedModel, folder: Path, weights: dict[str, Tensor]) -> None:
    prefix = f"base_model.model.{model.base_model_prefix}."
    if not all(key.startswith(prefix) for key in weights):
        raise InputError(f"{folder}: the adapter belongs to another architecture", "give its own --base")


def _require_all_used(folder: Path, unused: set[str]) -> None:
    if unused:
        raise InputError(
            f"{folder}: holds weights that this model has no place for, such as {min(unused)}",
            "the adapter was trained on another architecture; give its own --base",
        )


def _seq_bn_config(folder: Path, stored: dict[str, Any], ours: dict[str, Any]) -> SeqBnConfig:
    factor = stored.get("reduction_factor") if isinstance(stored, dict) else None
    if not isinstance(factor, int | float) or stored.get("architecture") is not None:
        raise InputError(
            f"{folder / CONFIG_FILE}: not a Seq_bn adapter with one reduction_factor",
            "Seq_bn adapters in AdapterHub's layout and LoRA in PEFT's can be loaded",
        )
    config = SeqBnConfig(
        reduction_factor=float(factor),
        invertible=stored.get("inv_adapter") is not None,
        inverse_at_head=bool(ours.get("inverse_at_head", True)),
    )
    for key, value in adapterhub_config(config).items():
        if stored.get(key, value) != value:
            raise InputError(
                f"{folder / CONFIG_FILE}: another kind of adapter ({key} is {stored[key]!r})",
                f"only Seq_bn adapters, whose {key} is {value!r}, can be loaded",
            )
    return config


def _require_architecture(model: PreTrainedModel, folder: Path, description: dict[str, Any]) -> None:
    config: Any = model.config
    for field, here in (("model_type", config.model_type), ("hidden_size", config.hidden_size)):
        there = description.get(field, here)
        if there != here:
            raise InputError(
                f"{folder}: the adapter belongs to a model with {field} {there}, the base has {here}",
                f"give the base it was trained on ({description.get('model_name') or 'see its README'})",
            )


def _fill(keys: Iterator[tuple[str, nn.Parameter]], weights: dict[str, Tensor], folder: Path) -> set[str]:
    """Copy the weights into the model's parameters; returns the keys used."""
    used = set()
    with torch.no_grad():
        for key, parameter in keys:
            if key not in weights:
                raise InputError(
                    f"{folder}: the weight {key} is missing",
                    "the base has another depth, or the file is damaged",
                )
            if weights[key].shape != parameter.shape:
                shapes = f"{tuple(weights[key].shape)}, not {tuple(parameter.shape)}"
                raise InputError(
                    f"{folder}: the weight {key} has shape {shapes}", "give the base it was trained on"
                )
            parameter.copy_(weights[key])
            used.add(key)
    return used


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except OSError:
        hint = "the adapter folder is incomplete"
        if list(path.parent.glob("*.bin")):
            hint = "its weights are in a .bin file; save it again with safetensors"
        raise InputError(f"{path}: missing or not readable", hint) from None
    except SafetensorError:
        raise InputError(f"{path}: damaged", "copy or train the adapter again") from None
