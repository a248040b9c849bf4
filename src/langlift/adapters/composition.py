"""Attach, stack and fuse adapters in a loaded model, and set which parameters are trained."""

from torch import nn
from transformers import PreTrainedModel

from langlift.adapters.bottleneck import Bottleneck, Place, bottleneck_places
from langlift.adapters.fusion import AdapterFusion, fusions_of
from langlift.adapters.method import FUSIBLE, AdapterConfig, one_of
from langlift.backbones.registry import backbone_of
from langlift.errors import InputError

HOW_TO_FUSE = f"fuse two or more adapters of the method {one_of(FUSIBLE)}, with the same leave_out"


def attach(model: PreTrainedModel, name: str, config: AdapterConfig) -> None:
    """Add an adapter with fresh weights on top of those already there: Stack(first, ..., name), in place.

    Only the first adapter of a stack contributes its invertible block: a later one is attached
    without it.

    Raises:
        InputError: the name is taken or invalid, or the model does not support such an adapter.
    """
    backbone_of(model)  # of a known architecture
    if not name.isidentifier() or any(name in path.split(".") for path, _ in model.named_modules()):
        # With the name of a module, that module's parameters would be trained together with the adapter's.
        raise InputError(
            f"the adapter name '{name}' cannot be used here",
            "use letters, digits and _, and no name that an adapter or a module of the model has already "
            "(langlift import --name gives a downloaded adapter another; langlift fuse takes folders' names)",
        )
    config.attach(model, name, first=not attached(model))


def fuse(model: PreTrainedModel) -> str:
    """Add a new AdapterFusion over all adapters of the model, in place: Stack(a, b) becomes Stack(Fuse(a, b)).

    Returns the fusion's name in the stack, ``a,b`` as AdapterHub calls it. An adapter attached afterwards is
    stacked on top of the fusion. As in ``attach``, only the first adapter contributes its invertible block.
    Layers that all adapters leave out have no fusion. InputError if there are fewer than two adapters, one of
    them cannot be fused, or they leave out different layers.
    """
    names = attached(model)
    places = [place for place in bottleneck_places(model) if place.adapters]
    fusible = [{name for name, part in place.adapters.items() if isinstance(part, Bottleneck)} for place in places]
    if len(names) < 2 or not places or any(found != set(names) for found in fusible):
        raise InputError(f"a fusion of {', '.join(names) or 'nothing'} is not possible", HOW_TO_FUSE)
    config = model.config
    dropout: float = getattr(config, backbone_of(model).attention_dropout)
    fused = ",".join(names)
    for place in places:
        fusion = AdapterFusion(place.adapters, config.hidden_size, dropout)
        place.adapters = nn.ModuleDict({fused: fusion.to(device=model.device, dtype=model.dtype)})
    return fused


def attached(model: PreTrainedModel) -> list[str]:
    """Names of the attached adapters: PEFT adapters first, then bottleneck adapters from the bottom of the stack
    up.
    """
    names: dict[str, None] = {}
    for module in model.modules():
        for parts in getattr(module, "adapter_layer_names", ()):  # of PEFT's layers
            names |= dict.fromkeys(getattr(module, parts).keys())
    for module in model.modules():
        if isinstance(module, Place):
            names |= dict.fromkeys(module.adapters.keys())
    return list(names)


def train_only(model: nn.Module, name: str | None) -> None:
    """Freeze everything except the adapter ``name`` and fusions; ``None`` makes everything trainable."""
    for path, parameter in model.named_parameters():
        parameter.requires_grad_(name is None or name in path.split("."))
    for fusion in fusions_of(model):
        for _, parameter in fusion.own_parameters():
            parameter.requires_grad_(True)
