"""``langlift bench``; its commands are in ``benchmarks/``, which is not part of the package."""

import sys
from importlib import import_module
from pathlib import Path

import typer

from langlift.errors import InputError

SOURCES, ROOT = Path(__file__).parents[2:4]


def bench() -> None:
    """Compare speed, memory and exactness with the reference (only in a checkout)."""
    raise InputError(
        "the benchmarks are not part of the installed package",
        "run them from a checkout of the repository: make install, then .venv/bin/langlift bench",
    )


def add_to(app: typer.Typer) -> None:
    """Add the commands of the benchmarks or, outside a checkout, one that says where they are."""
    if SOURCES.name == "src" and (ROOT / "benchmarks" / "commands.py").is_file():
        if str(ROOT) not in sys.path:
            sys.path.insert(0, str(ROOT))
        app.add_typer(import_module("benchmarks.commands").app, name="bench")
    else:
        app.command("bench", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(bench)
