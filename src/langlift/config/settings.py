"""A setting of a recipe: its default, its description, its limits, and its option on the command line."""

import operator
from dataclasses import MISSING, field
from typing import Any

MAX_SEED = 2**32 - 1
LIMITS = {
    "above": ("above", operator.gt),
    "minimum": ("at least", operator.ge),
    "maximum": ("at most", operator.le),
}
"""Limit -> its description, and the comparison ``check(value, limit)`` that must hold."""


def setting(
    default: Any,
    description: str,
    *,
    above: float | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
    min_items: int | None = None,
    option: bool | str = False,
) -> Any:
    """Declare a field of a recipe.

    The limits apply to each element of a list or mapping; ``min_items`` is the minimum length of a list.
    ``option`` gives the setting its own command-line option: ``True`` for one with the setting's name
    (``--batch-size``), or a shorter spelling (``--lr``).
    """
    limits = {"above": above, "minimum": minimum, "maximum": maximum, "choices": choices, "min_items": min_items}
    metadata = {"description": description, "option": option, **{k: v for k, v in limits.items() if v is not None}}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def same_setting(recipe: type, name: str, default: Any = MISSING, description: str | None = None) -> Any:
    """A setting of another recipe, with the default and description replaced where they are given."""
    original = recipe.__dataclass_fields__[name]  # type: ignore[attr-defined]
    metadata = original.metadata | ({} if description is None else {"description": description})
    return field(default=original.default if default is MISSING else default, metadata=metadata)
