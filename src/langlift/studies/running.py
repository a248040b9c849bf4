"""Executes the missing runs of a study: in this process, or on a Ray cluster."""

import os
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langlift.errors import InputError, LangliftError
from langlift.files import read_json, write_text
from langlift.notebook import Shown
from langlift.processes import require_single_process
from langlift.progress import progress_to, say
from langlift.studies.checking import check_bases
from langlift.studies.cutting import larger_than_data
from langlift.studies.execution import RunOutcome, execute
from langlift.studies.folder import FAILED, RUNS, is_done, locked_folder, read_run, update_cell
from langlift.studies.planning import StudyPlan
from langlift.studies.step import Step
from langlift.studies.study import study_text
from langlift.studies.study_file import STUDY

SET_ASIDE = "set-aside"
"""The folder for runs that are no longer part of the study."""
STATES = ("finished", "running", "stopped", "failed", "missing")
LOCAL = "local"
RETRIES = 3
"""How often Ray restarts a run whose worker or machine died; it continues from its checkpoint."""
POLL = 1.0
CONNECT = 10.0
"""Seconds to wait for a cluster's machine to answer."""


class Watcher:
    """Is notified of the progress of a study; this one says when a run starts and ends."""

    def started(self, step: Step) -> None:
        """A run starts or is resumed."""
        say(f"started {step.name}")

    def progress(self, step: Step, what: str, done: int, total: int | None, note: str) -> None:
        """Its progress."""

    def ended(self, step: Step, outcome: RunOutcome) -> None:
        """It is finished, has failed, or is skipped because a run it needs failed."""
        how = "finished" if outcome.ok else "skipped" if outcome.skipped else "failed"
        say(f"{how} {step.name}{f': {outcome.error}' if outcome.error else ''}")


@dataclass(frozen=True)
class StudyResult(Shown):
    """The result of ``langlift study run``: the number of runs, of runs finished before and now, and the
    failures. ``remarks`` are cells that are larger than their data.
    """

    study: str
    runs: int
    finished_before: int
    finished_now: int
    failures: list[RunOutcome]
    left_out: list[str]
    remarks: list[str]
    seconds: float


@dataclass(frozen=True)
class RunState:
    """The state of a run: ``stopped`` runs can be resumed; ``shown`` is its result, or why it failed."""

    name: str
    kind: str
    state: str
    value: float | None
    shown: str


@dataclass(frozen=True)
class StudyStatus:
    """All runs of a study, and the number of runs in each state."""

    study: str
    counts: dict[str, int]
    runs: list[RunState]


Engine = Callable[[Sequence[Step], Path, Watcher], Iterator[tuple[Step, RunOutcome]]]
"""(missing runs, each after those it needs; their folder; watcher) -> each run and how it ended, as they end."""


def run_study(
    plan: StudyPlan,
    out: Path,
    watcher: Watcher | None = None,
    engine: Engine | None = None,
    set_aside: bool = False,
) -> StudyResult:
    """Execute all runs of a plan that are not finished in the folder ``out``.

    A run that fails does not stop the others; those that need it are skipped. Runs in ``out`` that are not in the
    plan are an error, or with ``set_aside`` moved to ``out/set-aside``.

    Raises:
        InputError: ``out`` contains something else, or runs that are not in the plan; or a base is not found.
        LangliftError: another process runs the study, or the folder cannot be written.
    """
    require_single_process("langlift study")
    started = time.monotonic()
    runs = out / RUNS
    _check_folder(out)
    check_bases(step for step in plan.steps if not is_done(runs, step))
    with locked_folder(out, "study"):
        _remove_others(plan, out, set_aside)
        write_text(out / STUDY, study_text(plan.study))
        for step in plan.steps:
            update_cell(runs, step)
        missing = _missing(plan, runs)
        unfinished = {step.hash for step in missing}
        _remove_models(plan.steps, plan, runs, unfinished)
        watcher, failures = watcher or Watcher(), []
        for step, outcome in (engine or in_this_process)(missing, runs, watcher):
            watcher.ended(step, outcome)
            if outcome.ok:
                unfinished.remove(step.hash)
                _remove_models((step, *step.needs), plan, runs, unfinished)
            else:
                failures.append(outcome)
    return StudyResult(
        study=str(out),
        runs=len(plan.steps),
        finished_before=len(plan.steps) - len(missing),
        finished_now=len(missing) - len(failures),
        failures=failures,
        left_out=list(plan.left_out),
        remarks=larger_than_data(plan.steps, runs),
        seconds=round(time.monotonic() - started, 1),
    )


def _missing(plan: StudyPlan, runs: Path) -> list[Step]:
    """The unfinished runs, and any finished one whose whole model was removed and is needed again."""
    missing = [step for step in plan.steps if not is_done(runs, step)]
    needed = {one.hash: one for step in missing for one in step.needs if one.trains_model and is_done(runs, one)}
    gone = [step for step in needed.values() if not step.models_in(runs)]
    for step in gone:
        shutil.rmtree(step.folder_in(runs))
    return _missing(plan, runs) if gone else missing


def _remove_models(steps: Sequence[Step], plan: StudyPlan, runs: Path, unfinished: Collection[str]) -> None:
    """With ``keep: adapters``, remove those finished runs' whole models that no unfinished run needs."""
    if plan.study.keep != "adapters":
        return
    needed = {need.hash for one in plan.steps if one.hash in unfinished for need in one.needs}
    needed.update(unfinished)
    for step in (one for one in steps if one.trains_model and one.hash not in needed):
        for path in step.models_in(runs):
            path.unlink()


def in_this_process(steps: Sequence[Step], runs: Path, watcher: Watcher) -> Iterator[tuple[Step, RunOutcome]]:
    """Execute one run after the other."""
    failed: dict[str, str] = {}
    for step in steps:
        outcome = _skipped(step, failed)
        if outcome is None:
            watcher.started(step)
            with progress_to(lambda *report, step=step: watcher.progress(step, *report)):
                outcome = execute(step, runs)
        if not outcome.ok:
            failed[step.hash] = step.name
        yield step, outcome


def _skipped(step: Step, failed: dict[str, str]) -> RunOutcome | None:
    """The outcome of a run that needs one that failed or was skipped; None if it does not."""
    needed = next((failed[one.hash] for one in step.needs if one.hash in failed), None)
    return None if needed is None else RunOutcome(step.name, f"needs {needed}", skipped=True)


def ray_engine(address: str, workers: int | None = None, cpus: float = 1, gpus: float = 0) -> Engine:
    """An engine that runs on the cluster at ``address``, or on this machine (``local``, with ``workers`` workers).

    Each run gets ``cpus`` and ``gpus``, as Ray counts them.

    Raises:
        InputError: Ray is not installed.
        LangliftError: the cluster cannot be reached.
    """
    try:
        import ray
    except ModuleNotFoundError:
        raise InputError("--ray needs Ray", "pip install 'langlift[studies]'") from None
    options: dict[str, Any] = {"address": address}
    if address == LOCAL:
        options["include_dashboard"] = False
        # By default Ray's workers have such a low priority that they starve on a busy machine.
        os.environ.setdefault("RAY_worker_niceness", "0")
        if workers is not None:
            options["num_cpus"] = max(1, round(workers * cpus))

    def engine(steps: Sequence[Step], runs: Path, watcher: Watcher) -> Iterator[tuple[Step, RunOutcome]]:
        _check_reachable(address)
        try:
            ray.init(**options, log_to_driver=False, logging_level="ERROR", configure_logging=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise LangliftError(f"--ray {address}: cannot be reached ({reason})", "check the address") from error
        try:
            remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)(execute)
            yield from _schedule(ray, remote, steps, runs.resolve(), watcher)
        finally:
            ray.shutdown()

    return engine


def _check_reachable(address: str) -> None:
    """Raise an error at once if nothing listens at the address; Ray itself would retry for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT).close()
    except (OSError, OverflowError) as error:
        raise LangliftError(f"--ray {address}: nothing answers there ({error})", "check the address") from error


def _schedule(
    ray: Any, remote: Any, steps: Sequence[Step], runs: Path, watcher: Watcher
) -> Iterator[tuple[Step, RunOutcome]]:
    """Submit every run whose dependencies are finished, and collect what is done."""
    waiting = {step.hash: step for step in steps}
    running: dict[Any, Step] = {}
    failed: dict[str, str] = {}
    while waiting or running:
        unfinished = waiting.keys() | {step.hash for step in running.values()}
        for step in list(waiting.values()):
            if (outcome := _skipped(step, failed)) is not None:
                del waiting[step.hash]
                failed[step.hash] = step.name
                yield step, outcome
            elif not any(one.hash in unfinished for one in step.needs):
                del waiting[step.hash]
                running[remote.remote(step, runs)] = step
                watcher.started(step)
        if not running:
            continue
        done, _ = ray.wait(list(running), timeout=POLL)
        for reference in done:
            step = running.pop(reference)
            try:
                outcome = ray.get(reference)
            except ray.exceptions.RayError as error:
                lost = f"the worker was lost ({type(error).__name__})"
                outcome = RunOutcome(step.name, lost, "run the same command again")
            if not outcome.ok:
                failed[step.hash] = step.name
            yield step, outcome


def _check_folder(out: Path) -> None:
    if out.is_file():
        raise InputError(f"{out}: is a file", "choose a folder for --out")
    if out.is_dir() and not (out / STUDY).exists():
        others = sorted(path.name for path in out.iterdir() if path.name not in (RUNS, f".{STUDY}.writing"))
        if others:
            raise InputError(f"{out}: contains other files ({others[0]})", "choose a new folder for --out")


def _remove_others(plan: StudyPlan, out: Path, set_aside: bool) -> None:
    """Runs that are not in the plan would be counted in tables."""
    planned = {step.folder_in(out / RUNS) for step in plan.steps}
    others = sorted(path for path in (out / RUNS).glob("*") if path.is_dir() and path not in planned)
    if others and not set_aside:
        raise InputError(
            f"{out}: contains {len(others)} runs that are not in this study, such as {others[0].name}",
            f"settings or data have changed: choose another --out, or move them to {SET_ASIDE}/ with --set-aside",
        )
    for path in others:
        target = out / SET_ASIDE / path.name
        target.parent.mkdir(exist_ok=True)
        if target.exists():
            shutil.rmtree(target)
        path.replace(target)


def status_of(plan: StudyPlan, out: Path) -> StudyStatus:
    """The state of every run of a plan in a study's folder."""
    states = [_state_of(step, out / RUNS) for step in plan.steps]
    counted = Counter(one.state for one in states)
    return StudyStatus(str(out), {state: counted[state] for state in STATES}, states)


def _state_of(step: Step, runs: Path) -> RunState:
    folder = step.folder_in(runs)
    value, shown = None, ""
    if is_done(runs, step):
        state, value = "finished", read_run(folder).value
        shown = f"{str(step.cell.get('metric', '')).replace('_', ' ')} {value:,.4g}".strip()
    elif not folder.exists():
        state = "missing"
    else:
        try:
            with locked_folder(folder, "run"):
                shown = str(read_json(folder / FAILED).get("error", ""))
                state = "failed" if shown else "stopped"
        except LangliftError:
            state = "running"
    return RunState(folder.name, step.kind, state, value, shown)


def study_of(path: Path, out: Path | None) -> tuple[Path, Path]:
    """The study file and the study's folder, of which ``path`` may be either; or an InputError."""
    if not path.is_dir():
        if out is None:
            raise InputError(
                f"{path}: the folder of the runs is missing", "add --out FOLDER, or name the study's folder"
            )
        return path, out
    if not (path / STUDY).is_file():
        raise InputError(f"{path}: no {STUDY} in this folder", "name a study file, or a folder of 'study run'")
    return path, out or path
