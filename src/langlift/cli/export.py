"""``langlift export``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langlift.adapters.method import exported_to, one_of
from langlift.backbones.base_name import BaseName
from langlift.cli.options import NewFolder, argument, command, flag, model_option, option, show


@command("checkpoints.exporting:Exported", trusting=True)
def export(
    *,
    run: Path = argument("RUN", "Folder (run, adapter or model), bundled model or hub repository."),
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
    files = ", ".join(f"{name} ({size / 1e6:,.1f} MB)" for name, size in result.sizes.items())
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
