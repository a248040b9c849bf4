"""Adapter configurations as AdapterHub and PEFT write them, to ours and back."""

import re
from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from typing import Any

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.lora import LoraConfig
from langlift.adapters.method import METHODS, AdapterConfig
from langlift.adapters.peft_adapter import PeftAdapterConfig, rank_and_alpha
from langlift.backbones.registry import Backbone
from langlift.checkpoints.layouts import (
    ADAPTERHUB_BOTTLENECK,
    ADAPTERHUB_LORA,
    LORA_WITHOUT_EFFECT,
    NAMED_CONFIGURATIONS,
    NEVER_LEFT_OUT,
    OWN_ARCHITECTURE,
    WITHOUT_EFFECT,
)
from langlift.errors import InputError

LORA = ADAPTERHUB_LORA["architecture"]
READABLE = "Seq_bn (Pfeiffer) adapters with relu, and LoRA on query and value, can be read"
FIXED_SCALING = (1, 1)
"""The release of ``adapters`` from which LoRA's alpha is applied as written."""


def adapterhub_config(config: AdapterConfig, backbone: Backbone) -> dict[str, Any]:
    """AdapterHub's ``config`` object for an adapter of ours, of a method that can be exported there."""
    if isinstance(config, LoraConfig):
        # The library always divides by the rank.
        alpha = config.alpha * sqrt(config.rank) if config.rank_stabilised else config.alpha
        return {**ADAPTERHUB_LORA, "r": config.rank, "alpha": alpha}
    if not isinstance(config, SeqBnConfig):
        raise TypeError(f"AdapterHub's layout has no {config.method}")
    return {
        **ADAPTERHUB_BOTTLENECK,
        **({} if backbone.adapterhub_agrees else {"architecture": OWN_ARCHITECTURE}),
        "leave_out": list(config.leave_out),
        "reduction_factor": config.reduction_factor,
        "inv_adapter": "nice" if config.invertible else None,
        "inv_adapter_reduction_factor": 2 if config.invertible else None,
    }


def config_from_adapterhub(
    description: Mapping[str, Any], backbone: Backbone, path: Path
) -> SeqBnConfig | LoraConfig:
    """Our configuration for AdapterHub's ``adapter_config.json``, of any release; ``path`` is for errors.

    Raises:
        InputError: another kind of adapter, or one that the library computes in another way.
    """
    stored = description.get("config") or description.get("config_id")
    if isinstance(stored, str):
        stored = _named(stored, path)
    if not isinstance(stored, dict):
        raise InputError(f"{path}: 'config' describes no adapter", READABLE)
    stored = {str(key).lower(): value for key, value in stored.items()}  # 1.x wrote MH_Adapter and so on
    expected = None if backbone.adapterhub_agrees else OWN_ARCHITECTURE
    architecture = stored.get("architecture")
    if architecture not in (expected, LORA):
        if architecture is None:
            raise InputError(
                f"{path}: for {backbone.model_type} the adapters library computes something else",
                "train the adapter with langlift; docs/backbones.md tells the difference",
            )
        raise InputError(f"{path}: adapters of the kind '{architecture}' cannot be read", READABLE)
    if architecture == LORA:
        return _lora(stored, str(description.get("version", "")), backbone, path)
    return _seq_bn(stored, description.get("langlift"), path)


def config_from_peft(description: Mapping[str, Any], backbone: Backbone, path: Path) -> PeftAdapterConfig:
    """Our configuration for PEFT's ``adapter_config.json``; ``path`` is for errors.

    Raises:
        InputError: a kind of adapter that langlift lacks, or one that it would compute in another way.
    """
    classes = {method.load_class() for method in METHODS.values() if method.layout == "peft"}
    kinds = {kind.PEFT_TYPE: kind for kind in classes}
    kind = description["peft_type"]
    if kind not in kinds:
        raise InputError(f"{path}: PEFT's kind {kind} cannot be loaded", f"can be: {', '.join(sorted(kinds))}")
    config: PeftAdapterConfig = kinds[kind].from_peft(description, backbone, path)
    return config


def _seq_bn(stored: Mapping[str, Any], own: Any, path: Path) -> SeqBnConfig:
    for key, value in ADAPTERHUB_BOTTLENECK.items():
        if key in WITHOUT_EFFECT or key == "leave_out":
            continue
        found = stored.get(key, None if key in NEVER_LEFT_OUT else value)
        if not _same(found, value):
            said = f"{key} is {found!r}" if found is not None else f"{key} is not given"
            raise InputError(
                f"{path}: another kind of adapter ({said}, not {value!r})", f"{_kind_of(key)}; {READABLE}"
            )
    block, factor = stored.get("inv_adapter"), stored.get("inv_adapter_reduction_factor")
    if isinstance(old := stored.get("invertible_adapter"), dict):  # the form of 1.x
        block, factor = old.get("block_type"), old.get("reduction_factor")
    if block and (block != "nice" or factor != 2):
        raise InputError(
            f"{path}: the invertible block is '{block}' with reduction factor {factor}",
            "only nice with 2 can be read",
        )
    return SeqBnConfig(
        reduction_factor=_reduction_factor(stored.get("reduction_factor"), path),
        invertible=bool(block),
        inverse_at_head=bool(own.get("inverse_at_head", True)) if isinstance(own, dict) else True,
        leave_out=_leave_out(stored.get("leave_out"), path),
    )


def _leave_out(found: Any, path: Path) -> tuple[int, ...]:
    layers = found or []
    if not isinstance(layers, list) or not all(type(layer) is int and layer >= 0 for layer in layers):
        raise InputError(f"{path}: leave_out is {found!r}, not a list of layers", "the file is damaged")
    return tuple(sorted(set(layers)))


def _same(found: Any, value: Any) -> bool:
    """Whether a field has a value; lists may stand in any order, and an empty one may be left out."""
    if not isinstance(value, list):
        return bool(found == value)
    return isinstance(found or [], list) and sorted(map(str, found or [])) == sorted(map(str, value))


def _kind_of(key: str) -> str:
    """What a field that differs usually means."""
    return {
        "mh_adapter": "it sits after the attention too (Houlsby)",
        "is_parallel": "it is parallel",
        "phm_layer": "it is a Compacter",
    }.get(key, "not a plain Seq_bn")


def _reduction_factor(found: Any, path: Path) -> float:
    if isinstance(found, dict) and found:
        first, *others = found.values()
        found = first if all(other == first for other in others) else found
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < float("inf"):
        raise InputError(f"{path}: not a Seq_bn adapter with one reduction_factor (found {found!r})", READABLE)
    return float(found)


def _lora(stored: Mapping[str, Any], version: str, backbone: Backbone, path: Path) -> LoraConfig:
    if not backbone.adapterhub_agrees:
        raise InputError(
            f"{path}: AdapterHub's LoRA for {backbone.model_type} cannot be read",
            "PEFT's can; see docs/backbones.md",
        )
    for key, value in ADAPTERHUB_LORA.items():
        if key in LORA_WITHOUT_EFFECT:
            continue
        found = stored.get(key, value)
        if not _same(found, value):
            raise InputError(f"{path}: {key} of this LoRA adapter is {found!r}, not {value!r}", READABLE)
    rank, alpha = stored.get("r"), stored.get("alpha")
    release = re.match(r"adapters\.(\d+)\.(\d+)", version)
    if release and tuple(map(int, release.groups())) < FIXED_SCALING:
        alpha = rank  # those releases trained without the scaling, and today's library reads them so
    return LoraConfig(*rank_and_alpha(rank, alpha, path))


def _named(text: str, path: Path) -> dict[str, Any]:
    """A configuration given as a name or hash, with at most a reduction factor in brackets."""
    match = re.fullmatch(r"([^\[\]|]+)(?:\[reduction_factor=(\d+(?:\.\d+)?)\])?", text)
    name = match[1] if match else text
    if match and name == LORA and not match[2]:
        return {**ADAPTERHUB_LORA, "r": LoraConfig.rank, "alpha": LoraConfig.alpha}
    if not match or name not in NAMED_CONFIGURATIONS:
        raise InputError(f"{path}: adapters of the configuration '{text}' cannot be read", READABLE)
    factor, invertible = NAMED_CONFIGURATIONS[name]
    inverse = {"inv_adapter": "nice", "inv_adapter_reduction_factor": 2} if invertible else {}
    return {**ADAPTERHUB_BOTTLENECK, "reduction_factor": float(match[2] or factor), **inverse}
