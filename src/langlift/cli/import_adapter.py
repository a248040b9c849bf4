"""``langlift import``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langlift.backbones.base_name import BaseName
from langlift.cli.options import NewFolder, argument, command, flag, model_option, note, option, show


@command("checkpoints.importing:ImportResult")
def import_adapter(
    *,
    source: Path = argument("FOLDER", "Adapter folder as downloaded from AdapterHub or the hub."),
    out: NewFolder,
    base: BaseName | None = model_option(
        "--base", "Check that the adapter fits this base model, and record it.", None
    ),
    name: str | None = option("--name NAME", "Name of the adapter. [default: its stored name]", None),
    forward_only: bool = flag(
        "--forward-only",
        "Its invertible block was trained without the inverse at the head (as in arXiv 2502.10140).",
    ),
) -> Iterator[Any]:
    """Import an adapter (or a stack of them) written by the adapters library, or LoRA in PEFT's .bin format."""
    from langlift.checkpoints.importing import import_adapters

    result = import_adapters(source, out, base, inverse_at_head=not forward_only, name=name)
    yield result
    show(
        f"imported into {out}",
        [
            (one.name, f"{one.method}, {one.parameters:,} parameters, for {one.base or 'an unnamed base'}")
            for one in result.adapters
        ],
    )
    if result.not_imported:
        note(f"Not imported: {', '.join(result.not_imported)}")
    first = result.adapters[0]
    note(f"Next: langlift score --base {base or first.base or 'MODEL'} --adapter {first.folder} --text FILE")
