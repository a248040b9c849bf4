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
        *(
            "fan_in_fan_out",
            "init_ia3_weights",
            "init_lora_weights",
            "init_weights",
            "layers_pattern",
            "task_type",
        ),
        *("lora_dropout", "module_dropout", "rank_dropout"),
    }
)
"""What of PEFT's configurations a trained adapter's output does not depend on."""


class PeftAdapterConfig(AdapterConfig):
    """The configuration of an adapter that PEFT has."""

    PEFT_TYPE: ClassVar[str]
    """What PEFT's ``adapter_config.json`` calls this kind."""

    @abstractmethod
    def peft_config(self, backbone: Backbone) -> Any:
        """The same as PEFT's configuration object, on the backbone's modules."""

    @classmethod
    @abstractmethod
    def read(cls, description: Mapping[str, Any], path: Path) -> Self:
        """What of PEFT's ``adapter_config.json`` may vary; ``path`` is for errors.

        Raises:
            InputError: a value that no such adapter can have.
        """

    @classmethod
    def from_peft(cls, description: Mapping[str, Any], backbone: Backbone, path: Path) -> Self:
        """The configuration of PEFT's ``adapter_config.json``, all of which must be as ``peft_config`` writes it.

        Raises:
            InputError: it sits on other modules, or has a setting that langlift lacks.
        """
        config = cls.read(description, path)
        ours = config.peft_config(backbone).to_dict()
        for key in sorted(description.keys() - WITHOUT_EFFECT):
            if _plain(description[key]) != _plain(ours.get(key)):
                targets = ", ".join(_plain(ours["target_modules"]))
                raise InputError(
                    f"{path}: {key} is {description[key]!r}, not {_plain(ours.get(key))!r}",
                    f"a {config.method} adapter must be on {targets}, with PEFT's defaults elsewhere",
                )
        return config

    def attach(self, model: PreTrainedModel, name: str, first: bool) -> None:
        """Inject the adapter into every module that it adapts.

        Raises:
            InputError: the model has another adapter of PEFT's, of which only the last would be in force.
        """
        from peft import inject_adapter_in_model

        if any(hasattr(module, "adapter_layer_names") for module in model.modules()):
            raise InputError(
                f"a {self.method} adapter on top of another adapter of PEFT's kinds is not possible",
                "stack a bottleneck adapter (seq_bn) on it",
            )
        inject_adapter_in_model(self.peft_config(backbone_of(model)), model, adapter_name=name)


def merge(model: nn.Module) -> None:
    """Take every adapter of PEFT's into the weights of its module, such as ``W + (alpha / rank) B A``, in place.

    Raises:
        ValueError: the result is not finite.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    for path, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            parent, _, leaf = path.rpartition(".")
            setattr(model.get_submodule(parent), leaf, module.get_base_layer())


def rank_and_alpha(rank: Any, alpha: Any, path: Path) -> tuple[int, float]:
    """The rank and the alpha that a configuration file gives.

    Raises:
        InputError: they are no numbers above 0.
    """
    numbers = isinstance(rank, int) and not isinstance(rank, bool) and isinstance(alpha, int | float)
    if not numbers or rank < 1 or isinstance(alpha, bool) or not 0 < alpha < float("inf"):
        raise InputError(
            f"{path}: rank {rank!r} or alpha {alpha!r} is not a number above 0", "the file is damaged"
        )
    return rank, float(alpha)


def _plain(value: Any) -> Any:
    """A value of a configuration so that those which mean the same are equal: any order, any form of none."""
    if isinstance(value, set | list | tuple):
        value = sorted(map(str, value))
    return value or None
