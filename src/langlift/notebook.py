"""How results look in notebooks."""

from collections.abc import Sized
from html import escape
from typing import Any


class Shown:
    """The parent of results (dataclasses): notebooks show them as a table; lists inside only by their length."""

    def _repr_html_(self) -> str:
        rows = (f"<tr><th>{escape(name)}</th><td>{_brief(value)}</td></tr>" for name, value in vars(self).items())
        return f"<table>{''.join(rows)}</table>"


def _brief(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, Sized) and not isinstance(value, str) and len(value) > 4:
        return f"{len(value)} entries"
    return escape(f"{value:,}" if type(value) is int else str(value))
