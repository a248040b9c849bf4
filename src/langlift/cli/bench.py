"""``langlift bench``; its commands are in ``benchmarks/``, which is not part of the package."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import typer

from langlift.errors import InputError

SOURCES, ROOT = Path(__file__).parents[2:4]


def commands() -> ModuleType:
    """The module ``benchmarks.commands``; raises an InputError outside a checkout."""
    if SOURCES.name != "src" or not (ROOT / "benchmarks" / "commands.py").is_file():
        raise InputError(
            "the benchmarks are not part of the installed package",
            "run them from a checkout of the repository: make install, then .venv/bin/langlift bench",
        )
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return import_module("benchmarks.commands")


def bench() -> None:
    """Compare speed, memory and exactness with the reference (only in a checkout)."""
    commands()


def add_to(app: typer.Typer) -> None:
    """Add the commands of the benchmarks or, outside a checkout, one that says where they are."""
    try:
        app.add_typer(commands().app, name="bench")
    except InputError:
        app.command("bench", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(bench)
