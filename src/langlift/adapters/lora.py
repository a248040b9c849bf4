"""LoRA (Hu et al. 2022) through PEFT, injected into the raw model so that other adapters stack over it."""

from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class LoraConfig:
    """``W x + (alpha / rank) B A x`` on the backbone's query and value projections, without dropout."""

    rank: int = 8
    alpha: float = 8.0


def peft_config(config: LoraConfig, targets: tuple[str, ...]) -> Any:
    """The same as PEFT's configuration object."""
    import peft

    return peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=0.0, target_modules=list(targets), bias="none"
    )


def inject(model: nn.Module, name: str, config: LoraConfig, targets: tuple[str, ...]) -> None:
    """Add the trainable update ``name`` to every module called like one of ``targets``, in place."""
    from peft import inject_adapter_in_model

    inject_adapter_in_model(peft_config(config, targets), model, adapter_name=name)


def merge(model: nn.Module) -> None:
    """Add every update to the weights of its module, ``W + (alpha / rank) B A``, and remove it, in place.

    Raises:
        ValueError: the sum is not finite.
    """
    from peft.tuners.lora import LoraLayer

    for path, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge(safe_merge=True)
            parent, _, leaf = path.rpartition(".")
            setattr(model.get_submodule(parent), leaf, module.get_base_layer())
