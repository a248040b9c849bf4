"""Runs of earlier commands (adapt, task, prompt, fuse, adapt-family, pretrain), as if they were a study's."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from langlift.adapters.method import is_whole_model
from langlift.errors import InputError
from langlift.languages import find_language
from langlift.studies.store import StudyRun, is_study, read_run, read_study
from langlift.tasks.recipe import TaskRecipe
from langlift.training.run_folder import METRICS, RECIPE, VERSIONS, is_finished, read_metrics

PARTS_OF_COST = ("tokens", "flops", "seconds", "peak_memory_bytes")
LANGUAGE_CODE = re.compile(r"[-_.]?[a-z]{3}_[A-Z][a-z]{3}[-_.]?")
RUN_NUMBER = re.compile(r"-?\d+$")
PROMPTED = "prompted"
"""How a large model is used that is only asked."""
LOSS = "validation_loss"
"""The measure of runs that train on unlabelled text: masked loss on their own dev split, nats."""


def read_runs(folders: Sequence[Path]) -> tuple[list[StudyRun], list[str]]:
    """All finished runs of study folders and single run folders, and the names of those that are not finished.

    A task or prompt run of several seeds becomes a run for each seed.

    Raises:
        InputError: a folder is neither, or is damaged; all are named.
    """
    finished: list[StudyRun] = []
    unfinished: list[str] = []
    mistakes: list[str] = []
    for folder in dict.fromkeys(folders):
        try:
            if is_study(folder):
                done, left = read_study(folder)
                finished += done
                unfinished += left
            elif (folder / "run.json").exists():
                finished.append(read_run(folder))
            elif (folder / RECIPE).exists() and not is_finished(folder):
                unfinished.append(folder.name)
            else:
                finished += read_single(folder)
        except InputError as error:
            mistakes.append(error.message)
    if mistakes:
        raise InputError(
            "; ".join(mistakes), "name folders of langlift study, adapt, task, prompt, fuse or pretrain"
        )
    return finished, unfinished


def read_single(folder: Path) -> list[StudyRun]:
    """What one finished run folder of an earlier command holds; a task or prompt run, one for each seed.

    Raises:
        InputError: it is no run folder.
    """
    recipe, metrics = read_recipe(folder), _metrics(folder)
    command, inputs = str(recipe.get("command")), dict(recipe.get("inputs") or {})
    settings = dict(recipe.get(command) or {})
    if command == "task":
        return _task_runs(folder, inputs, settings)
    if command == "prompt":
        return _prompt_runs(folder, inputs, settings)
    cell = {
        "language": inputs.get("language"),
        "base": inputs.get("base"),
        "method": settings.get("method"),
        "data": data_kind(inputs.get("data")),
        "objective": settings.get("objective", "mlm") if command == "adapt" else None,
        "seed": settings.get("seed"),
        "metric": LOSS,
    }
    result = {"value": metrics.get("validation_loss"), "before": metrics.get("validation_loss_before")}
    cell = {key: value for key, value in cell.items() if value is not None}
    return [_run(folder, command, folder.name, cell, result, metrics)]


def read_recipe(folder: Path) -> dict[str, Any]:
    """A run's recipe.yaml.

    Raises:
        InputError: there is none, or it is damaged.
    """
    try:
        recipe = yaml.safe_load((folder / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        recipe = None
    if not isinstance(recipe, dict):
        raise InputError(f"{folder}: neither a study nor a run (no {RECIPE} that can be read)")
    return recipe


def data_kind(data: Any) -> str | None:
    """A data set's name without its language: ``mlt_Latn.txt`` is "text", ``graph-data-mlt_Latn`` "graph-data"."""
    if data is None:
        return None
    names = data if isinstance(data, list) else [data]
    kinds = [RUN_NUMBER.sub("", LANGUAGE_CODE.sub("", Path(str(n)).name.removesuffix(".txt"))) for n in names]
    kinds = [kind or "text" for kind in kinds]
    return "+".join(dict.fromkeys(kinds))


def _task_runs(folder: Path, inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> list[StudyRun]:
    """A run for each seed of a task, described by the adapter it stands on."""
    cell: dict[str, Any] = {"language": _language_of(inputs.get("data")), "base": inputs.get("base")}
    adapter, fused, method = inputs.get("language_adapter"), inputs.get("fused_adapters"), settings.get("method")
    if fused:
        cell |= {"use": "fused", "data": "+".join(data_kind(name) or name for name in fused.values())}
    elif adapter:
        cell |= {"use": "stacked", **_adapter_cell(folder, adapter)}
    else:
        cell["use"] = "full" if is_whole_model(method) else "alone"
    if method != TaskRecipe().method and not is_whole_model(method):
        cell["task_method"] = method
    cell["task"] = inputs.get("task")
    published = True if settings.get("label_subwords") == "every" else None
    return _seed_runs(folder, "task", inputs, settings, cell, published)


def _prompt_runs(folder: Path, inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> list[StudyRun]:
    """A run for each seed of a prompted model."""
    cell = {
        "language": _language_of(inputs.get("data")),
        "base": inputs.get("model_name") or inputs.get("model"),
        "use": PROMPTED,
        "shots": settings.get("shots"),
        "task": inputs.get("task"),
    }
    published = True if settings.get("unparsed") == "left_out" else None
    return _seed_runs(folder, "prompt", inputs, settings, cell, published)


def _seed_runs(
    folder: Path,
    kind: str,
    inputs: Mapping[str, Any],
    settings: Mapping[str, Any],
    cell: Mapping[str, Any],
    published: bool | None,
) -> list[StudyRun]:
    """A run for each seed folder of a run, or the one of a seed's folder itself."""
    seeds = [inputs["seed"]] if "seed" in inputs else list(settings["seeds"])
    runs = []
    for seed in seeds:
        own = folder if "seed" in inputs else folder / f"seed-{seed}"
        measured = _metrics(own)
        metric = next(key for key in measured if key.startswith("test_")).removeprefix("test_")
        result = {"value": measured[f"test_{metric}"], "dev": measured.get(f"dev_{metric}")}
        part = {**cell, "metric": metric, "seed": seed}
        name = folder.name if own == folder else f"{folder.name}/{own.name}"
        runs.append(_run(own, kind, name, part, result, measured, published))
    return runs


def _adapter_cell(folder: Path, adapter: str) -> dict[str, Any]:
    """What the language adapter was: from its own recipe where that is found, else its folder's name."""
    for place in (Path(adapter), folder.parent / Path(adapter).name):
        if (place / RECIPE).exists():
            recipe = read_recipe(place)
            settings = recipe.get("adapt") or {}
            return {
                "method": settings.get("method"),
                "data": data_kind((recipe.get("inputs") or {}).get("data")),
                "objective": settings.get("objective", "mlm"),
            }
    return {"data": data_kind(adapter)}


def _run(
    folder: Path,
    kind: str,
    name: str,
    cell: Mapping[str, Any],
    result: Mapping[str, Any],
    metrics: Mapping[str, Any],
    published: bool | None = None,
) -> StudyRun:
    cost = {key: metrics[key] for key in PARTS_OF_COST if metrics.get(key)}
    return StudyRun(folder, kind, name, "", cell, (), result, cost, published)


def _language_of(data: Any) -> str:
    """The language that a test set's name says, else the name."""
    found = re.search(r"[a-z]{3}_[A-Z][a-z]{3}", str(data))
    try:
        return str(find_language(found[0] if found else Path(str(data)).name))
    except InputError:
        return str(data)


def _metrics(folder: Path) -> dict[str, Any]:
    try:
        return read_metrics(folder)
    except (OSError, ValueError):
        raise InputError(f"{folder}: not a finished run (no {METRICS} that can be read)") from None


def versions_of(folder: Path) -> dict[str, str]:
    """The versions that a run recorded, as far as it did."""
    path = folder / VERSIONS
    return dict(yaml.safe_load(path.read_text(encoding="utf-8"))) if path.exists() else {}
