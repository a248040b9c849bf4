"""Resolve presets, files and options into one validated recipe; later sources win, and all errors are reported
together.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml

from langlift.bundled_models import BUNDLED
from langlift.config.settings import LIMITS
from langlift.config.yaml_reader import load_yaml
from langlift.errors import InputError

Recipe = TypeVar("Recipe")
Given = tuple[str, str, Any]
"""(source, name, value) of a setting as given."""

SECTIONS = ("adapt", "adapt-family", "task", "prompt", "pretrain", "graph", "vocab")
"""The sections of a settings file: the commands that take settings."""
NOT_SETTINGS = ("command", "inputs")
"""Other parts of a run's recipe.yaml, which is itself a valid --config file."""


def resolve(
    kind: type[Recipe],
    section: str,
    *,
    base: str = "",
    preset: str | None = None,
    config: Path | None = None,
    assignments: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
    defaults: Sequence[Given] = (),
    block: str | None = None,
    blocks: Sequence[str] = (),
    given: Sequence[Given] = (),
    errors: Sequence[str] = (),
) -> Recipe:
    """Resolve a recipe from defaults, ``--preset``, ``--config``, ``--set key=value`` and flags, in that order.

    Presets and config files are YAML with one section for each command (``adapt:``, ``task:``, ...); ``section``
    names the one to read. Within it, a block named after a method (``full:``) applies to that method only.
    ``blocks`` names further blocks (tasks); only ``block`` is read, which may contain blocks of methods. A
    bundled model as ``base`` selects its own preset unless one is given. ``defaults`` replace the recipe's own. A
    flag that is ``None`` was not given. ``given`` are settings from elsewhere, applied after ``--config``;
    ``errors`` were found there and are reported together with those found here.

    Raises:
        InputError: naming every unknown key, wrong type and value out of range, each with its source.
    """
    given_settings = list(defaults)
    if preset is None and base in BUNDLED:
        preset = BUNDLED[base].preset
    if preset is not None:
        given_settings += preset_settings(preset, section)
    if config is not None:
        given_settings += _from_file(config, section)
    given_settings += given
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise InputError(f"--set {assignment}: not of the form key=value", "for example --set steps=500")
        value: Any = text
        with suppress(yaml.YAMLError):
            value = load_yaml(text)
        given_settings.append(("--set", key.strip(), value))
    given_settings += [("flag", key, value) for key, value in (flags or {}).items() if value is not None]

    hints, settings = get_type_hints(kind), {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    given_settings = _opened(given_settings, block, blocks)
    if "method" in settings:
        chosen = [value for _, key, value in given_settings if key == "method"] or [settings["method"].default]
        given_settings = _opened(given_settings, chosen[-1], settings["method"].metadata["choices"])
    values: dict[str, Any] = {}
    given_by: dict[str, str] = {}
    problems = list(errors)
    for source, key, value in given_settings:
        if key not in settings:
            near = get_close_matches(key, settings, n=1)
            problems.append(f"{source}: unknown setting '{key}'" + (f" (did you mean {near[0]}?)" if near else ""))
            continue
        try:
            values[key] = _checked(value, hints[key], settings[key].metadata)
        except ValueError as error:
            place = f"--{key.replace('_', '-')}" if source == "flag" else f"{source}: {key}"
            problems.append(f"{place} {error}")
        given_by[key] = source
        replaced = getattr(kind, "REPLACES", {}).get(key)
        if replaced in values and given_by[replaced] != source:
            del values[replaced]
    if not problems:
        recipe = kind(**values)
        problems = getattr(recipe, "conflicts", list)()
        if not problems:
            return recipe
    known = all(key in settings for _, key, _ in given_settings)
    hint = "docs/cli.md describes all settings" if known else f"settings of {section}: {', '.join(settings)}"
    raise InputError("; ".join(problems), hint)


def preset_settings(name: str, section: str) -> list[Given]:
    """The settings that a preset contains for one command, such as ``published`` for ``task``."""
    return _from_file(preset_path(name), section)


def check_setting(kind: type, name: str, value: Any) -> Any:
    """The value of a setting, in its type; a ValueError if it has another type or is out of range."""
    limits = next(f.metadata for f in fields(kind) if f.name == name)
    return _checked(value, get_type_hints(kind)[name], limits)


def recorded(command: str, inputs: Mapping[str, Any], recipe: Any) -> dict[str, Any]:
    """The content of a run's recipe.yaml: plain YAML types, itself a valid --config file."""
    settings = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(recipe).items()}
    return {"command": command, "inputs": dict(inputs), command: settings}


def preset_path(name: str) -> Path:
    """The path of a shipped preset, or of a YAML file; an InputError if there is no such preset."""
    if Path(name).suffix in (".yaml", ".yml"):
        return Path(name)
    folder = Path(str(files("langlift"))) / "presets"
    shipped = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in shipped:
        raise InputError(f"--preset {name}: no such preset", f"shipped: {', '.join(shipped)}; or a .yaml file")
    return folder / f"{name}.yaml"


@contextmanager
def yaml_readable(path: Path, hint: str = "fix the line") -> Iterator[None]:
    """Turn errors from reading a YAML file into an InputError that names the line if it is known."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", "check the path") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not valid UTF-8", "save the file as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", error)
        raise InputError(f"{place}: not valid YAML ({problem})", hint) from None


def _from_file(path: Path, section: str) -> list[Given]:
    with yaml_readable(path):
        content = _parsed(path.read_text(encoding="utf-8"))
    content = content or {}
    if not isinstance(content, dict):
        raise InputError(f"{path}: must contain sections such as 'adapt:'", "docs/cli.md describes settings files")
    unknown = [key for key in content if key not in (*SECTIONS, *NOT_SETTINGS)]
    if unknown:
        raise InputError(f"{path}: unknown section '{unknown[0]}'", f"sections: {', '.join(SECTIONS)}")
    mine = content.get(section) or {}
    if not isinstance(mine, dict):
        raise InputError(f"{path}: section '{section}' must contain 'key: value' lines", "fix the section")
    return [(str(path), str(key), value) for key, value in mine.items()]


_parsed = lru_cache(maxsize=16)(load_yaml)
"""A study reads the same presets for each of thousands of runs; nothing changes the values."""


def _opened(settings: Sequence[Given], chosen: Any, names: Sequence[str]) -> list[Given]:
    """Replace the block of the chosen method or task by its settings, and drop the other blocks."""
    flat: list[Given] = []
    for source, key, value in settings:
        if key not in names or not isinstance(value, dict):
            flat.append((source, key, value))
        elif key == chosen:
            flat.extend((source, str(name), setting) for name, setting in value.items())
    return flat


def _checked(value: Any, hint: Any, limits: Mapping[str, Any]) -> Any:
    """``value`` converted to the setting's type and within its limits, or a ValueError."""
    name = getattr(hint, "__name__", str(hint))
    if name == "tuple":
        return _checked_items(value, hint.__args__[0], limits)
    if name == "dict":
        if not isinstance(value, dict):
            raise ValueError(f"must be 'name: value' pairs, not {value!r}")
        return {str(key): _checked(item, hint.__args__[1], limits) for key, item in value.items()}
    if hint is bool:
        if not isinstance(value, bool):
            raise ValueError(f"must be true or false, not {value!r}")
    elif hint is int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"must be a whole number, not {value!r}")
    elif hint is float:
        value = _number(value)
    elif not isinstance(value, str):
        value = str(value)
    if "choices" in limits and value not in limits["choices"]:
        raise ValueError(f"must be one of {', '.join(limits['choices'])}, not '{value}'")
    for limit, (name, holds) in LIMITS.items():
        if limit in limits and not holds(value, limits[limit]):
            raise ValueError(f"must be {name} {limits[limit]}, not {value}")
    return value


def _checked_items(value: Any, element: Any, limits: Mapping[str, Any]) -> tuple[Any, ...]:
    """A YAML list, or text such as ``1,2,3``, as a tuple of checked elements."""
    if not isinstance(value, list | tuple):
        text = "" if value is None else str(value)
        value = [part.strip() for part in text.split(",") if part.strip()]
    if element is int:
        value = [int(v) if isinstance(v, str) and v.lstrip("-").isdecimal() else v for v in value]
    if not value and limits.get("min_items"):
        raise ValueError("must name at least one")
    return tuple(_checked(item, element, limits) for item in value)


def _number(value: Any) -> float:
    """A finite float; YAML reads ``1e-4`` as text, so text that spells a number is accepted."""
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError(f"must be a number, not {value!r}")
    return number
