"""The methods of adaptation: a table from which help, cards, prices, the rules of studies and layouts derive.

A new method is a row here and a file with its configuration, a subclass of ``AdapterConfig``. The command line
reads the table for its help, so this module imports no heavy library: a row names its configuration's class,
which is imported when it is needed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Self

from langlift.config.settings import setting

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class AdapterConfig(ABC):
    """An adapter's configuration, as its folder records it."""

    @classmethod
    @abstractmethod
    def of(cls, method: "Method", settings: "MethodSettings") -> Self:
        """The configuration that a recipe's settings ask for."""

    @property
    @abstractmethod
    def method(self) -> str:
        """The name of the adapter's method."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The configuration as settings of a recipe, without the method."""

    @abstractmethod
    def attach(self, model: "PreTrainedModel", name: str, first: bool) -> None:
        """Add an adapter with fresh weights on top of those of the model, in place.

        ``first``: there are none.

        Raises:
            InputError: the model cannot hold such an adapter.
        """


@dataclass(frozen=True)
class Shape:
    """What decides, with a method's settings, how many parameters train in a base model."""

    hidden_size: int
    layers: int
    vocabulary_size: int


@dataclass(frozen=True)
class Method:
    """What is known of one method."""

    name: str
    label: str
    """What it makes, in words, for cards."""
    parameters: Callable[["MethodSettings", Shape], float]
    """About how many parameters train; what a model that is not there is priced by."""
    config_class: str = ""
    """``module:class`` of its ``AdapterConfig``; none where the whole model trains."""
    settings: tuple[str, ...] = ()
    """The settings of recipes that only it reads, or it and a few others."""
    sized_by: tuple[str, ...] = ()
    """Those among them that decide how many parameters train."""
    layout: str = ""
    """The layout of its folders: ``adapterhub``, or ``peft``; none for a whole model."""
    exports: tuple[str, ...] = ()
    """What ``langlift export --to`` can write, besides onnx, which holds every model."""
    task_label: str = ""
    """What it makes for a task; none where tasks are not trained with it."""
    fusible: bool = False
    """Whether its adapters can be members of a fusion."""
    mixture: bool = False
    """Whether it trains as a mixture of sparse adapters, and is then saved as an ordinary one."""

    @property
    def whole_model(self) -> bool:
        """Whether there is no adapter: the base model itself trains."""
        return not self.config_class

    @property
    def causal_tag(self) -> str:
        """The hub's tag of what it makes of a decoder."""
        return "text-generation" if self.whole_model else self.tag

    @property
    def tag(self) -> str:
        """The hub's tag of what it makes of a masked language model."""
        return HUB_TAGS[self.layout]

    def load_class(self) -> Any:
        """The class of its ``AdapterConfig``."""
        return resolve_name(self.config_class)

    def config(self, settings: "MethodSettings") -> AdapterConfig | None:
        """The adapter that a recipe's settings ask for, as it is saved; ``None`` trains the whole model."""
        return None if self.whole_model else self.load_class().of(self, settings)


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


_SEQ_BN = "langlift.adapters.bottleneck:SeqBnConfig"
_LORA = "langlift.adapters.lora:LoraConfig"
_SIZE = ("reduction_factor", "leave_out")
_RANK = ("lora_rank", "lora_alpha")

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "seq_bn",
            "sequential bottleneck adapter (Seq_bn)",
            _bottlenecks,
            _SEQ_BN,
            settings=_SIZE,
            sized_by=_SIZE,
            layout="adapterhub",
            exports=("adapterhub",),
            task_label="task adapter (Seq_bn)",
            fusible=True,
        ),
        Method(
            "seq_bn_inv",
            "sequential bottleneck adapter with an invertible adapter (Seq_bn_inv)",
            _with_invertible,
            _SEQ_BN,
            settings=(*_SIZE, "inverse_at_head"),
            sized_by=_SIZE,
            layout="adapterhub",
            exports=("adapterhub",),
            fusible=True,
        ),
        Method(
            "lora",
            "LoRA adapter",
            _low_rank,
            _LORA,
            settings=_RANK,
            sized_by=("lora_rank",),
            layout="peft",
            exports=("adapterhub", "peft", "transformers"),
        ),
        Method(
            "rslora",
            "rank-stabilised LoRA adapter (rsLoRA)",
            _low_rank,
            _LORA,
            settings=_RANK,
            sized_by=("lora_rank",),
            layout="peft",
            exports=("adapterhub", "peft", "transformers"),
        ),
        Method(
            "dora",
            "weight-decomposed LoRA adapter (DoRA)",
            _low_rank_and_lengths,
            _LORA,
            settings=_RANK,
            sized_by=("lora_rank",),
            layout="peft",
            exports=("peft", "transformers"),
        ),
        Method(
            "ia3",
            "IA3 adapter",
            _scales,
            "langlift.adapters.ia3:Ia3Config",
            layout="peft",
            exports=("peft", "transformers"),
        ),
        Method(
            "mosa",
            "sequential bottleneck adapter (Seq_bn) trained as a mixture of sparse adapters (MoSA)",
            _bottlenecks,
            _SEQ_BN,
            settings=(*_SIZE, "experts", "share", "merge", "consistency"),
            sized_by=(*_SIZE, "experts", "share"),
            layout="adapterhub",
            exports=("adapterhub",),
            task_label="task adapter (Seq_bn, trained as a mixture of sparse adapters)",
            fusible=True,
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
    """The methods that read a setting which some do not; none where all do."""
    return tuple(name for name, method in METHODS.items() if setting in method.settings)


def one_of(names: Iterable[str]) -> str:
    """Names as a choice in a sentence: ``a, b or c``."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def exported_to(layout: str) -> tuple[str, ...]:
    """The methods whose adapters ``langlift export --to`` can write in a layout."""
    return tuple(name for name, method in METHODS.items() if layout in method.exports)


def is_whole_model(name: Any) -> bool:
    """Whether a run's recorded method, if it has one, is one that trains the base model itself."""
    return name in METHODS and METHODS[name].whole_model


def _owned(name: str, default: Any, description: str, **limits: Any) -> Any:
    return setting(default, f"{', '.join(readers(name))}: {description}", **limits)


@dataclass(frozen=True)
class MethodSettings:
    """The settings of a recipe that determine what is trained; each method reads its own."""

    method: str = setting("seq_bn", "What is trained", choices=tuple(METHODS), option=True)
    reduction_factor: float = _owned("reduction_factor", 16.0, "hidden size over bottleneck size", above=0)
    leave_out: tuple[int, ...] = _owned(
        "leave_out", (), "layers without an adapter, counted from 0 (none: all layers have one)", minimum=0
    )
    inverse_at_head: bool = _owned(
        "inverse_at_head", True, "run the inverse before the head's decoder (false: as published)"
    )
    lora_rank: int = _owned("lora_rank", 8, "rank of the update", minimum=1)
    lora_alpha: float = _owned(
        "lora_alpha", 8.0, "scale of the update is alpha / rank (rslora: its root)", above=0
    )
    experts: int = _owned("experts", 4, "number of sparse experts", minimum=2)
    share: str = _owned(
        "share",
        "down",
        "projection that stays dense instead of being split into experts",
        choices=("down", "up", "none"),
    )
    merge: str = _owned(
        "merge",
        "mean",
        "how experts become one adapter: their mean, or each entry from its owner (joint)",
        choices=("mean", "joint"),
    )
    consistency: float = _owned(
        "consistency", 1.0, "weight of the divergence from a second pass (0: no second pass)", minimum=0
    )

    @property
    def takes_second_pass(self) -> bool:
        """Whether each step computes a second pass for the consistency term."""
        return METHODS[self.method].mixture and self.consistency > 0
