"""``langlift export``: write a run in any of the formats."""

from pathlib import Path

from langlift.backbones.base_name import BaseName
from langlift.backbones.loading import model_location
from langlift.bundled_models import BUNDLED
from langlift.checkpoints.exporting import LAYOUTS as ADAPTER_LAYOUTS
from langlift.checkpoints.exporting import Exported, export_adapter
from langlift.errors import InputError
from langlift.hub_folders import local_folder
from langlift.sharing.onnx_export import export_onnx
from langlift.sharing.plain_model import export_transformers
from langlift.tasks.prediction import is_task_run, seed_folder

LAYOUTS = (*ADAPTER_LAYOUTS, "transformers", "onnx")


def export(
    source: Path | str,
    layout: str,
    out: Path | str,
    base: BaseName | str | None = None,
    int8: bool = False,
    data: str | None = None,
) -> Exported:
    """Write a run as ``adapterhub``, ``peft``, ``transformers`` or ``onnx`` into the new folder ``out``.

    ``source`` is a run, an adapter or model folder, a bundled model, or a hub repository with one of these.
    ``base`` replaces the recorded base model; adapters must fit it. ``int8`` (onnx) adds an 8-bit graph and
    measures its loss. The result is compared with the run on ``data`` (labelled data for a task, text for a
    language model), by default on the test sentences that the run saved.

    Raises:
        InputError: no such layout, or it does not support what is in ``source``.
        LangliftError: the result does not compute what the run computes, or ``out`` cannot be written.
    """
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout '{layout}'", f"one of {', '.join(LAYOUTS)}")
    if int8 and layout != "onnx":
        raise InputError(f"--int8: not for --to {layout}", "8 bits are for --to onnx")
    if data is not None and layout in ADAPTER_LAYOUTS:
        raise InputError(f"--data: not for --to {layout}", "adapters are written as they are")
    name, out, base = BaseName(str(source)).name, Path(out), BaseName.of(base)
    folder = Path(model_location(name)) if name in BUNDLED else local_folder(name)
    if layout == "onnx":
        return export_onnx(folder, out, base, int8, data)
    if layout == "transformers":
        return export_transformers(folder, out, base, data)
    return export_adapter(seed_folder(folder) if is_task_run(folder) else folder, layout, out, base)
