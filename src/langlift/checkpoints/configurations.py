"""Conversion of adapter configurations from and to AdapterHub's and PEFT's files."""

import re
from collections.abc import Collection, Mapping
from math import sqrt
from pathlib import Path
from typing import Any

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.method import METHODS, AdapterConfig
from langlift.adapters.peft_adapter import LoraConfig, PeftAdapterConfig, rank_and_alpha
from langlift.backbones.registry import Backbone
from langlift.errors import InputError

ADAPTERHUB_BOTTLENECK: dict[str, Any] = {
    "cross_adapter": False,
    "dropout": 0.0,
    "init_weights": "bert",
    "is_parallel": False,
    "leave_out": [],
    "ln_after": False,
    "ln_before": False,
    "mh_adapter": False,
    "non_linearity": "relu",
    "original_ln_after": True,
    "original_ln_before": True,
    "output_adapter": True,
    "phm_layer": False,
    "residual_before_ln": True,
    "adapter_residual_before_ln": False,
    "scaling": 1.0,
    "use_gating": False,
}
"""AdapterHub's settings of every Seq_bn adapter (adapters 1.3.0, SeqBnConfig)."""

WITHOUT_EFFECT = frozenset({"dropout", "init_weights", "adapter_residual_before_ln"})
"""The settings that do not affect the output of a trained Seq_bn adapter."""

NEVER_LEFT_OUT = frozenset({"mh_adapter", "output_adapter", "non_linearity", "original_ln_before"})
"""The settings whose default in the library differs from Seq_bn's, so that a file must contain them."""

ADAPTERHUB_LORA: dict[str, Any] = {
    "architecture": "lora",
    "attn_matrices": ["q", "v"],
    "composition_mode": "add",
    "dropout": 0.0,
    "dtype": None,
    "init_weights": "lora",
    "init_weights_seed": None,
    "intermediate_lora": False,
    "leave_out": [],
    "output_lora": False,
    "selfattn_lora": True,
    "use_dora": False,
    "use_gating": False,
    "vera_b": None,
    "vera_d": None,
}
"""AdapterHub's settings of every LoRA adapter that langlift supports (adapters 1.3.0)."""

LORA_WITHOUT_EFFECT = frozenset({"dropout", "dtype", "init_weights", "init_weights_seed"})

NAMED_CONFIGURATIONS: dict[str, tuple[float, bool]] = {
    "seq_bn": (16, False),
    "seq_bn_inv": (16, True),
    "pfeiffer": (16, False),
    "pfeiffer+inv": (16, True),
    "9076f36a74755ac4": (16, False),
    "9ed5b5a29de19b71": (16, True),
    "e15331acc3f0a5c0": (2, False),
    "16eaa0b5fae9ed68": (2, True),
    "bb1c8efb82510bed": (16, True),
    "87954f0c97a780e3": (2, True),
}
"""Configurations by name or by AdapterHub's hash: (reduction factor, with an invertible block).

The last two are hashes of adapter-transformers 1.x.
"""

ADAPTERHUB_FUSION: dict[str, Any] = {
    "dropout_prob": None,
    "key": True,
    "query": True,
    "query_before_ln": False,
    "regularization": True,
    "residual_before": False,
    "temperature": False,
    "value": True,
    "value_before_softmax": True,
    "value_initialized": True,
}
"""AdapterHub's settings of every AdapterFusion (adapters 1.3.0, DynamicAdapterFusionConfig)."""

FUSION_WITHOUT_EFFECT = frozenset({"dropout_prob", "regularization", "value_before_softmax", "value_initialized"})
"""The settings that do not affect the output of a trained fusion."""

OWN_ARCHITECTURE = "langlift_seq_bn"
"""Architecture to record if AdapterHub's library would compute something else: it rejects unknown ones."""

LORA = ADAPTERHUB_LORA["architecture"]
READABLE = "Seq_bn (Pfeiffer) adapters with relu, and LoRA on query and value, can be read"
FIXED_SCALING = (1, 1)
"""The first release of ``adapters`` that applies LoRA's alpha."""


def adapterhub_config(config: AdapterConfig, backbone: Backbone) -> dict[str, Any]:
    """AdapterHub's ``config`` object for a bottleneck adapter or LoRA."""
    if isinstance(config, LoraConfig):
        # The library always divides by the rank.
        alpha = config.alpha * sqrt(config.rank) if config.rank_stabilised else config.alpha
        return {**ADAPTERHUB_LORA, "r": config.rank, "alpha": alpha}
    if not isinstance(config, SeqBnConfig):
        raise TypeError(f"AdapterHub's layout does not support {config.method}")
    return {
        **ADAPTERHUB_BOTTLENECK,
        **own_architecture(backbone),
        "leave_out": list(config.leave_out),
        "reduction_factor": config.reduction_factor,
        "inv_adapter": "nice" if config.invertible else None,
        "inv_adapter_reduction_factor": 2 if config.invertible else None,
    }


def config_from_adapterhub(
    description: Mapping[str, Any], backbone: Backbone, path: Path
) -> SeqBnConfig | LoraConfig:
    """What AdapterHub's ``adapter_config.json`` of any release describes; ``path`` is for errors."""
    stored = description.get("config") or description.get("config_id")
    if isinstance(stored, str):
        stored = _named(stored, path)
    if not isinstance(stored, dict):
        raise InputError(f"{path}: 'config' describes no adapter", READABLE)
    stored = {str(key).lower(): value for key, value in stored.items()}  # 1.x has keys such as MH_Adapter
    architecture = stored.get("architecture")
    if architecture not in (own_architecture(backbone).get("architecture"), LORA):
        if architecture is None:
            raise InputError(
                f"{path}: for {backbone.model_type} the adapters library computes something else",
                "train the adapter with langlift; see docs/backbones.md",
            )
        raise InputError(f"{path}: adapters of the kind '{architecture}' cannot be read", READABLE)
    if architecture == LORA:
        return _lora(stored, str(description.get("version", "")), backbone, path)
    return _seq_bn(stored, description.get("langlift"), path)


def config_from_peft(description: Mapping[str, Any], backbone: Backbone, path: Path) -> PeftAdapterConfig:
    """What PEFT's ``adapter_config.json`` describes; ``path`` is for errors."""
    classes = {method.load_class() for method in METHODS.values() if method.layout == "peft"}
    kinds = {kind.PEFT_TYPE: kind for kind in classes}
    kind = description["peft_type"]
    if kind not in kinds:
        raise InputError(
            f"{path}: PEFT adapters of type {kind} cannot be loaded", f"supported: {', '.join(sorted(kinds))}"
        )
    return kinds[kind].from_peft(description, backbone, path)


def _seq_bn(stored: Mapping[str, Any], own: Any, path: Path) -> SeqBnConfig:
    if key := first_difference(stored, ADAPTERHUB_BOTTLENECK, {*WITHOUT_EFFECT, "leave_out"}, NEVER_LEFT_OUT):
        value = f"is {stored[key]!r}" if stored.get(key) is not None else "is not given"
        raise InputError(
            f"{path}: another kind of adapter ({key} {value}, not {ADAPTERHUB_BOTTLENECK[key]!r})", READABLE
        )
    block, factor = stored.get("inv_adapter"), stored.get("inv_adapter_reduction_factor")
    if isinstance(old := stored.get("invertible_adapter"), dict):  # as in 1.x
        block, factor = old.get("block_type"), old.get("reduction_factor")
    if block and (block != "nice" or factor != 2):
        raise InputError(
            f"{path}: the invertible block is '{block}' with reduction factor {factor}",
            "only nice with reduction factor 2 can be read",
        )
    left_out = stored.get("leave_out") or []
    if not isinstance(left_out, list) or not all(type(layer) is int and layer >= 0 for layer in left_out):
        raise InputError(f"{path}: leave_out is {left_out!r}, not a list of layers", "the file is damaged")
    return SeqBnConfig(
        reduction_factor=_reduction_factor(stored.get("reduction_factor"), path),
        invertible=bool(block),
        inverse_at_head=bool(own.get("inverse_at_head", True)) if isinstance(own, dict) else True,
        leave_out=tuple(sorted(set(left_out))),
    )


def own_architecture(backbone: Backbone) -> dict[str, str]:
    """A setting that makes AdapterHub's library reject the folder, if it would compute something else."""
    return {} if backbone.adapterhub_agrees else {"architecture": OWN_ARCHITECTURE}


def first_difference(
    stored: Mapping[str, Any],
    expected: Mapping[str, Any],
    ignored: Collection[str],
    required: Collection[str] = (),
) -> str | None:
    """The first setting that differs; those not ``required`` may be missing."""
    for key, value in expected.items():
        found = stored.get(key, None if key in required else value)
        if key not in ignored and not _same(found, value):
            return key
    return None


def _same(found: Any, expected: Any) -> bool:
    """Whether two settings agree; lists may be in any order, and an empty one may be null."""
    if not isinstance(expected, list):
        return bool(found == expected)
    return isinstance(found or [], list) and sorted(map(str, found or [])) == sorted(map(str, expected))


def _reduction_factor(value: Any, path: Path) -> float:
    if isinstance(value, dict) and value:
        first, *others = value.values()
        value = first if all(other == first for other in others) else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise InputError(f"{path}: not a Seq_bn adapter with one reduction_factor (found {value!r})", READABLE)
    return float(value)


def _lora(stored: Mapping[str, Any], version: str, backbone: Backbone, path: Path) -> LoraConfig:
    if not backbone.adapterhub_agrees:
        raise InputError(
            f"{path}: AdapterHub's LoRA for {backbone.model_type} cannot be read",
            "PEFT's can; see docs/backbones.md",
        )
    if key := first_difference(stored, ADAPTERHUB_LORA, LORA_WITHOUT_EFFECT):
        raise InputError(
            f"{path}: {key} of this LoRA adapter is {stored[key]!r}, not {ADAPTERHUB_LORA[key]!r}", READABLE
        )
    rank, alpha = stored.get("r"), stored.get("alpha")
    release = re.match(r"adapters\.(\d+)\.(\d+)", version)
    if release and tuple(map(int, release.groups())) < FIXED_SCALING:
        alpha = rank  # trained without scaling; the current library reads them like this
    return LoraConfig(*rank_and_alpha(rank, alpha, path))


def _named(text: str, path: Path) -> dict[str, Any]:
    """A configuration given by name or hash, optionally with a reduction factor in brackets."""
    match = re.fullmatch(r"([^\[\]|]+)(?:\[reduction_factor=(\d+(?:\.\d+)?)\])?", text)
    name = match[1] if match else text
    if match and name == LORA and not match[2]:
        return {**ADAPTERHUB_LORA, "r": LoraConfig.rank, "alpha": LoraConfig.alpha}
    if not match or name not in NAMED_CONFIGURATIONS:
        raise InputError(f"{path}: adapters of the configuration '{text}' cannot be read", READABLE)
    factor, invertible = NAMED_CONFIGURATIONS[name]
    inverse = {"inv_adapter": "nice", "inv_adapter_reduction_factor": 2} if invertible else {}
    return {**ADAPTERHUB_BOTTLENECK, "reduction_factor": float(match[2] or factor), **inverse}
