"""``langlift export``."""

from pathlib import Path
from typing import Annotated

import typer

from langlift.adapters.method import exported_to, one_of
from langlift.backbones.base_name import BaseName
from langlift.cli.options import Debug, Json, model_option, show, trusting


@trusting
def export(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="A folder (run, adapter, model), a bundled model or a hub repository."),
    ],
    layout: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="LAYOUT",
            help=f"adapterhub, peft ({one_of(exported_to('peft'))}), transformers "
            f"({one_of(exported_to('transformers'))}) or onnx.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder to write: new or empty.")],
    base: Annotated[
        BaseName | None,
        model_option("--base", "The base model, if it has moved since; needed for LoRA that PEFT wrote."),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="onnx: also in 8 bits, and measure what that costs.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="DATA",
            help="Compare and measure on this, labelled data or text, and not on what the run kept.",
        ),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a run so that others load it without langlift: adapters, PEFT, transformers, onnxruntime."""
    from langlift.sharing.exporting import export as write

    result = write(run, layout, out, base, int8, data)
    files = ", ".join(f"{name} ({size / 1e6:,.1f} MB)" for name, size in result.sizes.items())
    rows = [("name", result.name), ("layout", result.layout), ("files", files)]
    if result.difference is not None and result.agreement is not None:
        rows += [
            ("largest difference to the run", f"{result.difference:.1e} (logits)"),
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
    show(result, as_json, f"exported to {out}", rows)
