"""``langlift import``, ``export`` and ``push``."""

from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Any

import typer

from langlift.adapters.method import exported_to, one_of
from langlift.backbones.base_name import BaseName
from langlift.cli.options import (
    NewFolder,
    argument,
    command,
    existing_folder,
    flag,
    model_option,
    note,
    option,
    show,
)


@command("checkpoints.importing:ImportResult")
def import_adapter(
    *,
    source: Path = argument("FOLDER", "Adapter folder as downloaded from AdapterHub or the hub."),
    out: NewFolder,
    base: BaseName | None = model_option("--base", "Check that the adapter fits this base, and record it.", None),
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
    of = quote(base.name if base else first.base or "MODEL")
    note(f"Next: langlift score --base {of} --adapter {quote(first.folder)} --text FILE")


@command("checkpoints.exporting:Exported", trusting=True)
def export(
    *,
    run: Path = argument("RUN", "Run, adapter or model: folder, bundled or on the hub.", parser=existing_folder),
    layout: str = option(
        "--to LAYOUT",
        f"adapterhub, peft ({one_of(exported_to('peft'))}), transformers "
        f"({one_of(exported_to('transformers'))}) or onnx.",
    ),
    out: NewFolder,
    base: BaseName | None = model_option(
        "--base", "The base model, if it has moved since; needed for LoRA written by PEFT.", None
    ),
    int8: bool = flag("--int8", "onnx: also write an 8-bit model and measure its loss in quality."),
    data: str | None = option(
        "--data DATA", "Labelled data or text to compare on. [default: the run's saved test sentences]", None
    ),
) -> Iterator[Any]:
    """Write a run for use without langlift: with adapters, PEFT, transformers or onnxruntime."""
    from langlift.sharing.exporting import export as write

    result = write(run, layout, out, base, int8, data)
    yield result
    sizes = {name: f" ({size / 1e6:,.1f} MB)" if size > 5e4 else "" for name, size in result.sizes.items()}
    files = ", ".join(f"{name}{size}" for name, size in sizes.items())
    rows = [("name", result.name), ("layout", result.layout), ("files", files)]
    if result.difference is not None and result.agreement is not None:
        rows += [
            ("largest difference from the run's model", f"{result.difference:.1e} (logits)"),
            ("same answers", f"{result.agreement:.1%} of {result.items:,}"),
        ]
    if result.int8 is not None:
        loss = result.int8
        rows.append(("8 bits: same answers", f"{loss['agreement']:.1%} of {loss['items']:,}"))
        if loss["metric"]:
            before, after = loss["score_float32"], loss["score_int8"]
            rows.append((f"8 bits: {loss['metric']}", f"{after:.1f} (32 bits: {before:.1f})"))
        else:
            rows.append(("8 bits: score", "not measured: the run has no test sentences; give --data"))
    show(f"exported to {out}", rows)


@command("sharing.pushing:Pushed")
def push(
    *,
    run: Path = argument("RUN", "Folder of a run, an adapter, a model or an export."),
    repository: str = argument("REPO", "Repository on the Hugging Face hub: owner/name."),
    dry_run: bool = flag("--dry-run", "Show the files and the card without uploading anything."),
    private: bool = flag("--private", "Make the repository private."),
    language: str | None = option("--language LANG", "Language for the card, if the run names none.", None),
    licence: str | None = option("--license ID", "Licence of the published files, such as cc-by-4.0.", None),
    base: str | None = option("--base ID", "Hub id of the base model, if it was a local folder.", None),
    data: list[Path] | None = option(
        "--data FOLDER", "Built data folder whose sources and licences the card names; can be repeated.", None
    ),
) -> Iterator[Any]:
    """Publish a run with a model card on the Hugging Face hub (token: HF_TOKEN, or hf auth login)."""
    from langlift.languages import find_language
    from langlift.sharing.pushing import push as publish

    result = publish(
        run,
        repository,
        private=private,
        dry_run=dry_run,
        language=find_language(language) if language else None,
        licence=licence,
        base=base,
        data=data or [],
    )
    yield result
    rows = [(name, f"{size:,} bytes") for name, size in result.files.items()]
    rows.append(("all", f"{result.bytes:,} bytes"))
    if dry_run:
        show(f"would be published to {repository} ({result.kind}); nothing was sent", rows)
        typer.echo(f"\n{result.card}")
    else:
        show(f"published: {result.url}", rows)
