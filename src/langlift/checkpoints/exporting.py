"""Export an adapter folder of ours for AdapterHub's library or for PEFT."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.method import METHODS
from langlift.adapters.peft_adapter import PeftAdapterConfig
from langlift.backbones.base_name import BaseName
from langlift.backbones.loading import weightless_model
from langlift.backbones.registry import backbone_of_type
from langlift.bundled_models import BUNDLED
from langlift.checkpoints.adapter_folder import (
    identity_of,
    load_adapter,
    read_config,
    read_description,
    read_identity,
    write_adapter,
)
from langlift.checkpoints.configurations import adapterhub_config
from langlift.checkpoints.layouts import (
    ADAPTERHUB_PICKLE,
    ADAPTERHUB_VERSION,
    ADAPTERHUB_WEIGHTS,
    CONFIG_FILE,
    FUSION_CONFIG,
    PEFT_WEIGHTS,
    adapterhub_from_peft,
    full_peft_keys,
    renamed,
    usable_name,
)
from langlift.checkpoints.masked_head import MASKED_HEAD
from langlift.checkpoints.weight_files import read_safetensors
from langlift.errors import InputError
from langlift.files import check_new_folder, new_folder
from langlift.model_cards import render_card
from langlift.progress import say

LAYOUTS = ("adapterhub", "peft")
CHECKED = "checked"
"""The adapter's name while it is tried on its base model."""


@dataclass(frozen=True)
class ExportResult:
    """What ``langlift export`` wrote."""

    folder: str
    name: str
    layout: str
    files: list[str]


def export_adapter(source: Path, layout: str, out: Path, base: BaseName | str | None = None) -> ExportResult:
    """Write the adapter in ``source`` as ``adapterhub`` (adapters 1.3.0) or ``peft`` would.

    ``base`` is needed for folders in PEFT's layout that langlift did not write: it does not say the
    architecture. Where it is given, the adapter must fit it, and it is the base model that is recorded.

    Raises:
        InputError: no such layout, no adapter, one that the layout cannot hold or that does not fit ``base``.
        LangliftError: ``out`` cannot be written.
    """
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout '{layout}'", f"one of {', '.join(LAYOUTS)}")
    check_new_folder(out)
    description = read_description(source)
    if (source / FUSION_CONFIG).exists():
        raise InputError(
            f"{source}: the task adapter of a fusion, which is nothing without it",
            "the folder is in AdapterHub's layout already; docs/fusion.md shows how to load it there",
        )
    in_peft = "peft_type" in description
    if layout == "peft" and not in_peft:
        raise InputError(f"{source}: a bottleneck adapter, and PEFT has none", "use --to adapterhub")
    identity, base = read_identity(source), BaseName.of(base)
    if not identity and not base:
        raise InputError(f"{source}: does not say its architecture", "give the base model with --base")
    stored = str(identity.get("name") or source.resolve().name)
    name = usable_name(stored)
    weights = read_safetensors(source / (PEFT_WEIGHTS if in_peft else ADAPTERHUB_WEIGHTS))
    if base:
        model = weightless_model(base)
        with torch.device("meta"):
            load_adapter(model, source, name=CHECKED)
        identity = {**identity, **identity_of(model, name, base.name)}
        weights = full_peft_keys(model, weights) if in_peft else weights
    backbone = backbone_of_type(str(identity.get("model_type")))
    config = read_config(source, backbone)
    if layout == "adapterhub" and not backbone.adapterhub_agrees:
        raise InputError(
            f"{source}: the adapters library computes something else for {backbone.model_type}",
            "use it with langlift; LoRA also with --to peft" if in_peft else "use it with langlift",
        )
    exports = METHODS[config.method].exports
    if layout not in exports:
        raise InputError(
            f"{source}: {layout} has no {METHODS[config.method].label}", f"--to {' or '.join(exports)}"
        )
    if (source / MASKED_HEAD).exists():
        say(f"{source / MASKED_HEAD}: a masked head has no place in the layout, and is not exported")
    with new_folder(out) as staging:
        if layout == "peft":
            write_adapter(staging, config, weights, identity)
        else:
            if isinstance(config, PeftAdapterConfig):
                weights = {adapterhub_from_peft(key, name): value for key, value in weights.items()}
            else:
                weights = renamed(weights, stored, name)
            settings = adapterhub_config(config, backbone)
            _write_adapterhub(staging, settings, weights, {**identity, "name": name})
        card = render_card(
            "export_adapter.md",
            layout=layout,
            name=name,
            base=identity.get("model_name"),
            model_class=identity.get("model_class") or "AutoModelForMaskedLM",
            bundled=BUNDLED,
            invertible=isinstance(config, SeqBnConfig) and config.invertible and layout == "adapterhub",
            config=config,
            language_adapter=_language_adapter(source),
        )
        (staging / "README.md").write_text(card, encoding="utf-8")
        files = sorted(path.name for path in staging.iterdir())
    return ExportResult(str(out), name, layout, files)


def _language_adapter(source: Path) -> str | None:
    """The language adapter that a task's run stacked this adapter on, if it did."""
    try:
        recipe = yaml.safe_load((source / "recipe.yaml").read_text(encoding="utf-8"))
        return Path(recipe["inputs"]["language_adapter"]).name
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):  # not a task's run
        return None


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
