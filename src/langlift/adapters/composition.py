"""Put adapters into a loaded model, one over the other, and say which parameters train."""

from typing import TypeVar

from torch import nn
from transformers import PreTrainedModel

from langlift.adapters.bottleneck import AdaptedLayerNorm, Bottleneck, SeqBnConfig
from langlift.adapters.invertible import InvertibleCoupling
from langlift.adapters.lora import LoraConfig, inject
from langlift.backbones.registry import Backbone, backbone_of
from langlift.errors import InputError

AdapterConfig = SeqBnConfig | LoraConfig
Module = TypeVar("Module", bound=nn.Module)


def attach(model: PreTrainedModel, name: str, config: AdapterConfig) -> None:
    """Add an adapter with fresh weights on top of those already there: Stack(first, ..., name), in place.

    Only the first adapter of a stack contributes its invertible block: a later one is attached
    without it.

    Raises:
        InputError: the name is taken or not usable, or the architecture is not supported.
    """
    backbone = backbone_of(model)
    if not name.isidentifier() or any(name in path.split(".") for path, _ in model.named_modules()):
        # A name that is also a module's would make its parameters trainable with the adapter's.
        raise InputError(
            f"the adapter name '{name}' is not usable here",
            "use letters, digits and _, and no name that an adapter or a module of the model has already",
        )
    if isinstance(config, LoraConfig):
        inject(model, name, config, backbone.lora_targets)
        return
    first = not attached(model)
    for norm in adapted_norms(model, backbone):
        norm.adapters[name] = _like(
            Bottleneck(norm.normalized_shape[0], config.bottleneck_size(norm.normalized_shape[0])), norm
        )
    if config.invertible and first:
        _attach_invertible(model, backbone, name, config)


def attached(model: PreTrainedModel) -> list[str]:
    """Names of the adapters in the model, LoRA first, then bottlenecks from the bottom of the stack up."""
    names: dict[str, None] = {}
    for path, module in model.named_modules():
        if path.endswith(".lora_A"):
            names |= dict.fromkeys(module.keys())
    for module in model.modules():
        if isinstance(module, AdaptedLayerNorm):
            names |= dict.fromkeys(module.adapters.keys())
    return list(names)


def train_only(model: PreTrainedModel, name: str | None) -> None:
    """Freeze everything but the adapter ``name``; with ``None`` everything trains."""
    for path, parameter in model.named_parameters():
        parameter.requires_grad_(name is None or name in path.split("."))


def adapted_norms(model: PreTrainedModel, backbone: Backbone) -> list[AdaptedLayerNorm]:
    """The LayerNorms that hold bottleneck adapters, by layer; ordinary ones are replaced in place first."""
    body = model.base_model
    norms = []
    for layer in range(model.config.num_hidden_layers):
        path = backbone.feed_forward_norm.format(layer=layer)
        norm = body.get_submodule(path)
        if not isinstance(norm, AdaptedLayerNorm):
            norm = AdaptedLayerNorm.around(norm)
            parent, _, leaf = path.rpartition(".")
            setattr(body.get_submodule(parent), leaf, norm)
        norms.append(norm)
    return norms


def invertible_block(model: PreTrainedModel, name: str) -> InvertibleCoupling | None:
    """The invertible block of an attached adapter, if it has one."""
    embeddings = model.base_model.get_submodule(backbone_of(model).embeddings)
    blocks = getattr(embeddings, "invertible", None)
    return blocks[name] if blocks is not None and name in blocks else None


def _attach_invertible(model: PreTrainedModel, backbone: Backbone, name: str, config: SeqBnConfig) -> None:
    """Hook the block behind the embeddings and, with a masked head present, before its decoder."""
    embeddings = model.base_model.get_submodule(backbone.embeddings)
    norm = adapted_norms(model, backbone)[0]
    block = _like(InvertibleCoupling(norm.normalized_shape[0]), norm)
    embeddings.invertible = nn.ModuleDict({name: block})
    embeddings.register_forward_hook(block.after_embeddings)
    if config.inverse_at_head:
        model.get_submodule(backbone.head_decoder).register_forward_pre_hook(block.before_decoder)


def _like(module: Module, norm: nn.LayerNorm) -> Module:
    return module.to(device=norm.weight.device, dtype=norm.weight.dtype)
