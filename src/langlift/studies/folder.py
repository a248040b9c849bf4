"""The folder of a study: study.yaml, and a folder for each run, which is finished once it contains run.json."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from langlift.errors import InputError
from langlift.files import locked, read_json, write_json
from langlift.studies.step import Step
from langlift.studies.study_file import STUDY
from langlift.training.run_folder import METRICS, RECIPE, is_finished, read_metrics

RUNS, RUN, FAILED = "runs", "run.json", "failed.json"
SENTENCES = "sentences.jsonl"
"""In a score run: tokens, characters and log probability of each sentence."""
PRECISION = "precision.txt"
"""The file of a study with what ``precision: auto`` means for all its runs: the first run's choice."""
COSTS = ("tokens", "flops", "seconds", "peak_memory_bytes")


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

    @cached_property
    def precisions(self) -> set[str]:
        """What it was computed in, by its metrics or those of its seeds."""
        found = map(read_json, (self.folder / METRICS, *self.folder.glob(f"seed-*/{METRICS}")))
        return {str(one["precision"]) for one in found if one.get("precision")}


def is_study(folder: Path) -> bool:
    """Whether a folder is a study's."""
    return (folder / RUNS).is_dir() and ((folder / STUDY).exists() or any(folder.glob(f"{RUNS}/*/{RUN}")))


def read_run(folder: Path) -> StudyRun:
    """One finished run of a study.

    Raises:
        InputError: its ``run.json`` is damaged or incomplete.
    """
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
    """A finished run of a study, with its metrics and the names of the runs it depends on.

    Raises:
        InputError: it is not one.
    """
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
