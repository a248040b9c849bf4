"""How a function becomes a command, the options that commands share, and how results are printed."""

import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from inspect import Parameter, Signature, signature
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, get_type_hints

import typer

from langlift.backbones.base_name import BaseName, model_location
from langlift.bundled_models import BUNDLED, DEFAULT_BASE
from langlift.errors import printable
from langlift.hub_folders import LABELLED_HINT, existing, may_be_on_hub, refuse_path
from langlift.tasks.recipe import TaskRecipe
from langlift.training.recipes import AdaptRecipe
from langlift.training.trackers import use_trackers


def option(usage: str, description: str, default: Any = ..., **attributes: Any) -> Any:
    """An option as in a usage line, ``--text FILE``; without a default it is required."""
    name, _, metavar = usage.partition(" ")
    return typer.Option(default, name, metavar=metavar or None, help=description, **attributes)


def flag(name: str, description: str) -> Any:
    """An option without a value."""
    return option(name, description, False)


def model_option(
    name: str, description: str, default: Any = ..., parser: Callable[[str], BaseName] = BaseName
) -> Any:
    """An option that names a base model."""
    return option(f"{name} MODEL", description, default, parser=parser)


def argument(metavar: str, description: str, default: Any = ..., **attributes: Any) -> Any:
    """A positional argument, with the name shown in help; without a default it is required."""
    return typer.Argument(default, metavar=metavar, help=description, **attributes)


def base_model(text: str) -> BaseName:
    """Parse the name of a base model; a wrong path is refused before libraries are loaded."""
    base = BaseName(text)
    model_location(base)
    return base


def labelled_data(text: str) -> str:
    """Parse a folder, a file or a data set on the hub, ``ID[:CONFIG]``."""
    if not Path(text).exists():
        refuse_path(text.partition(":")[0], "folder", LABELLED_HINT)
    return text


def existing_file(text: str) -> Path:
    """Parse a file or built folder (- is stdin); a wrong one is refused before libraries are loaded."""
    return Path(text) if text == "-" else existing(text)


def existing_folder(text: str) -> Path:
    """The same for the folder of a run, a bundled model or a hub repository."""
    return Path(text) if text in BUNDLED or may_be_on_hub(text) else existing(text, "folder")


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


Language = Annotated[str, argument("LANG", "Language: mlt, mlt_Latn, mt or Maltese.")]
Base = Annotated[
    BaseName,
    model_option(
        "--base",
        f"Base model: {DEFAULT_BASE}, a model folder, a hub id or an alias (xlm-r, mbert, mmbert, ...).",
        parser=base_model,
    ),
]
MovedBase = Annotated[BaseName | None, model_option("--base", "The base model, if it has moved.")]
Out = Annotated[Path, option("--out FOLDER", "Run folder to write.")]
NewFolder = Annotated[Path, option("--out FOLDER", "Folder to write: new or empty.")]
Precision = Annotated[str | None, setting_option(AdaptRecipe, "precision")]
ComputePath = Annotated[str | None, setting_option(TaskRecipe, "path")]  # without the graphs of AdaptRecipe
Resume = Annotated[bool, option("--resume", "Resume an interrupted run with the same settings.")]
ShowDropped = Annotated[bool, option("--show-dropped", "Print a sample of what was dropped.")]

Settings = dict[str, Any]
"""The settings given on the command line, as keyword arguments of ``resolve``."""


def _parameter(name: str, kind: Any, usage: str, description: str) -> Parameter:
    default = False if kind is bool else None
    annotation = Annotated[kind, option(usage, description)]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


SOURCES = (
    _parameter("preset", str | None, "--preset NAME", "Named settings (nano, published), or a .yaml file."),
    _parameter("config", Path | None, "--config FILE", "Settings from a YAML file, or a run's recipe.yaml."),
    _parameter("assignments", list[str] | None, "--set KEY=VALUE", "Any setting; can be repeated."),
)
REPORT_TO = _parameter(
    "report_to",
    str | None,
    "--report-to TRACKERS",
    "Report to tensorboard, wandb or mlflow as well; several are separated by commas.",
)
TRUST = _parameter("trust_remote_code", bool, "--trust-remote-code", "Run the Python code of the base model.")
JSON = _parameter("as_json", bool, "--json", "Print the result as one JSON object, on the last line of stdout.")
DEBUG = _parameter("debug", bool, "--debug", "Show the traceback of an error.")


def command(
    result: str,
    recipe: type | None = None,
    *,
    without: Collection[str] = (),
    defaults: Mapping[str, Any] = MappingProxyType({}),
    trusting: bool = False,
    training: bool = False,
) -> Callable[[Callable[..., Iterator[Any] | None]], Callable[..., None]]:
    """Turn a function that yields its result and then prints it for people into a command.

    With ``--json`` the function stops at its ``yield`` and the result is printed as JSON. A function with a
    parameter ``as_json`` prints both itself and yields nothing. The parameter ``settings`` is replaced by the
    options of ``recipe`` (except those in ``without``; ``defaults`` are shown in place of the recipe's),
    ``--preset``, ``--config`` and ``--set``. A ``trusting`` command has ``--trust-remote-code`` and receives it
    within its base models; if none is given it receives the empty name, because a run may have recorded one.
    Commands whose recipe has a learning rate, or that are ``training``, have ``--report-to``.

    ``result`` is the class of the result, as ``module:class`` in langlift, for the reference.
    """

    def decorate(function: Callable[..., Iterator[Any] | None]) -> Callable[..., None]:
        own = dict(signature(function).parameters)
        prints_json = own.pop("as_json", None) is not None
        trains = training or "learning_rate" in getattr(recipe, "__dataclass_fields__", ())
        flags = [] if recipe is None else options_of(recipe, without, defaults)
        parameters: list[Parameter] = []
        for name, parameter in own.items():
            parameters += [*flags, *SOURCES] if name == "settings" else [parameter]
        parameters += [REPORT_TO] if trains else []
        parameters += [TRUST, JSON, DEBUG] if trusting else [JSON, DEBUG]

        def run(**given: Any) -> None:
            del given["debug"]  # main reads it
            as_json = given["as_json"] if prints_json else given.pop("as_json")
            if trains:
                use_trackers(given.pop("report_to"))
            if trusting:
                _trust(given, given.pop("trust_remote_code"))
            if recipe is not None:
                sources = {one.name: given.pop(one.name) for one in SOURCES}
                sources["assignments"] = sources["assignments"] or ()
                given["settings"] = {**sources, "flags": {one.name: given.pop(one.name) for one in flags}}
            results = function(**given)
            if results is None:
                return
            found = next(results)
            if as_json:
                print_json(found)
            else:
                next(results, None)

        run.__doc__, run.__signature__ = function.__doc__, Signature(parameters)  # type: ignore[attr-defined]
        run.result, run.recipe = result, recipe  # type: ignore[attr-defined]
        return run

    return decorate


def _trust(given: dict[str, Any], trust: bool) -> None:
    for name in {"base", "model"} & given.keys():
        given[name] = replace(given[name] or BaseName(), trust_remote_code=trust)
    if "bases" in given:
        given["bases"] = [replace(base, trust_remote_code=trust) for base in given["bases"] or [BaseName()]]


def show(title: str, rows: Iterable[tuple[str, str | None]]) -> None:
    """Print names and values as a small table, without those that are ``None``."""
    print_table(title, None, [(name, value) for name, value in rows if value is not None])


def print_table(
    title: str | None,
    headings: Sequence[str] | None,
    rows: Iterable[Sequence[str]],
    numbers: bool = True,
    **style: Any,
) -> None:
    """Print a table; an empty row is a line. ``numbers``: all columns but the first are aligned to the right."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=headings is not None, **style)
    for heading in headings or ():
        right = numbers and table.columns
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for row in rows:
        if row:
            table.add_row(*("\n".join(map(printable, cell.split("\n"))) for cell in row))
        else:
            table.add_section()
    print_rich(table)


def print_rich(content: Any) -> None:
    """Print a table or text wrapped at words; brackets and colons in it are not markup or emoji."""
    from rich.console import Console

    Console(markup=False, emoji=False, highlight=False).print(content)


def print_json(result: Any) -> None:
    """Print a result, a dataclass or a mapping, as one JSON object on one line of stdout, at once."""
    content = result if isinstance(result, dict) else asdict(result)
    sys.stdout.write(json.dumps(content, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Print one line for the user on stderr."""
    sys.stderr.write(printable(text) + "\n")
