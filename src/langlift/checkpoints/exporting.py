"""Export an adapter folder of ours for AdapterHub's library or for PEFT."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from langlift.adapters.lora import LoraConfig
from langlift.backbones.loading import weightless_model
from langlift.backbones.registry import backbone_of_type
from langlift.checkpoints.adapter_folder import METADATA, identity_of, read_config, read_description
from langlift.checkpoints.cards import export_card
from langlift.checkpoints.configurations import adapterhub_config, adapterhub_lora_config
from langlift.checkpoints.layouts import (
    ADAPTERHUB_PICKLE,
    ADAPTERHUB_VERSION,
    ADAPTERHUB_WEIGHTS,
    CONFIG_FILE,
    PEFT_WEIGHTS,
    adapterhub_from_peft,
    usable_name,
)
from langlift.checkpoints.weight_files import read_metadata, read_safetensors
from langlift.errors import InputError
from langlift.files import check_new_folder, new_folder

LAYOUTS = ("adapterhub", "peft")


@dataclass(frozen=True)
class ExportResult:
    """What ``langlift export`` wrote."""

    folder: str
    name: str
    layout: str
    files: list[str]


def export_adapter(source: Path, layout: str, out: Path, base: str | None = None) -> ExportResult:
    """Write the adapter in ``source`` as ``adapterhub`` (adapters 1.3.0) or ``peft`` would.

    ``base`` is needed for LoRA folders that langlift did not write: PEFT's layout does not say the
    architecture.

    Raises:
        InputError: no such layout, no adapter, or one that the layout cannot hold.
        LangliftError: ``out`` cannot be written.
    """
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout '{layout}'", f"one of {', '.join(LAYOUTS)}")
    check_new_folder(out)
    description = _description(source)
    is_lora = "peft_type" in description
    if layout == "peft" and not is_lora:
        raise InputError(f"{source}: a bottleneck adapter, and PEFT has none", "use --to adapterhub")
    identity = _lora_identity(source, base) if is_lora else description
    backbone = backbone_of_type(str(identity.get("model_type")))
    config = read_config(source, backbone)
    if layout == "adapterhub" and not backbone.adapterhub_agrees:
        raise InputError(
            f"{source}: the adapters library computes something else for {backbone.model_type}",
            "use it with langlift; LoRA also with --to peft" if is_lora else "use it with langlift",
        )
    name = usable_name(str(identity["name"]))
    weights = read_safetensors(source / (PEFT_WEIGHTS if is_lora else ADAPTERHUB_WEIGHTS))
    with new_folder(out) as staging:
        if layout == "peft":
            shutil.copy(source / CONFIG_FILE, staging)
            shutil.copy(source / PEFT_WEIGHTS, staging)
        else:
            if isinstance(config, LoraConfig):
                settings = adapterhub_lora_config(config)
                weights = {adapterhub_from_peft(key, name): value for key, value in weights.items()}
            else:
                settings = adapterhub_config(config, backbone)
                stored = str(identity["name"])
                weights = {key.replace(f".{stored}.", f".{name}.", 1): value for key, value in weights.items()}
            _write_adapterhub(staging, settings, weights, {**identity, "name": name})
        (staging / "README.md").write_text(export_card(layout, name, identity, config), encoding="utf-8")
        files = sorted(path.name for path in staging.iterdir())
    return ExportResult(str(out), name, layout, files)


def _description(source: Path) -> dict[str, Any]:
    """The folder's ``adapter_config.json``, or why there is none."""
    if not (source / CONFIG_FILE).exists() and source.is_dir():
        if inner := sorted(path.parent.name for path in source.glob(f"*/{CONFIG_FILE}")):
            raise InputError(
                f"{source}: holds several folders ({', '.join(inner)})", f"export one: {source / inner[0]}"
            )
        if (source / "config.json").exists():
            raise InputError(f"{source}: a whole model, not an adapter", "it is in transformers' layout already")
    return read_description(source)


def _lora_identity(source: Path, base: str | None) -> dict[str, Any]:
    """What langlift wrote into the LoRA file, or else what the base model says."""
    recorded = read_metadata(source / PEFT_WEIGHTS).get(METADATA)
    if base is None and recorded is not None:
        try:
            identity = json.loads(recorded)
        except ValueError:
            identity = None
        if isinstance(identity, dict) and {"model_type", "name"} <= identity.keys():
            return identity
    if base is None:
        raise InputError(f"{source}: does not say its architecture", "give the base model with --base")
    return identity_of(weightless_model(base), usable_name(source.resolve().name), base)


def _write_adapterhub(
    folder: Path, settings: Mapping[str, Any], weights: dict[str, Tensor], identity: Mapping[str, Any]
) -> None:
    """Both files of weights: the library takes the .bin unless told ``use_safetensors=True``."""
    fields = ("hidden_size", "model_class", "model_name", "model_type", "name")
    content = {
        **{field: identity.get(field) for field in fields},
        "config": settings,
        "version": ADAPTERHUB_VERSION,
    }
    if "langlift" in identity:
        content["langlift"] = identity["langlift"]
    (folder / CONFIG_FILE).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    save_file(weights, folder / ADAPTERHUB_WEIGHTS)
    torch.save(weights, folder / ADAPTERHUB_PICKLE)
