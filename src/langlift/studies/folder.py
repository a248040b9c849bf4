"""The folders of finished runs: of a study, where each contains run.json, and of single commands.

Runs of adapt, task, prompt, fuse, adapt-family and pretrain are read as those of a study.
"""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from langlift.adapters.method import is_whole_model, readers
from langlift.errors import InputError
from langlift.files import locked, read_json, write_json
from langlift.languages import FLORES_CODE, find_language
from langlift.prompting.running import MAY_CHANGE
from langlift.studies.step import ALL_EXAMPLES, RUN, TRAIN_EXAMPLES, Step
from langlift.studies.study import PROMPTED_USE
from langlift.studies.study_file import NOT_AXES, SECTIONS, STUDY
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.task import task_called
from langlift.training import run_folder
from langlift.training.run_folder import METRICS, RECIPE, is_finished, read_metrics

if TYPE_CHECKING:
    from pandas import DataFrame

RUNS, FAILED = "runs", "failed.json"
SENTENCES = "sentences.jsonl"
"""In a score run: tokens, characters and log probability of each sentence."""
PRECISION = "precision.txt"
"""The file of a study with what ``precision: auto`` means for all its runs: the first run's choice."""
COSTS = ("tokens", "flops", "seconds", "peak_memory_bytes")
AROUND_LANGUAGE = re.compile(rf"[-_.]?{FLORES_CODE.pattern}[-_.]?")
RUN_NUMBER = re.compile(r"-?\d+$")
IN_CELL = frozenset((*NOT_AXES, "columns", "label_subwords", "unparsed", *MAY_CHANGE))
"""Settings that are in a single run's cell in another way, or do not change its result."""
LOSS = "validation_loss"
"""The measure of runs that train on unlabelled text: the loss on their own dev split, in nats."""


@dataclass(frozen=True, kw_only=True)
class StudyRun:
    """``run.json`` of a finished run in its folder.

    ``kind`` is the verb (adapt, score, task, ...). ``cell`` describes the run: language, base, method, data,
    objective, task, metric, seed, and any other axis by its setting's name. ``result`` contains ``value``, the
    main number, and ``before``, the same without adaptation if it is known; ``cost`` contains tokens, flops,
    seconds and peak_memory_bytes as far as they are known. ``needs`` are the hashes of the runs it depends on;
    ``published`` says whether published behaviour was on (None: not applicable). ``metrics`` and the names of
    ``needs`` are for ``langlift study show`` only.
    """

    folder: Path
    kind: str
    name: str
    hash: str = ""
    cell: Mapping[str, Any]
    needs: Sequence[str] = ()
    result: Mapping[str, Any]
    cost: Mapping[str, Any] = field(default_factory=dict)
    published: bool | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def value(self) -> Any:
        """The main number; None if there is none, which no run of a ``Results`` has."""
        value = self.result.get("value")
        return None if value is None else float(value)

    def files(self, name: str) -> list[Path]:
        """The run's file of this name, or those of its seeds."""
        own = self.folder / name
        return [own] if own.exists() else sorted(self.folder.glob(f"seed-*/{name}"))

    @cached_property
    def precisions(self) -> set[str]:
        """What it was computed in, by its metrics or those of its seeds."""
        found = map(read_json, (self.folder / METRICS, *self.folder.glob(f"seed-*/{METRICS}")))
        return {str(one["precision"]) for one in found if one.get("precision")}


def is_study(folder: Path) -> bool:
    """Whether a folder is a study's."""
    return (folder / RUNS).is_dir() and ((folder / STUDY).exists() or any(folder.glob(f"{RUNS}/*/{RUN}")))


def name_of(folder: Path) -> str:
    """The name of a study, from its file; of other folders, the folder's."""
    with suppress(OSError, yaml.YAMLError, AttributeError):  # it may be damaged
        if name := yaml.safe_load((folder / STUDY).read_text(encoding="utf-8")).get("name"):
            return str(name)
    return folder.resolve().name


def read_run(folder: Path) -> StudyRun:
    """One finished run of a study; an InputError if its ``run.json`` is damaged or incomplete."""
    try:
        return StudyRun(folder=folder, **read_json(folder / RUN))
    except TypeError:
        raise InputError(f"{folder / RUN}: damaged or incomplete", "run the study again") from None


def is_done(runs: Path, step: Step) -> bool:
    """Whether a run is finished: run.json exists, is complete, and is of this run."""
    return read_json(step.folder_in(runs) / RUN).get("hash") == step.hash


def update_cell(runs: Path, step: Step) -> None:
    """Write a finished run's value on every axis again, as the study may have got more axes since."""
    path = step.folder_in(runs) / RUN
    content = read_json(path)
    now = content | {"cell": dict(step.cell), "published": step.published}
    if content.get("hash") == step.hash and now != content:
        write_json(path, now)


def show_run(folder: Path) -> StudyRun:
    """A finished run of a study, with its metrics and the names of the runs it needs, or an InputError."""
    if not (folder / RUN).exists():
        raise InputError(f"{folder}: not a finished run of a study (no {RUN})", "langlift study status STUDY")
    found = read_run(folder)
    others = (read_json(path / RUN) for path in folder.resolve().parent.iterdir())
    names = {run["hash"]: run["name"] for run in others if run}
    needs = [names.get(one, one) for one in found.needs]
    return replace(found, needs=needs, metrics=read_metrics(folder) if is_finished(folder) else {})


def prepare(folder: Path) -> None:
    """Empty a folder, unless its run can be resumed; then only the last failure is removed."""
    (folder / FAILED).unlink(missing_ok=True)
    if (folder / RECIPE).exists():
        return
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def locked_folder(folder: Path, what: str, wait: float = 0.0) -> Iterator[None]:
    """Lock a study's folder, or a run's; as ``files.locked``."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, f"{folder}: another process is working on this {what}", wait):
        yield


def read_runs(folders: Sequence[Path]) -> tuple[list[StudyRun], list[str]]:
    """All finished runs of study folders and single run folders, and the names of the unfinished ones.

    A task or prompt run with several seeds becomes a run for each seed. Settings in which single runs differ that
    would otherwise be alike are in their cells.

    Raises:
        InputError: all folders that are neither, or are damaged.
    """
    finished: list[StudyRun] = []
    unfinished: list[str] = []
    errors: list[str] = []
    for given in dict.fromkeys(folders):
        in_study = is_study(given)
        found = sorted(path for path in (given / RUNS).glob("[!.]*") if path.is_dir()) if in_study else [given]
        for folder in found:
            try:
                if (folder / RUN).exists():
                    finished.append(read_run(folder))
                elif in_study or ((folder / RECIPE).exists() and not is_finished(folder)):
                    unfinished.append(folder.name)
                else:
                    finished += read_single(folder)
            except InputError as error:
                errors.append(error.message)
    if errors:
        raise InputError(
            "; ".join(errors), "name folders of langlift study, adapt, task, prompt, fuse or pretrain"
        )
    return _told_apart(finished), unfinished


def _told_apart(runs: Sequence[StudyRun]) -> list[StudyRun]:
    """The runs; single ones with those settings in their cells in which some with equal cells differ."""
    alike: dict[str, list[StudyRun]] = {}
    for run in runs:
        if not run.hash:
            alike.setdefault(repr((run.kind, run.cell)), []).append(run)
    differ: dict[tuple[str, Any], set[str]] = {}
    for some in (one for one in alike.values() if len(one) > 1):
        each = list(map(_settings, some))
        names = {name for one in each for name in one if any(one[name] != other.get(name) for other in each)}
        differ.setdefault((some[0].kind, some[0].cell.get("task")), set()).update(names)
    told = []
    for run in runs:
        names = set() if run.hash else differ.get((run.kind, run.cell.get("task")), set())
        own = {name: value for name, value in _settings(run).items() if name in names} if names else {}
        told.append(replace(run, cell={**run.cell, **own}))
    return told


def _settings(run: StudyRun) -> dict[str, Any]:
    """The settings of a single run that change its result, as in a study's cells."""
    recipe = run_folder.read_recipe(run.folder) or run_folder.read_recipe(run.folder.parent)
    recorded = recipe.get(run.kind) or {}
    defaults = asdict(SECTIONS[run.kind]()) if run.kind in SECTIONS else {}  # an older run lacks newer settings
    settings = {}
    for name, value in (defaults | recorded).items():
        methods = readers(name)
        if name not in IN_CELL and (not methods or recorded.get("method") in methods):
            settings[name] = ",".join(map(str, value)) if isinstance(value, list | tuple) else value
    if settings.get(TRAIN_EXAMPLES) == 0:
        settings[TRAIN_EXAMPLES] = ALL_EXAMPLES
    return settings


def runs_frame(*folders: str | Path) -> "DataFrame":
    """All finished runs of study folders and run folders as a table, one row each (each seed of a task).

    Columns: ``name`` and ``kind``; the run's value on each axis, such as ``language``, ``method``, ``task`` and
    ``seed``; ``value`` (the main number, in the unit of ``metric``) and ``before``; each trivial baseline as
    ``baseline_NAME``; the costs ``tokens``, ``flops``, ``seconds`` and ``peak_memory_bytes``; and ``folder``.

    Raises:
        InputError: a folder contains neither a study nor a run.
    """
    from pandas import DataFrame

    rows: list[dict[str, Any]] = []
    for run in read_runs([Path(folder) for folder in folders])[0]:
        numbers = {name: value for name, value in run.result.items() if not isinstance(value, dict)}
        baselines = {f"baseline_{name}": value for name, value in (run.result.get("baseline") or {}).items()}
        rows.append(
            {"name": run.name, "kind": run.kind, **run.cell, **numbers, **baselines, **run.cost}
            | {"folder": str(run.folder)}
        )
    return DataFrame(rows)


def read_single(folder: Path) -> list[StudyRun]:
    """The run of a finished run folder; for a task or prompt run, one for each seed."""
    recipe, metrics = read_recipe(folder), read_metrics(folder)
    command, inputs = str(recipe.get("command")), dict(recipe.get("inputs") or {})
    settings = dict(recipe.get(command) or {})
    if command in ("task", "prompt"):
        return _seed_runs(folder, command, inputs, settings)
    cell = {
        "language": inputs.get("language"),
        "base": inputs.get("base"),
        "method": settings.get("method"),
        "data": data_kind(inputs.get("data")),
        "objective": settings.get("objective") if command == "adapt" else None,
        "seed": settings.get("seed"),
        "metric": LOSS,
    }
    result = {"value": metrics.get("validation_loss"), "before": metrics.get("validation_loss_before")}
    cell = {key: value for key, value in cell.items() if value is not None}
    costs = _costs(metrics)
    return [StudyRun(folder=folder, kind=command, name=folder.name, cell=cell, result=result, cost=costs)]


def read_recipe(folder: Path) -> dict[str, Any]:
    """A run's recipe.yaml; an InputError if there is none, or if it is damaged."""
    if recipe := run_folder.read_recipe(folder):
        return recipe
    raise InputError(f"{folder}: neither a study nor a run (no readable {RECIPE})")


def data_kind(data: Any) -> str | None:
    """A data set's name without its language: ``mlt_Latn.txt`` is "text", ``graph-data-mlt_Latn`` "graph-data"."""
    if data is None:
        return None
    names = [Path(str(name)).name.removesuffix(".txt") for name in (data if isinstance(data, list) else [data])]
    kinds = [RUN_NUMBER.sub("", AROUND_LANGUAGE.sub("", name)) or "text" for name in names]
    return "+".join(dict.fromkeys(kinds))


def _seed_runs(
    folder: Path, command: str, inputs: Mapping[str, Any], settings: Mapping[str, Any]
) -> list[StudyRun]:
    """A run for each seed of a task or prompt run, or the run of a single seed's folder."""
    cell: dict[str, Any] = {"language": _language_of(inputs.get("data"))}
    if command == "prompt":
        model = inputs.get("model_name") or inputs.get("model")
        cell |= {"base": model, "use": PROMPTED_USE, "shots": settings.get("shots")}
        published = settings.get("unparsed") == "left_out" or None
    else:
        cell |= {"base": inputs.get("base"), **_use_of_adapter(folder, inputs, settings.get("method"))}
        published = settings.get("label_subwords") == "every" or None
    task = task_called(str(inputs.get("task")))
    cell["task"], metric = task.name, task.metric.name
    runs = []
    whole = folder.parent if "seed" in inputs else folder
    baseline = read_json(whole / METRICS).get("baseline")
    for seed in [inputs["seed"]] if "seed" in inputs else settings["seeds"]:
        own = folder if "seed" in inputs else folder / f"seed-{seed}"
        metrics = read_metrics(own)
        result = {"value": metrics[f"test_{metric}"], "dev": metrics.get(f"dev_{metric}"), "baseline": baseline}
        others = {one.name: metrics.get(f"test_{one.name}") for one in task.further}
        result |= {name: value for name, value in others.items() if value is not None}
        name = folder.name if own == folder else f"{folder.name}/{own.name}"
        found: dict[str, Any] = {"cell": {**cell, "metric": metric, "seed": seed}, "published": published}
        runs.append(StudyRun(folder=own, kind=command, name=name, result=result, cost=_costs(metrics), **found))
    return runs


def _use_of_adapter(folder: Path, inputs: Mapping[str, Any], method: Any) -> dict[str, Any]:
    """How a task was trained, and what its language adapters were."""
    adapter, fused = inputs.get("language_adapter"), inputs.get("fused_adapters")
    if fused:
        cell = {"use": "fused", "data": "+".join(data_kind(name) or name for name in fused.values())}
    elif adapter:
        cell = {"use": "stacked", **_adapter_cell(folder, adapter)}
    else:
        cell = {"use": "full" if is_whole_model(method) else "alone"}
    other_method = method != TaskRecipe().method and not is_whole_model(method)
    return {**cell, "task_method": method} if other_method else cell


def _adapter_cell(folder: Path, adapter: str) -> dict[str, Any]:
    """The training data of a language adapter: from its own recipe if it is found, else from its folder's name."""
    for path in (Path(adapter), folder.parent / Path(adapter).name):
        if (path / RECIPE).exists():
            recipe = read_recipe(path)
            settings = recipe.get("adapt") or {}
            return {
                "method": settings.get("method"),
                "data": data_kind((recipe.get("inputs") or {}).get("data")),
                "objective": settings.get("objective"),
            }
    return {"data": data_kind(adapter)}


def _costs(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {key: metrics[key] for key in COSTS if metrics.get(key)}


def _language_of(data: Any) -> str:
    """The language in a test set's name, else the name."""
    found = FLORES_CODE.search(str(data))
    try:
        return str(find_language(found[0] if found else Path(str(data)).name))
    except InputError:
        return str(data)
