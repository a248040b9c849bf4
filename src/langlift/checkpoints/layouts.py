"""The layouts of adapter folders, as data: file names, and which parameter lies under which key."""

from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.composition import adapted_norms, invertible_block
from langlift.backbones.registry import backbone_of

CONFIG_FILE = "adapter_config.json"
ADAPTERHUB_WEIGHTS = "adapter.safetensors"
PEFT_WEIGHTS = "adapter_model.safetensors"

BOTTLENECK_KEYS = {
    "down.weight": "adapter_down.0.weight",
    "down.bias": "adapter_down.0.bias",
    "up.weight": "adapter_up.weight",
    "up.bias": "adapter_up.bias",
}
"""Our parameter of a bottleneck -> AdapterHub's key behind ``...adapters.NAME.``"""

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
"""What AdapterHub's configuration says of every Seq_bn adapter (adapters 1.3.0, SeqBnConfig)."""


def adapterhub_config(config: SeqBnConfig) -> dict[str, Any]:
    """AdapterHub's ``config`` object for ours."""
    return {
        **ADAPTERHUB_BOTTLENECK,
        "reduction_factor": config.reduction_factor,
        "inv_adapter": "nice" if config.invertible else None,
        "inv_adapter_reduction_factor": 2 if config.invertible else None,
    }


def adapterhub_keys(model: PreTrainedModel, name: str) -> Iterator[tuple[str, nn.Parameter]]:
    """(AdapterHub's key, parameter) for every parameter of an attached bottleneck adapter."""
    backbone = backbone_of(model)
    prefix: str = model.base_model_prefix
    for layer, norm in enumerate(adapted_norms(model, backbone)):
        place = backbone.adapterhub_bottleneck.format(layer=layer)
        adapter = norm.adapters[name]
        for ours, theirs in BOTTLENECK_KEYS.items():
            yield f"{prefix}.{place}.{name}.{theirs}", adapter.get_parameter(ours)
    block = invertible_block(model, name)
    if block is not None:
        for ours, parameter in block.named_parameters():
            yield f"{prefix}.invertible_adapters.{name}.{ours}", parameter


def peft_keys(model: PreTrainedModel, name: str) -> Iterator[tuple[str, nn.Parameter]]:
    """(PEFT's key, parameter) for every parameter of an attached LoRA adapter."""
    for path, parameter in model.named_parameters():
        for part in ("lora_A", "lora_B"):
            if f".{part}.{name}." in path:
                yield f"base_model.model.{path.replace(f'.{part}.{name}.', f'.{part}.')}", parameter
