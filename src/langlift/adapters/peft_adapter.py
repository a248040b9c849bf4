"""Adapters that PEFT computes: LoRA (Hu et al. 2022), rsLoRA, DoRA, and IA3 (Liu et al. 2022, arXiv 2205.05638).

They are injected into the raw model, so that bottleneck adapters stack over them.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import nn
from transformers import PreTrainedModel

from langlift.adapters.method import AdapterConfig, Method, MethodSettings
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
PLAIN_STARTS = (True, False, "gaussian", "orthogonal")
"""Values of PEFT's ``init_lora_weights`` that leave the base model's weights unchanged."""


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


@dataclass(frozen=True)
class LoraConfig(PeftAdapterConfig):
    """``W x + (alpha / rank) B A x`` on the backbone's query and value projections, without dropout.

    ``variant`` is ``lora``; ``rslora``, which divides alpha by the root of the rank (Kalajdzievski 2023, arXiv
    2312.03732); or ``dora``, which trains the norm of each row of ``W + (alpha / rank) B A`` separately from its
    direction (Liu et al. 2024, arXiv 2402.09353).
    """

    PEFT_TYPE: ClassVar = "LORA"
    rank: int = 8
    alpha: float = 8.0
    variant: str = "lora"

    @classmethod
    def from_settings(cls, method: Method, settings: MethodSettings) -> Self:
        """The configuration for a recipe's settings."""
        return cls(settings.lora_rank, settings.lora_alpha, method.name)

    @property
    def method(self) -> str:
        """The variant."""
        return self.variant

    @property
    def rank_stabilised(self) -> bool:
        """Whether alpha is divided by the root of the rank."""
        return self.variant == "rslora"

    def settings(self) -> dict[str, Any]:
        """The configuration as settings of a recipe."""
        return {"lora_rank": self.rank, "lora_alpha": self.alpha}

    def peft_config(self, backbone: Backbone) -> Any:
        """The equivalent PEFT configuration."""
        import peft

        return peft.LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=0.0,
            target_modules=list(backbone.lora_targets),
            bias="none",
            use_rslora=self.rank_stabilised,
            use_dora=self.variant == "dora",
        )

    @classmethod
    def read(cls, description: Mapping[str, Any], path: Path) -> Self:
        """Rank, alpha and variant of PEFT's ``adapter_config.json``.

        InputError for both variants at once, invalid numbers, or an initialisation that changes the base model.
        """
        if (start := description.get("init_lora_weights", True)) not in PLAIN_STARTS:
            # PiSSA, OLoRA, CorDA and LoftQ change the base model's weights, which are not in the folder.
            raise InputError(
                f"{path}: init_lora_weights is {start!r}, which may require a modified base model",
                "convert it to plain LoRA by saving it with PEFT's path_initial_model_for_weight_conversion",
            )
        variants = [name for name in ("rslora", "dora") if description.get(f"use_{name}")]
        if len(variants) > 1:
            raise InputError(
                f"{path}: use_rslora and use_dora are both set", "only one of them is supported at a time"
            )
        return cls(*rank_and_alpha(description.get("r"), description.get("lora_alpha"), path), *variants)


@dataclass(frozen=True)
class Ia3Config(PeftAdapterConfig):
    """Learned vectors that scale activations: ``l_k * k``, ``l_v * v``, and ``W (l_ff * h)`` in feed-forward.

    They are initialised to ones, on PEFT's default modules for the architecture. There are no settings.
    """

    PEFT_TYPE: ClassVar = "IA3"
    method: ClassVar = "ia3"

    def peft_config(self, backbone: Backbone) -> Any:
        """The equivalent PEFT configuration."""
        import peft

        return peft.IA3Config(
            target_modules=[*backbone.ia3_scaled_outputs, *backbone.ia3_scaled_inputs],
            feedforward_modules=list(backbone.ia3_scaled_inputs),
        )


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
