"""A setting of a recipe: its default, its line of help, and its limits."""

from dataclasses import field
from typing import Any

MOST_SEED = 2**32 - 1


def setting(
    default: Any,
    meaning: str,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] | None = None,
    items: int | None = None,
) -> Any:
    """A recipe's field: its default, one line of help, and the limits that validation checks.

    ``items`` is the least length of a list; the other limits hold for each of its elements, or of a mapping's.
    """
    limits = {"above": above, "least": least, "most": most, "choices": choices, "items": items}
    metadata = {"meaning": meaning, **{k: v for k, v in limits.items() if v is not None}}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)
