"""IA3 (Liu et al. 2022, arXiv 2205.05638) through PEFT."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from langlift.adapters.method import Method, MethodSettings
from langlift.adapters.peft_adapter import PeftAdapterConfig
from langlift.backbones.registry import Backbone


@dataclass(frozen=True)
class Ia3Config(PeftAdapterConfig):
    """Learned vectors that scale activations: ``l_k * k``, ``l_v * v``, and ``W (l_ff * h)`` in feed-forward.

    They are initialised to ones, on PEFT's default modules for the architecture.
    """

    PEFT_TYPE: ClassVar = "IA3"
    method: ClassVar = "ia3"

    @classmethod
    def from_settings(cls, method: Method, settings: MethodSettings) -> Self:
        """The configuration; it has no settings."""
        return cls()

    def settings(self) -> dict[str, Any]:
        """None."""
        return {}

    def peft_config(self, backbone: Backbone) -> Any:
        """The equivalent PEFT configuration."""
        import peft

        return peft.IA3Config(
            target_modules=[*backbone.ia3_scaled_outputs, *backbone.ia3_scaled_inputs],
            feedforward_modules=list(backbone.ia3_scaled_inputs),
        )

    @classmethod
    def read(cls, description: Mapping[str, Any], path: Path) -> Self:
        """The configuration; there are no settings to read."""
        return cls()
