"""``langlift export``: one door for every form a run can leave in."""

from pathlib import Path

from langlift.backbones.base_name import BaseName
from langlift.backbones.loading import model_location
from langlift.bundled_models import BUNDLED
from langlift.checkpoints import exporting
from langlift.errors import InputError
from langlift.hub_folders import local_folder
from langlift.sharing.exported import Exported, file_sizes
from langlift.sharing.onnx_export import export_onnx
from langlift.sharing.plain_model import export_transformers
from langlift.tasks.prediction import is_task_run, seed_folder

LAYOUTS = (*exporting.LAYOUTS, "transformers", "onnx")


def export(
    source: Path,
    layout: str,
    out: Path,
    base: BaseName | str | None = None,
    int8: bool = False,
    data: str | None = None,
) -> Exported:
    """Write a run for ``adapterhub``, ``peft``, ``transformers`` or ``onnx`` into the new folder ``out``.

    ``source`` is a run, an adapter or a model folder, a bundled model, or a repository of the hub with one.
    ``base`` stands in for the base model that was recorded; for adapters' layouts it must fit. ``int8`` (onnx)
    adds the graph in 8 bits, and what that costs. ``data`` is what the result is tried and measured on, where
    the run recorded no test sentences: labelled data for a task, text for a language model.

    Raises:
        InputError: no such layout, or what is in ``source`` cannot be expressed in it.
        LangliftError: the result does not compute what the run computes, or ``out`` cannot be written.
    """
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout '{layout}'", f"one of {', '.join(LAYOUTS)}")
    if int8 and layout != "onnx":
        raise InputError(f"--int8: not for --to {layout}", "8 bits are for --to onnx")
    if data is not None and layout not in ("transformers", "onnx"):
        raise InputError(f"--data: not for --to {layout}", "adapters are written as they are")
    name, base = BaseName(str(source)).name, BaseName.of(base)
    folder = Path(model_location(name)) if name in BUNDLED else local_folder(name)
    if layout == "onnx":
        return export_onnx(folder, out, base, int8, data)
    if layout == "transformers":
        return export_transformers(folder, out, base, data)
    if is_task_run(folder):
        folder = seed_folder(folder)
    result = exporting.export_adapter(folder, layout, out, base)
    return Exported(result.folder, result.name, layout, result.files, file_sizes(out))
