"""How results look in notebooks."""

from collections.abc import Mapping
from dataclasses import is_dataclass
from html import escape
from typing import Any


class Shown:
    """The parent of results (dataclasses): notebooks show them as a table, with long lists by their length."""

    def _repr_html_(self) -> str:
        rows = (f"<tr><th>{escape(name)}</th><td>{_brief(value)}</td></tr>" for name, value in vars(self).items())
        return f"<table>{''.join(rows)}</table>"


def _brief(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
    if is_dataclass(value):
        return type(value).__name__
    if isinstance(value, (Mapping, list, tuple)) and len(value) > 4:
        return f"{len(value)} entries"
    if isinstance(value, Mapping):
        return ", ".join(f"{escape(str(key))}: {_brief(one)}" for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_brief, value))
    return escape(f"{value:,}" if type(value) is int else str(value))
