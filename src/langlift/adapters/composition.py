"""Put adapters into a loaded model, one over the other, and say which parameters train."""

from typing import TypeVar

from torch import nn
from transformers import PreTrainedModel

from langlift.adapters.bottleneck import AdaptedLayerNorm, AdaptedOutput, Bottleneck, SeqBnConfig
from langlift.adapters.fusion import AdapterFusion
from langlift.adapters.invertible import InvertibleCoupling
from langlift.adapters.lora import LoraConfig, inject
from langlift.backbones.registry import Backbone, backbone_of
from langlift.errors import InputError

AdapterConfig = SeqBnConfig | LoraConfig
Place = AdaptedLayerNorm | AdaptedOutput
Module = TypeVar("Module", bound=nn.Module)


def method_of(config: AdapterConfig) -> str:
    """The name of an adapter's method, as in recipes."""
    if isinstance(config, LoraConfig):
        return "lora"
    return "seq_bn_inv" if config.invertible else "seq_bn"


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
            "use letters, digits and _, and no name that an adapter or a module of the model has already "
            "(langlift import --name gives a downloaded adapter another; langlift fuse takes folders' names)",
        )
    if isinstance(config, LoraConfig):
        inject(model, name, config, backbone.lora_targets)
        return
    first = not attached(model)
    hidden_size: int = model.config.hidden_size
    for place in bottleneck_places(model, backbone):
        place.adapters[name] = _like(Bottleneck(hidden_size, config.bottleneck_size(hidden_size)), model)
    if config.invertible and first:
        _attach_invertible(model, backbone, name, config)


def fuse(model: PreTrainedModel) -> str:
    """Put a fresh AdapterFusion over all adapters of the model, in place: Stack(a, b) becomes Stack(Fuse(a, b)).

    Returns the fusion's name in the stack, ``a,b`` as AdapterHub calls it. An adapter attached afterwards
    stacks on top of the fusion. As there, only the first adapter contributes its invertible block.

    Raises:
        InputError: fewer than two adapters, LoRA or a fusion among them.
    """
    names = attached(model)
    places = bottleneck_places(model, backbone_of(model))
    fusible = {name for name, module in places[0].adapters.items() if isinstance(module, Bottleneck)}
    if len(names) < 2 or set(names) != fusible:
        raise InputError(
            f"a fusion of {', '.join(names) or 'nothing'} is not possible",
            "fuse two or more bottleneck adapters (seq_bn or seq_bn_inv)",
        )
    config = model.config
    dropout: float = getattr(config, backbone_of(model).attention_dropout)
    fused = ",".join(names)
    for place in places:
        place.adapters = nn.ModuleDict(
            {fused: _like(AdapterFusion(place.adapters, config.hidden_size, dropout), model)}
        )
    return fused


def attached(model: PreTrainedModel) -> list[str]:
    """Names of the adapters in the model, LoRA first, then bottlenecks from the bottom of the stack up."""
    names: dict[str, None] = {}
    for path, module in model.named_modules():
        if path.endswith(".lora_A"):
            names |= dict.fromkeys(module.keys())
    for module in model.modules():
        if isinstance(module, Place):
            names |= dict.fromkeys(module.adapters.keys())
    return list(names)


def train_only(model: PreTrainedModel, name: str | None) -> None:
    """Freeze everything but the adapter ``name``; with ``None`` everything trains."""
    for path, parameter in model.named_parameters():
        parameter.requires_grad_(name is None or name in path.split("."))


def bottleneck_places(model: PreTrainedModel, backbone: Backbone) -> list[Place]:
    """The modules that hold bottleneck adapters, by layer; made in place where there is none yet."""
    body = model.base_model
    places: list[Place] = []
    for layer in range(model.config.num_hidden_layers):
        path = backbone.bottleneck.format(layer=layer)
        module = body.get_submodule(path)
        if backbone.pre_layer_norm:
            places.append(getattr(module, "adapted_output", None) or AdaptedOutput.behind(module))
            continue
        if not isinstance(module, AdaptedLayerNorm):
            module = AdaptedLayerNorm.around(module)
            parent, _, leaf = path.rpartition(".")
            setattr(body.get_submodule(parent), leaf, module)
        places.append(module)
    return places


def invertible_block(model: PreTrainedModel, name: str) -> InvertibleCoupling | None:
    """The invertible block of an attached adapter, if it has one."""
    embeddings = model.base_model.get_submodule(backbone_of(model).embeddings)
    blocks = getattr(embeddings, "invertible", None)
    return blocks[name] if blocks is not None and name in blocks else None


def _attach_invertible(model: PreTrainedModel, backbone: Backbone, name: str, config: SeqBnConfig) -> None:
    """Hook the block behind the embeddings and, with a masked head present, before its decoder."""
    embeddings = model.base_model.get_submodule(backbone.embeddings)
    block = _like(InvertibleCoupling(model.config.hidden_size), model)
    embeddings.invertible = nn.ModuleDict({name: block})
    embeddings.register_forward_hook(block.after_embeddings)
    if config.inverse_at_head:
        model.get_submodule(backbone.head_decoder).register_forward_pre_hook(block.before_decoder)


def _like(module: Module, model: PreTrainedModel) -> Module:
    return module.to(device=model.device, dtype=model.dtype)
