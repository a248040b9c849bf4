"""How far a study is, and what one of its runs is."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langlift.errors import InputError
from langlift.studies.folder import RUN, RUNS, failure, is_done, is_held, read_run
from langlift.studies.planning import StudyPlan
from langlift.studies.step import Step
from langlift.training.run_folder import is_finished, read_metrics

STATES = ("finished", "running", "stopped", "failed", "missing")


@dataclass(frozen=True)
class RunState:
    """One run: ``stopped`` is one that can be gone on with; ``shown`` is its result, or why it failed."""

    name: str
    kind: str
    state: str
    value: float | None
    shown: str


@dataclass(frozen=True)
class StudyStatus:
    """All runs of a study, and how many there are of each state."""

    study: str
    counts: dict[str, int]
    runs: list[RunState]


@dataclass(frozen=True)
class RunRecord:
    """``run.json`` of a finished run, with the names of the runs that it ``needs``, and its metrics.

    ``cell`` says where it stands among the study's axes, ``result`` has its headline numbers (``value``, and
    ``before`` where there is one), ``cost`` its tokens, operations, seconds and peak memory. ``published`` is
    true if published behaviours were on.
    """

    kind: str
    name: str
    hash: str
    cell: dict[str, Any]
    needs: list[str]
    result: dict[str, Any]
    cost: dict[str, Any]
    published: bool | None
    metrics: dict[str, Any]


def status_of(plan: StudyPlan, out: Path) -> StudyStatus:
    """The state of every run of a plan in a study's folder."""
    states = [_state(step, out / RUNS) for step in plan.steps]
    counted = Counter(one.state for one in states)
    return StudyStatus(str(out), {state: counted[state] for state in STATES}, states)


def show_run(folder: Path) -> RunRecord:
    """What a run of a study is.

    Raises:
        InputError: it is no finished run of a study.
    """
    found = read_run(folder)
    if found is None:
        raise InputError(f"{folder}: not a finished run of a study (no {RUN})", "langlift study status STUDY")
    names = {run["hash"]: run["name"] for path in folder.resolve().parent.iterdir() if (run := read_run(path))}
    needs = [names.get(one, one) for one in found["needs"]]
    return RunRecord(**{**found, "needs": needs, "metrics": read_metrics(folder) if is_finished(folder) else {}})


def _state(step: Step, runs: Path) -> RunState:
    folder = step.folder_in(runs)
    if is_done(runs, step):
        result = (read_run(folder) or {})["result"]
        metric = str(step.cell.get("metric", "")).replace("_", " ")
        return RunState(
            folder.name, step.kind, "finished", result["value"], f"{metric} {result['value']:,.4g}".strip()
        )
    if is_held(folder):
        return RunState(folder.name, step.kind, "running", None, "")
    if (reason := failure(runs, step)) is not None:
        return RunState(folder.name, step.kind, "failed", None, reason)
    return RunState(folder.name, step.kind, "stopped" if folder.exists() else "missing", None, "")
