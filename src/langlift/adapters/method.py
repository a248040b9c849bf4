"""Adaptation methods: one table behind help, model cards, cost estimates, study rules and file layouts.

To add a method, add a row here and a file with its configuration, a subclass of ``AdapterConfig``. The command
line reads the table for its help, so this module imports no heavy library: a row names its configuration's class,
which is imported when it is needed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Self

from langlift.config.settings import setting

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class AdapterConfig(ABC):
    """An adapter's configuration, as its folder records it."""

    @classmethod
    def from_settings(cls, method: "Method", settings: "MethodSettings") -> Self:
        """The configuration for a recipe's settings; by default there are none."""
        return cls()

    @property
    @abstractmethod
    def method(self) -> str:
        """The name of the adapter's method."""

    def settings(self) -> dict[str, Any]:
        """The configuration as settings of a recipe, without the method; by default there are none."""
        return {}

    @abstractmethod
    def attach(self, model: "PreTrainedModel", name: str, first: bool) -> None:
        """Add an adapter with fresh weights on top of those of the model, in place.

        ``first``: the model has no adapter yet. InputError if the model does not support such an adapter.
        """


@dataclass(frozen=True)
class Shape:
    """The dimensions of a base model from which a method's number of trainable parameters is computed."""

    hidden_size: int
    layers: int
    vocabulary_size: int


@dataclass(frozen=True)
class Method:
    """The properties of an adaptation method."""

    name: str
    label: str
    """Description of the trained adapter or model, for model cards."""
    parameters: Callable[["MethodSettings", Shape], float]
    """Approximate number of trainable parameters, for estimating costs without loading the model."""
    config_class: str = ""
    """``module:class`` of its ``AdapterConfig``; empty if the whole model is trained."""
    settings: tuple[str, ...] = ()
    """Recipe settings that are specific to this method, or to it and a few others."""
    sized_by: tuple[str, ...] = ()
    """Those of ``settings`` that determine the number of trainable parameters."""
    layout: str = ""
    """The layout of its folders: ``adapterhub`` or ``peft``; empty for a whole model."""
    exports: tuple[str, ...] = ()
    """The formats of ``langlift export --to`` that support it, besides onnx, which supports all."""
    task_label: str = ""
    """Description of what is trained on a task; empty if tasks cannot be trained with it."""
    fusible: bool = False
    """Whether its adapters can be fused."""
    mixture: bool = False
    """Whether it is trained as a mixture of sparse adapters and saved as an ordinary adapter."""

    @property
    def whole_model(self) -> bool:
        """Whether the base model itself is trained, without an adapter."""
        return not self.config_class

    @property
    def causal_tag(self) -> str:
        """The hub tag of a decoder trained with it."""
        return "text-generation" if self.whole_model else self.tag

    @property
    def tag(self) -> str:
        """The hub tag of a masked language model trained with it."""
        return HUB_TAGS[self.layout]

    def load_class(self) -> Any:
        """The class of its ``AdapterConfig``."""
        return resolve_name(self.config_class)

    def config(self, settings: "MethodSettings") -> AdapterConfig | None:
        """The adapter configuration for a recipe's settings; ``None`` if the whole model is trained."""
        return None if self.whole_model else self.load_class().from_settings(self, settings)


HUB_TAGS = {"adapterhub": "adapter-transformers", "peft": "peft", "": "fill-mask"}


def _bottlenecks(settings: "MethodSettings", shape: Shape) -> float:
    layers = shape.layers - len(settings.leave_out)
    return layers * 2 * shape.hidden_size**2 / settings.reduction_factor


def _with_invertible(settings: "MethodSettings", shape: Shape) -> float:
    return _bottlenecks(settings, shape) + shape.hidden_size**2 / 2


def _low_rank(settings: "MethodSettings", shape: Shape) -> float:
    """A and B of the query and the value."""
    return shape.layers * 2 * 2 * shape.hidden_size * settings.lora_rank


def _low_rank_and_lengths(settings: "MethodSettings", shape: Shape) -> float:
    return _low_rank(settings, shape) + shape.layers * 2 * shape.hidden_size


def _scales(settings: "MethodSettings", shape: Shape) -> float:
    """Of keys, values and the attention's output, and of a feed-forward layer four times as wide."""
    return shape.layers * 7 * shape.hidden_size


def _whole(settings: "MethodSettings", shape: Shape) -> float:
    return 12 * shape.layers * shape.hidden_size**2 + shape.hidden_size * shape.vocabulary_size


_SIZE = ("reduction_factor", "leave_out")
_SEQ_BN = Method(
    "seq_bn",
    "sequential bottleneck adapter (Seq_bn)",
    _bottlenecks,
    "langlift.adapters.bottleneck:SeqBnConfig",
    settings=_SIZE,
    sized_by=_SIZE,
    layout="adapterhub",
    exports=("adapterhub",),
    task_label="task adapter (Seq_bn)",
    fusible=True,
)
_LORA = Method(
    "lora",
    "LoRA adapter",
    _low_rank,
    "langlift.adapters.peft_adapter:LoraConfig",
    settings=("lora_rank", "lora_alpha"),
    sized_by=("lora_rank",),
    layout="peft",
    exports=("adapterhub", "peft", "transformers"),
)

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        _SEQ_BN,
        replace(
            _SEQ_BN,
            name="seq_bn_inv",
            label="sequential bottleneck adapter with an invertible adapter (Seq_bn_inv)",
            parameters=_with_invertible,
            settings=(*_SIZE, "inverse_at_head"),
            task_label="",
        ),
        _LORA,
        replace(_LORA, name="rslora", label="rank-stabilised LoRA adapter (rsLoRA)"),
        replace(
            _LORA,
            name="dora",
            label="weight-decomposed LoRA adapter (DoRA)",
            parameters=_low_rank_and_lengths,
            exports=("peft", "transformers"),
        ),
        Method(
            "ia3",
            "IA3 adapter",
            _scales,
            "langlift.adapters.peft_adapter:Ia3Config",
            layout="peft",
            exports=("peft", "transformers"),
        ),
        replace(
            _SEQ_BN,
            name="mosa",
            label="sequential bottleneck adapter (Seq_bn) trained as a mixture of sparse adapters (MoSA)",
            settings=(*_SIZE, "experts", "share", "merge", "consistency"),
            sized_by=(*_SIZE, "experts", "share"),
            task_label="task adapter (Seq_bn, trained as a mixture of sparse adapters)",
            mixture=True,
        ),
        Method(
            "full",
            "fully fine-tuned language model",
            _whole,
            settings=("freeze_share",),
            exports=("transformers",),
            task_label="fully fine-tuned encoder",
        ),
    )
}
TASK_METHODS = tuple(name for name, method in METHODS.items() if method.task_label)
FUSIBLE = tuple(name for name, method in METHODS.items() if method.fusible)


def readers(setting: str) -> tuple[str, ...]:
    """The methods that a method-specific setting applies to; empty for a setting of all methods."""
    return tuple(name for name, method in METHODS.items() if setting in method.settings)


def one_of(names: Iterable[str]) -> str:
    """Join names for a sentence: ``a, b or c``."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def exported_to(layout: str) -> tuple[str, ...]:
    """The methods whose adapters ``langlift export --to`` can write in a layout."""
    return tuple(name for name, method in METHODS.items() if layout in method.exports)


def is_whole_model(name: Any) -> bool:
    """Whether the method recorded by a run (if any) trains the base model itself."""
    return name in METHODS and METHODS[name].whole_model


def _owned(name: str, default: Any, description: str, **limits: Any) -> Any:
    return setting(default, f"{', '.join(readers(name))}: {description}", **limits)


@dataclass(frozen=True)
class MethodSettings:
    """The settings of a recipe that determine what is trained; each method uses its own."""

    method: str = setting(
        "seq_bn", "Adaptation method; full trains the whole model", choices=tuple(METHODS), option=True
    )
    reduction_factor: float = _owned("reduction_factor", 16.0, "hidden size divided by bottleneck size", above=0)
    leave_out: tuple[int, ...] = _owned(
        "leave_out", (), "layers without an adapter, counted from 0; by default every layer has one", minimum=0
    )
    inverse_at_head: bool = _owned(
        "inverse_at_head", True, "also apply the inverse before the MLM head's decoder (false: as published)"
    )
    lora_rank: int = _owned("lora_rank", 8, "rank of the update", minimum=1)
    lora_alpha: float = _owned(
        "lora_alpha", 8.0, "the update is scaled by alpha / rank (rslora: alpha / sqrt(rank))", above=0
    )
    experts: int = _owned("experts", 4, "number of sparse experts", minimum=2)
    share: str = _owned(
        "share",
        "down",
        "projection that is shared by all experts, not split (none: both are split)",
        choices=("down", "up", "none"),
    )
    merge: str = _owned(
        "merge",
        "mean",
        "how experts are merged into one adapter: mean, or each entry from the expert that owns it (joint)",
        choices=("mean", "joint"),
    )
    consistency: float = _owned(
        "consistency", 1.0, "weight of the divergence from a second forward pass (0: off)", minimum=0
    )

    @property
    def needs_second_pass(self) -> bool:
        """Whether each step needs a second forward pass for the consistency term."""
        return METHODS[self.method].mixture and self.consistency > 0
