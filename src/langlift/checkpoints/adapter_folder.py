"""Save and load folders of adapters and fusions, in AdapterHub's layout or PEFT's, with a trained MLM head."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.composition import HOW_TO_FUSE, attach, attached, fuse
from langlift.adapters.fusion import fusions_of
from langlift.adapters.method import METHODS, AdapterConfig
from langlift.adapters.peft_adapter import LoraConfig, PeftAdapterConfig
from langlift.backbones.loading import BaseModel, BaseName
from langlift.backbones.registry import Backbone, backbone_of, backbone_of_type, decoder_bias, head_parameters
from langlift.checkpoints import layouts
from langlift.checkpoints.configurations import (
    ADAPTERHUB_FUSION,
    FUSION_WITHOUT_EFFECT,
    adapterhub_config,
    config_from_adapterhub,
    config_from_peft,
    first_difference,
    own_architecture,
)
from langlift.errors import InputError
from langlift.files import read_json, write_json

MLM_HEAD = "mlm_head.safetensors"
METADATA = "langlift"
"""Metadata key of the identity (JSON) in weights in PEFT's layout: PEFT's configuration has no field for it."""
IDENTITY = ("hidden_size", "model_class", "model_name", "model_type", "name")


def save_adapter(model: PreTrainedModel, name: str, config: AdapterConfig, folder: Path, base: str) -> None:
    """Write an attached adapter into an existing folder; ``base`` is the recorded name of the base model."""
    weights = {key: p.detach().cpu().contiguous() for key, p in layouts.adapter_keys(model, name, config)}
    write_adapter(folder, config, weights, identity_of(model, name, base))


def identity_of(model: PreTrainedModel, name: str, base: str) -> dict[str, Any]:
    """The record of an adapter and its base model in an adapter folder (``IDENTITY``)."""
    return {
        "hidden_size": model.config.hidden_size,
        "model_class": type(model).__name__,
        "model_name": base,
        "model_type": model.config.model_type,
        "name": name,
    }


def write_adapter(
    folder: Path, config: AdapterConfig, weights: Mapping[str, Tensor], identity: Mapping[str, Any]
) -> None:
    """Write an adapter into an existing folder; ``weights`` have the keys of its method's layout."""
    backbone = backbone_of_type(identity["model_type"])
    if isinstance(config, PeftAdapterConfig):
        description = config.peft_config(backbone)
        description.base_model_name_or_path = identity["model_name"]
        description.save_pretrained(str(folder))
        save_file(dict(weights), folder / layouts.PEFT_WEIGHTS, metadata={METADATA: json.dumps(identity)})
        return
    if not isinstance(config, SeqBnConfig):
        raise TypeError(f"no layout for {type(config).__name__}")
    own = {METADATA: {"inverse_at_head": config.inverse_at_head}}
    write_adapterhub(folder, adapterhub_config(config, backbone), weights, {**identity, **own})


def write_adapterhub(
    folder: Path, settings: Mapping[str, Any], weights: Mapping[str, Tensor], identity: Mapping[str, Any]
) -> None:
    """Write configuration and weights in AdapterHub's layout into an existing folder."""
    recorded = {field: identity[field] for field in (*IDENTITY, METADATA) if field in identity}
    content = {**recorded, "config": settings, "version": layouts.ADAPTERHUB_VERSION}
    write_json(folder / layouts.CONFIG_FILE, content)
    save_file(dict(weights), folder / layouts.ADAPTERHUB_WEIGHTS)


def load_adapter(model: PreTrainedModel, folder: Path, name: str | None = None) -> str:
    """Attach the adapter in a folder on top of the model's stack; returns its name.

    ``name`` overrides the stored name. An MLM head that was trained with the adapter is loaded too.

    Raises:
        InputError: the folder contains no adapter, an adapter for another architecture or size or of an
        unsupported kind, or the task adapter of a fusion while the model has no fusion.
    """
    description = read_description(folder)
    if not fusions_of(model):
        refuse_part_of_fusion(folder)
    config = read_config(folder, backbone_of(model))
    require_base(folder, read_identity(folder), hidden_size=model.config.hidden_size)
    if isinstance(config, PeftAdapterConfig):
        name = name or config.method
        weights = layouts.full_peft_keys(model, layouts.read_safetensors(folder / layouts.PEFT_WEIGHTS))
        if not all(key.startswith(f"base_model.model.{model.base_model_prefix}.") for key in weights):
            raise InputError(
                f"{folder}: the adapter belongs to another architecture",
                "give the base model it was trained on with --base",
            )
    else:
        stored_name = str(description["name"])
        name = name or layouts.usable_name(stored_name)
        weights = layouts.renamed(layouts.read_safetensors(folder / layouts.ADAPTERHUB_WEIGHTS), stored_name, name)
        block_key = f"{model.base_model_prefix}.invertible_adapters.{name}.F.0.weight"
        if getattr(config, "invertible", False) != (block_key in weights):
            raise InputError(
                f"{folder}: configuration and weights disagree about the invertible block", "train it again"
            )
    attach(model, name, config)
    parameters = dict(layouts.adapter_keys(model, name, config))
    # Only the first adapter of a stack uses its invertible block.
    fill(
        parameters,
        {k: w for k, w in weights.items() if k in parameters or ".invertible_adapters." not in k},
        folder,
    )
    if head := stored_head(model, folder):
        fill(head, layouts.read_safetensors(folder / MLM_HEAD), folder)
    return name


def refuse_part_of_fusion(folder: Path) -> None:
    """Raise an InputError for the task adapter in the folder of a fusion."""
    if (folder / layouts.FUSION_CONFIG).exists():
        raise InputError(
            f"{folder}: the task adapter of a fusion, which cannot be used without it",
            "use 'langlift predict' for the whole run; docs/fusion.md shows how AdapterHub's library loads it",
        )


def read_description(folder: Path) -> dict[str, Any]:
    """An adapter folder's ``adapter_config.json``; InputError if it is missing or damaged."""
    path = folder / layouts.CONFIG_FILE
    description = read_json(path)
    if {"config", "name"} <= description.keys() or "peft_type" in description:
        return description
    if path.exists():
        raise InputError(f"{path}: damaged, or describes no adapter", "langlift, adapters or PEFT must write it")
    if inner := sorted(config.parent.name for config in folder.glob(f"*/{layouts.CONFIG_FILE}")):
        raise InputError(
            f"{folder}: contains its adapters in subfolders ({', '.join(inner)})",
            f"give one of them: {folder / inner[0]}",
        )
    if (folder / "config.json").exists():
        raise InputError(
            f"{folder}: contains a whole model, not an adapter",
            "pass a model with --base; export it with --to transformers or --to onnx",
        )
    raise InputError(
        f"{folder}: not an adapter folder (no {layouts.CONFIG_FILE})",
        "give the folder that 'langlift adapt --out' wrote",
    )


def read_identity(folder: Path) -> dict[str, Any]:
    """The record of the adapter and its base model in a folder; empty if PEFT wrote it."""
    description = read_description(folder)
    if "peft_type" not in description:
        return description
    try:
        identity = json.loads(layouts.read_metadata(folder / layouts.PEFT_WEIGHTS).get(METADATA, "{}"))
    except (ValueError, RecursionError):
        return {}
    complete = isinstance(identity, dict) and {"model_name", "model_type", "name"} <= identity.keys()
    return identity if complete else {}


def read_config(folder: Path, backbone: Backbone) -> AdapterConfig:
    """The configuration of the adapter in a folder; InputError if it cannot be loaded."""
    description = read_description(folder)
    path = folder / layouts.CONFIG_FILE
    require_base(folder, read_identity(folder), model_type=backbone.model_type)
    if "peft_type" in description:
        return config_from_peft(description, backbone, path)
    config = config_from_adapterhub(description, backbone, path)
    if isinstance(config, LoraConfig):
        command = f"langlift import {shlex.quote(str(folder))} --out FOLDER"
        raise InputError(f"{folder}: LoRA in AdapterHub's layout", f"run: {command}")
    return config


def require_base(folder: Path, identity: Mapping[str, Any], **here: Any) -> None:
    """Raise an InputError if an adapter was recorded for another ``model_type`` or ``hidden_size``."""
    for field, value in here.items():
        there = identity.get(field)
        if there is not None and there != value:
            raise InputError(
                f"{folder}: the adapter belongs to a model with {field} {there}, the base has {value}",
                f"give the base it was trained on ({identity.get('model_name') or 'see its README'})",
            )


def fill(parameters: Mapping[str, nn.Parameter], weights: Mapping[str, Tensor], folder: Path) -> None:
    """Copy weights into parameters by their keys; InputError unless all fit, and nothing is left."""
    for key, parameter in parameters.items():
        if key not in weights:
            raise InputError(
                f"{folder}: the weight {key} is missing",
                "the base has a different number of layers, or the file is damaged",
            )
        if weights[key].shape != parameter.shape:
            shapes = f"{tuple(weights[key].shape)}, not {tuple(parameter.shape)}"
            raise InputError(f"{folder}: the weight {key} has shape {shapes}", "give the base it was trained on")
        with torch.no_grad():
            parameter.copy_(weights[key])
    if unused := weights.keys() - parameters.keys():
        raise InputError(
            f"{folder}: contains weights that do not fit this model, such as {min(unused)}",
            "the adapter is of another kind or for another base: give the base it was trained on with --base",
        )


def save_mlm_head(parameters: Mapping[str, nn.Parameter], folder: Path) -> None:
    """Write parameters of a model's MLM head into an existing folder, with their names in the model."""
    save_file({name: p.detach().cpu().contiguous() for name, p in parameters.items()}, folder / MLM_HEAD)


def stored_head(model: PreTrainedModel, folder: Path) -> dict[str, nn.Parameter]:
    """The parameters of a model's MLM head that an adapter folder contains, not loaded; InputError if others."""
    path = folder / MLM_HEAD
    if not path.exists():
        return {}
    stored, here = layouts.read_safetensors(path), head_parameters(model) | decoder_bias(model)
    if any(name not in here or weight.shape != here[name].shape for name, weight in stored.items()):
        raise InputError(
            f"{path}: an MLM head of another architecture, width or vocabulary", "give the base it was trained on"
        )
    return {name: here[name] for name in stored}


def load_language_model(name: str, base: BaseName, masked_only: bool = False) -> BaseModel:
    """A model; an adapter is attached to its base.

    ``name`` is the folder of an adapter or a run, a model folder, a hub id or a bundled model. ``base`` replaces
    the base model that an adapter recorded. ``masked_only`` rejects decoders. InputError if it is none of these,
    it is damaged, or its base cannot be found.
    """
    folder = Path(name)
    adapter = folder if (folder / layouts.CONFIG_FILE).is_file() else None
    source = replace(base, name=name)
    if adapter is not None:
        source = base.or_else(str(read_identity(adapter).get("model_name") or ""))
        if not source:
            raise InputError(f"{name}: does not state its base model", "give the base model with --base")
    elif not (folder / "config.json").is_file() and (folder / "model").is_dir():
        source = replace(base, name=str(folder / "model"))
    loaded = BaseModel.load(source, masked_only=masked_only)
    if adapter is not None:
        load_adapter(loaded.model, adapter)
    return loaded


def save_fusion(model: PreTrainedModel, name: str, folder: Path, base: str) -> None:
    """Write a fusion, without its adapters, into an existing folder; ``base`` is the base model's name."""
    content = {
        **identity_of(model, name, base),
        "adapter_names": name.split(","),
        "config": {**ADAPTERHUB_FUSION, **own_architecture(backbone_of(model))},
        "version": layouts.ADAPTERHUB_VERSION,
    }
    write_json(folder / layouts.FUSION_CONFIG, content)
    save_file(
        {key: p.detach().cpu().contiguous() for key, p in layouts.fusion_keys(model, name)},
        folder / layouts.FUSION_WEIGHTS,
    )


def load_fusion(model: PreTrainedModel, folder: Path) -> str:
    """Fuse a model's adapters, which must be those of the folder's fusion, in order; returns its name.

    The weights are read from ``model_adapter_fusion.safetensors``, or else (tensors only) from
    ``pytorch_model_adapter_fusion.bin``. InputError if the folder contains no fusion, or one of another kind, of
    other adapters or for another base.
    """
    path = folder / layouts.FUSION_CONFIG
    description = read_json(path)
    if not path.exists():
        raise InputError(
            f"{folder}: contains no fusion (no {layouts.FUSION_CONFIG})", "give one that 'langlift fuse' wrote"
        )
    if not {"config", "name"} <= description.keys():
        raise InputError(f"{path}: damaged, or describes no fusion", "copy it or train it again")
    expected = {**ADAPTERHUB_FUSION, **own_architecture(backbone_of(model))}
    settings = description["config"] if isinstance(description["config"], dict) else {}
    if key := first_difference(settings, expected, FUSION_WITHOUT_EFFECT, required=expected):
        raise InputError(
            f"{path}: another kind of fusion ({key} is {settings.get(key)!r}, not {expected[key]!r})",
            "AdapterHub's dynamic fusion (its default) can be loaded",
        )
    require_base(folder, description, model_type=model.config.model_type, hidden_size=model.config.hidden_size)
    stored = str(description["name"])
    members = description.get("adapter_names") or stored
    members = members.split(",") if isinstance(members, str) else [str(member) for member in members]
    if members != attached(model):
        raise InputError(
            f"{path}: fuses {', '.join(members)}; loaded are {', '.join(attached(model)) or 'no adapters'}",
            "load its adapters first, in this order and with these names",
        )
    _, weights = layouts.read_either(folder, layouts.FUSION_WEIGHTS, layouts.FUSION_PICKLE)
    name = ",".join(members)
    place, prefix = "adapter_fusion_layer", f"{model.base_model_prefix}."
    weights = {
        prefix + key.removeprefix(prefix).replace(f".{place}.{stored}.", f".{place}.{name}.", 1): value
        for key, value in weights.items()
    }
    fuse(model)
    fill(dict(layouts.fusion_keys(model, name)), weights, folder)
    return name


def load_members(model: PreTrainedModel, folders: Sequence[Path], names: Sequence[str]) -> None:
    """Attach the adapters to be fused, with their names; InputError if one cannot be fused."""
    for folder, name in zip(folders, names, strict=True):
        method = METHODS[read_config(folder, backbone_of(model)).method]
        if not method.fusible:
            raise InputError(f"{folder}: a {method.label} cannot be fused", HOW_TO_FUSE)
        load_adapter(model, folder, name)


def member_names(folders: Sequence[Path]) -> list[str]:
    """The stored names of the adapters to be fused, or if they are not distinct, the folders' names."""
    descriptions = [read_description(folder) for folder in folders]
    resolved = [folder.resolve() for folder in folders]
    if len(set(resolved)) < len(resolved):
        raise InputError(f"{max(folders, key=folders.count)}: given twice", "give each adapter once")
    stored = [str(description.get("name", "")) for description in descriptions]
    by_folder = [folder.name for folder in resolved]
    numbered = [f"{name}_{i}" for i, name in enumerate(by_folder, start=1)]
    for names in (stored, by_folder, numbered):
        usable = [layouts.usable_name(name) for name in names]
        if len(set(usable)) == len(usable):
            break
    return usable


def with_invertible_block(folders: Sequence[Path], names: Sequence[str]) -> list[str]:
    """The names of the adapters that have an invertible block."""
    settings = [read_description(folder).get("config") for folder in folders]
    return [name for name, s in zip(names, settings, strict=True) if isinstance(s, dict) and s.get("inv_adapter")]


def copy_member(source: Path, target: Path, name: str) -> None:
    """Copy a bottleneck adapter into the existing folder ``target``, under another name."""
    description = read_description(source)
    config = read_config(source, backbone_of_type(description["model_type"]))
    weights = layouts.renamed(
        layouts.read_safetensors(source / layouts.ADAPTERHUB_WEIGHTS), str(description["name"]), name
    )
    write_adapter(target, config, weights, {**description, "name": name})
