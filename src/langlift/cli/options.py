"""Options that several commands share, and how results and errors reach the screen."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langlift.backbones.base_name import BaseName
from langlift.bundled_models import DEFAULT_BASE

if TYPE_CHECKING:
    from rich.table import Table


def model_option(name: str, help: str) -> Any:  # noqa: A002 - typer's word
    """An option that names a base model."""
    return typer.Option(name, metavar="MODEL", parser=BaseName, help=help)


Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object, last line of stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Preset = Annotated[
    str | None,
    typer.Option("--preset", metavar="NAME", help="Settings by name (nano, published) or a .yaml file."),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings from a YAML file; a run's recipe.yaml is one."),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any one setting of the recipe; may be repeated."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped; same settings.")]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run Python code that comes with the base model.")
]
Base = Annotated[
    BaseName,
    model_option(
        "--base", f"Base model: {DEFAULT_BASE}, a model folder, a hub id or an alias (xlm-r, mbert, mmbert, ...)."
    ),
]
MovedBase = Annotated[BaseName | None, model_option("--base", "The base model, if it has moved since.")]
Precision = Annotated[
    str | None, typer.Option("--precision", help="auto, float32 or bf16; auto checks whether bf16 is safe.")
]
ComputePath = Annotated[
    str | None, typer.Option("--path", help="fast, or naive: slower, the same numbers (to compare).")
]
Out = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Run folder to write.")]
TrainData = Annotated[
    list[str] | None,
    typer.Option(
        "--train-data",
        metavar="DATA",
        help="Take train and dev from here, test from --data; may be repeated, then merged.",
    ),
]
Seeds = Annotated[str | None, typer.Option("--seeds", help="One run for each, such as 1,2,3.")]
TrainExamples = Annotated[
    int | None, typer.Option("--train-examples", help="Use only so many, drawn by seed (0: all).")
]
Epochs = Annotated[int | None, typer.Option("--epochs", help="Passes over the training examples.")]
LearningRate = Annotated[float | None, typer.Option("--lr", help="Peak learning rate.")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", help="Examples a step.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Labels that could be mended are an error, by file and line.")
]


def trusting(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--trust-remote-code`` to a command, which then receives the flag within its base models.

    Where none was named it gets the empty name: the trust also holds for the base model that a run recorded.
    """

    def run(trust_remote_code: bool = False, **options: Any) -> None:
        def trusted(base: BaseName | None) -> BaseName:
            return replace(base or BaseName(), trust_remote_code=trust_remote_code)

        for name in {"base", "model"} & options.keys():
            options[name] = trusted(options[name])
        if "bases" in options:
            options["bases"] = [trusted(base) for base in options["bases"] or [None]]
        command(**options)

    parameters = list(signature(command).parameters.values())
    own = Parameter("trust_remote_code", parameters[-1].kind, default=False, annotation=TrustRemoteCode)
    parameters.insert(-2, own)  # before --json and --debug
    run.__doc__, run.__signature__ = command.__doc__, Signature(parameters)  # type: ignore[attr-defined]
    return run


def show(result: Any, as_json: bool, title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print a result dataclass: as JSON, or as a small table of ``rows``."""
    if as_json:
        print_json(asdict(result))
        return
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in rows:
        table.add_row(name, value)
    print_table(table)


def print_table(table: "Table") -> None:
    """Print a table; brackets and colons in it are what they are, not rich's markup or emoji."""
    from rich.console import Console

    Console(markup=False, emoji=False).print(table)


def print_json(content: dict[str, Any]) -> None:
    """Print one JSON object on one line of stdout, at once."""
    sys.stdout.write(json.dumps(content, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """One line for the person at the screen, on stderr."""
    sys.stderr.write(text + "\n")
