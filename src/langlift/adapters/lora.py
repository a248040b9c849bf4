"""LoRA (Hu et al. 2022) and its variants rsLoRA and DoRA, through PEFT."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from langlift.adapters.method import Method, MethodSettings
from langlift.adapters.peft_adapter import PeftAdapterConfig, rank_and_alpha
from langlift.backbones.registry import Backbone
from langlift.errors import InputError

PLAIN_STARTS = (True, False, "gaussian", "orthogonal")
"""Values of PEFT's ``init_lora_weights`` that leave the base model's weights unchanged."""


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
            use_rslora=self.variant == "rslora",
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
