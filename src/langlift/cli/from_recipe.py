"""Command-line options generated from the settings of a recipe."""

from collections.abc import Collection, Mapping
from dataclasses import fields
from inspect import Parameter
from typing import Annotated, Any, get_type_hints

import typer


def setting_option(recipe: type, name: str, default: Any = None) -> Any:
    """The option of one setting, under its short spelling and its full name.

    ``default`` is shown in place of the recipe's own; an option that is not given has the value ``None``.
    """
    setting = recipe.__dataclass_fields__[name]  # type: ignore[attr-defined]
    full = f"--{name.replace('_', '-')}"
    spelling = full if setting.metadata["option"] is True else setting.metadata["option"]
    choices = f" One of {', '.join(setting.metadata['choices'])}." if "choices" in setting.metadata else ""
    shown = shown_value(setting.default if default is None else default)
    help_text = f"{setting.metadata['description']}.{choices} [default: {shown}]"
    return typer.Option(*dict.fromkeys((spelling, full)), help=help_text)


def options_of(recipe: type, without: Collection[str], defaults: Mapping[str, Any]) -> list[Parameter]:
    """The options of all settings that have one, except those in ``without``, as parameters of a command."""
    hints = get_type_hints(recipe)
    found = []
    for setting in fields(recipe):
        if setting.metadata["option"] and setting.name not in without:
            kind = hints[setting.name] if hints[setting.name] in (int, float) else str  # lists as text: 1,2,3
            option = setting_option(recipe, setting.name, defaults.get(setting.name))
            annotation = Annotated[kind | None, option]  # type: ignore[valid-type]
            found.append(Parameter(setting.name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation))
    return found


def shown_value(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
