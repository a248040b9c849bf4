"""``langlift export``."""

from pathlib import Path
from typing import Annotated

import typer

from langlift.cli.options import Debug, Json, show


def export_adapter(
    adapter: Annotated[
        Path, typer.Argument(metavar="ADAPTER", help="Adapter folder, as written by adapt or import.")
    ],
    layout: Annotated[str, typer.Option("--to", metavar="LAYOUT", help="adapterhub or peft (LoRA only).")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder to write: new or empty.")],
    base: Annotated[
        str | None,
        typer.Option(
            "--base", metavar="MODEL", help="Check that it fits this base model; needed for LoRA that PEFT wrote."
        ),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write an adapter so that the adapters library or PEFT loads it."""
    from langlift.checkpoints import exporting

    result = exporting.export_adapter(adapter, layout, out, base)
    rows = [("adapter", result.name), ("layout", result.layout), ("files", ", ".join(result.files))]
    show(result, as_json, f"exported to {out}", rows)
