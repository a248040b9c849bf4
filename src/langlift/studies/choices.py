"""One combination of axes that are settings, and which settings a run reads at all."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langlift.adapters.method import METHODS, readers
from langlift.config.loading import Given
from langlift.studies.study import Axis
from langlift.training.recipes import CAUSAL


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
            name: None if recipe is not None and is_unread(recipe, axis.setting) else _shown(value)
            for name, (axis, value) in self.values.items()
            if axis.section == section
        }


def _shown(value: Any) -> Any:
    """A value as it stands in a cell: a list in one piece."""
    return ",".join(map(str, value)) or "none" if isinstance(value, list) else value


def is_unread(recipe: Any, setting: str) -> bool:
    """Whether the recipe's method or objective does not read a setting."""
    if setting == "targeted_as_published":
        return bool(recipe.objective != "targeted")
    if setting == "masking_share":
        return bool(recipe.objective in ("targeted", CAUSAL))
    if setting == "train_head" and (recipe.objective == CAUSAL or METHODS[recipe.method].whole_model):
        return True
    if setting == "path":
        return True
    return bool(methods := readers(setting)) and recipe.method not in methods
