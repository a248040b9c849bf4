"""IA3 (Liu et al. 2022, arXiv 2205.05638) through PEFT."""

from dataclasses import dataclass
from typing import Any, ClassVar

from langlift.adapters.peft_adapter import PeftAdapterConfig
from langlift.backbones.registry import Backbone


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
