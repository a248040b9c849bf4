"""One combination of axes that are settings, and which settings a run reads at all."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langlift.config.loading import Given
from langlift.config.recipes import CAUSAL, MOSA_SETTINGS
from langlift.studies.study import Axis

ONLY_FOR = {
    "reduction_factor": ("seq_bn", "seq_bn_inv", "mosa"),
    "inverse_at_head": ("seq_bn_inv",),
    "lora_rank": ("lora",),
    "lora_alpha": ("lora",),
    **dict.fromkeys(MOSA_SETTINGS, ("mosa",)),
    "freeze_share": ("full",),
    "train_head": ("seq_bn", "seq_bn_inv", "lora", "mosa"),
}
"""Settings that only these methods read. In runs of others they are left out, so that they make no runs twice."""
OFF_OR_ON = ("gradient_checkpointing", "quantised", "validation_examples", "keep_states")
"""Settings that came later. Off (false, 0) they are left out, so that runs from before count as the same."""


@dataclass(frozen=True)
class Choice:
    """One value for each of some axes: {axis name: (axis, value)}."""

    values: Mapping[str, tuple[Axis, Any]] = field(default_factory=dict)

    def settings(self, section: str) -> list[Given]:
        """The settings of a section among them."""
        return [(a.line, a.setting, value) for a, value in self.values.values() if a.section == section]

    def cell(self, section: str, recipe: Any = None) -> dict[str, Any]:
        """Axis -> value for the axes of a section; None where the recipe's method does not read the setting."""
        return {
            name: None if recipe is not None and is_unread(recipe, axis.setting) else value
            for name, (axis, value) in self.values.items()
            if axis.section == section
        }


def is_unread(recipe: Any, setting: str) -> bool:
    """Whether the recipe's method or objective does not read a setting."""
    if setting == "targeted_as_published":
        return bool(recipe.objective != "targeted")
    if setting == "masking_share":
        return bool(recipe.objective in ("targeted", CAUSAL))
    if setting == "train_head" and recipe.objective == CAUSAL:
        return True
    if setting == "path":
        return True
    if setting in OFF_OR_ON:
        return not getattr(recipe, setting)
    return setting in ONLY_FOR and recipe.method not in ONLY_FOR[setting]
