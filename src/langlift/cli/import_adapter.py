"""``langlift import``."""

from pathlib import Path
from typing import Annotated

import typer

from langlift.backbones.base_name import BaseName
from langlift.cli.options import Debug, Json, model_option, note, show


def import_adapter(
    source: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Adapter folder as downloaded from AdapterHub or the hub.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Adapter folder to write: new or empty.")],
    base: Annotated[
        BaseName | None,
        model_option("--base", "Check that it fits this base model, and record it."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Call the adapter this, not by its stored name.")
    ] = None,
    forward_only: Annotated[
        bool,
        typer.Option(
            "--forward-only",
            help="Its invertible block was trained without the inverse at the head (as in arXiv 2502.10140).",
        ),
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Import an adapter (or a stack's adapters) written by the adapters library, or LoRA in PEFT's .bin file."""
    from langlift.checkpoints.importing import import_adapters

    result = import_adapters(source, out, base, inverse_at_head=not forward_only, name=name)
    rows = [
        (
            adapter.name,
            f"{adapter.method}, {adapter.parameters:,} parameters, for {adapter.base or 'an unnamed base'}",
        )
        for adapter in result.adapters
    ]
    show(result, as_json, f"imported into {out}", rows)
    if not as_json:
        if result.not_imported:
            note(f"Not imported: {', '.join(result.not_imported)}")
        first = result.adapters[0]
        note(f"Next: langlift score --base {base or first.base or 'MODEL'} --adapter {first.folder} --text FILE")
