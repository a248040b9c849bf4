"""Adapters that PEFT computes, injected into the raw model so that bottleneck adapters stack over them."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import nn
from transformers import PreTrainedModel

from langlift.adapters.method import AdapterConfig
from langlift.backbones.registry import Backbone, backbone_of
from langlift.errors import InputError

WITHOUT_EFFECT = frozenset(
    {
        *("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_type", "peft_version", "revision"),
        *("fan_in_fan_out", "init_ia3_weights", "init_lora_weights", "init_weights", "layers_pattern"),
        *("lora_dropout", "module_dropout", "rank_dropout", "task_type"),
    }
)
"""Fields of PEFT's configurations that do not affect the output of a trained adapter."""


class PeftAdapterConfig(AdapterConfig):
    """The configuration of an adapter that is implemented in PEFT."""

    PEFT_TYPE: ClassVar[str]
    """Its type in PEFT's ``adapter_config.json``."""

    @abstractmethod
    def peft_config(self, backbone: Backbone) -> Any:
        """The equivalent PEFT configuration, for the backbone's modules."""

    @classmethod
    def read(cls, description: Mapping[str, Any], path: Path) -> Self:
        """The settings in PEFT's ``adapter_config.json``, by default none; ``path`` is for errors.

        InputError if one has an invalid or unsupported value. Fixed settings are not checked.
        """
        return cls()

    @classmethod
    def from_peft(cls, description: Mapping[str, Any], backbone: Backbone, path: Path) -> Self:
        """The configuration of PEFT's ``adapter_config.json``, which must be as ``peft_config`` writes it.

        InputError if it targets other modules, or has a setting that langlift does not support.
        """
        config = cls.read(description, path)
        ours = config.peft_config(backbone).to_dict()
        for key in sorted(description.keys() - WITHOUT_EFFECT):
            if _plain(description[key]) != _plain(ours.get(key)):
                targets = ", ".join(_plain(ours["target_modules"]))
                raise InputError(
                    f"{path}: {key} is {description[key]!r}, not {_plain(ours.get(key))!r}",
                    f"a {config.method} adapter must target {targets}, with PEFT's defaults for other settings",
                )
        return config

    def attach(self, model: PreTrainedModel, name: str, first: bool) -> None:
        """Inject the adapter into every module that it adapts.

        InputError if the model already has a PEFT adapter; only the last one would be active.
        """
        from peft import inject_adapter_in_model

        if any(hasattr(module, "adapter_layer_names") for module in model.modules()):
            raise InputError(
                f"a {self.method} adapter cannot be stacked on another PEFT adapter",
                "use a bottleneck adapter (seq_bn) instead",
            )
        inject_adapter_in_model(self.peft_config(backbone_of(model)), model, adapter_name=name)


def merge(model: nn.Module) -> None:
    """Merge every PEFT adapter into the weights of its module, such as ``W + (alpha / rank) B A``, in place.

    ValueError if the result is not finite.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    for path, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            model.set_submodule(path, module.get_base_layer())


def rank_and_alpha(rank: Any, alpha: Any, path: Path) -> tuple[int, float]:
    """The rank and the alpha that a configuration file gives; InputError if they are not numbers above 0."""
    numbers = isinstance(rank, int) and not isinstance(rank, bool) and isinstance(alpha, int | float)
    if not numbers or rank < 1 or isinstance(alpha, bool) or not 0 < alpha < float("inf"):
        raise InputError(
            f"{path}: rank {rank!r} or alpha {alpha!r} is not a number above 0", "the file is damaged"
        )
    return rank, float(alpha)


def _plain(value: Any) -> Any:
    """A configuration value in a canonical form, so that equivalent values are equal."""
    if isinstance(value, set | list | tuple):
        value = sorted(map(str, value))
    return value or None
