"""Export an adapter folder for AdapterHub's library or PEFT."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.method import METHODS
from langlift.backbones.base_name import BaseName
from langlift.backbones.loading import weightless_model
from langlift.backbones.registry import backbone_of_type
from langlift.bundled_models import BUNDLED
from langlift.checkpoints import layouts
from langlift.checkpoints.adapter_folder import (
    MLM_HEAD,
    identity_of,
    load_adapter,
    read_config,
    read_description,
    read_identity,
    refuse_part_of_fusion,
    write_adapter,
    write_adapterhub,
)
from langlift.checkpoints.configurations import adapterhub_config
from langlift.config.yaml_reader import load_yaml
from langlift.errors import InputError
from langlift.files import check_new_folder, new_folder
from langlift.model_cards import render_card
from langlift.notebook import Shown
from langlift.progress import say

LAYOUTS = ("adapterhub", "peft")
CHECKED = "checked"
"""The adapter's name while it is checked against its base model."""


@dataclass(frozen=True)
class Exported(Shown):
    """The result of ``langlift export``.

    ``sizes`` are the file sizes in bytes. Plain models and ONNX are compared with the run before they are kept: on
    ``items`` (sentences, words or gaps), ``difference`` is the largest between two logits, and ``agreement`` the
    share of identical answers. ``int8`` is the loss of 8 bits, if requested: ``items``, ``agreement``, ``metric``,
    ``score_float32``, ``score_int8``, ``test_examples``, ``bytes_float32``, ``bytes_int8``.
    """

    folder: str
    name: str
    layout: str
    files: list[str]
    sizes: dict[str, int] = field(default_factory=dict)
    items: int = 0
    difference: float | None = None
    agreement: float | None = None
    int8: dict[str, Any] | None = None


def file_sizes(folder: Path) -> dict[str, int]:
    """The sizes of a folder's files in bytes, by name."""
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def export_adapter(
    source: Path | str, layout: str, out: Path | str, base: BaseName | str | None = None
) -> Exported:
    """Write the adapter in ``source`` for ``adapterhub`` (adapters 1.3.0) or ``peft`` into the new folder ``out``.

    ``base`` is needed for folders written by PEFT, which do not state the architecture. If given, the adapter
    must fit it, and it is recorded as the base model.

    Raises:
        InputError: no such layout, no adapter, one that the layout does not support or that does not fit ``base``.
        LangliftError: ``out`` cannot be written.
    """
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout '{layout}'", f"one of {', '.join(LAYOUTS)}")
    source, out = Path(source), Path(out)
    check_new_folder(out)
    in_peft = "peft_type" in read_description(source)
    refuse_part_of_fusion(source)
    identity, base = read_identity(source), BaseName.of(base)
    if not identity and not base:
        raise InputError(f"{source}: does not state its architecture", "give the base model with --base")
    stored = str(identity.get("name") or source.resolve().name)
    name = layouts.usable_name(stored)
    weights = layouts.read_safetensors(source / (layouts.PEFT_WEIGHTS if in_peft else layouts.ADAPTERHUB_WEIGHTS))
    if base:
        model = weightless_model(base)
        with torch.device("meta"):
            load_adapter(model, source, name=CHECKED)
        identity = {**identity, **identity_of(model, name, base.name)}
        weights = layouts.full_peft_keys(model, weights) if in_peft else weights
    backbone = backbone_of_type(str(identity.get("model_type")))
    config = read_config(source, backbone)
    method = METHODS[config.method]
    if layout not in method.exports:
        raise InputError(f"{source}: {layout} has no {method.label}", f"--to {' or '.join(method.exports)}")
    if layout == "adapterhub" and not backbone.adapterhub_agrees:
        raise InputError(
            f"{source}: the adapters library computes something else for {backbone.model_type}",
            "use it with langlift; LoRA also with --to peft",
        )
    if (source / MLM_HEAD).exists():
        say(f"{source / MLM_HEAD}: the layout does not support an MLM head; it is not exported")
    with new_folder(out) as staging:
        if layout == "peft":
            write_adapter(staging, config, weights, identity)
        else:
            weights = (
                {layouts.adapterhub_from_peft(key, name): value for key, value in weights.items()}
                if in_peft
                else layouts.renamed(weights, stored, name)
            )
            settings = adapterhub_config(config, backbone)
            write_adapterhub(staging, settings, weights, {**identity, "name": name})
            torch.save(weights, staging / layouts.ADAPTERHUB_PICKLE)  # which the library reads by default
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
        sizes = file_sizes(staging)
    return Exported(str(out), name, layout, list(sizes), sizes)


def _language_adapter(source: Path) -> str | None:
    """The language adapter below a task's adapter, if there was one."""
    try:
        recipe = load_yaml((source / "recipe.yaml").read_text(encoding="utf-8"))
        return Path(recipe["inputs"]["language_adapter"]).name
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):  # not the run of a task
        return None
