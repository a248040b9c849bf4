"""Runs what is missing of a study: in this process, or on a Ray cluster."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from langlift.errors import InputError
from langlift.files import write_text
from langlift.processes import only_one
from langlift.progress import progress_to
from langlift.studies.execution import RunOutcome, execute
from langlift.studies.folder import RUNS, held, is_done, update_cell
from langlift.studies.planning import StudyPlan
from langlift.studies.step import Step
from langlift.studies.study import study_text
from langlift.studies.study_file import STUDY

SET_ASIDE = "set-aside"
"""The folder for runs that the study no longer has."""


class Watcher:
    """Is notified of the progress of a study; this one ignores it."""

    def started(self, step: Step) -> None:
        """A run starts or continues."""

    def progress(self, step: Step, what: str, done: int, total: int | None, note: str) -> None:
        """How far it is."""

    def ended(self, step: Step, outcome: RunOutcome) -> None:
        """It is finished, has failed, or is skipped because a run it needs failed."""


@dataclass(frozen=True)
class StudyResult:
    """What ``langlift study run`` did: the number of runs, of those finished before and now, and the failures."""

    study: str
    runs: int
    finished_before: int
    finished_now: int
    failures: list[RunOutcome]
    left_out: list[str]
    seconds: float


Engine = Callable[[Sequence[Step], Path, Watcher], Iterator[RunOutcome]]
"""(missing runs, each after those it needs; their folder; watcher) -> how each ended, as they end."""


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
        InputError: ``out`` contains something else, or runs that are not in the plan.
        LangliftError: another process runs the study, or the folder cannot be written.
    """
    only_one("langlift study")
    started = time.monotonic()
    runs = out / RUNS
    _check_folder(out)
    with held(out, "study"):
        _remove_others(plan, out, set_aside)
        write_text(out / STUDY, study_text(plan.study))
        for step in plan.steps:
            update_cell(runs, step)
        missing = [step for step in plan.steps if not is_done(runs, step)]
        outcomes = (engine or in_this_process)(missing, runs, watcher or Watcher())
        failures = [outcome for outcome in outcomes if not outcome.ok]
    return StudyResult(
        study=str(out),
        runs=len(plan.steps),
        finished_before=len(plan.steps) - len(missing),
        finished_now=len(missing) - len(failures),
        failures=failures,
        left_out=list(plan.left_out),
        seconds=round(time.monotonic() - started, 1),
    )


def in_this_process(steps: Sequence[Step], runs: Path, watcher: Watcher) -> Iterator[RunOutcome]:
    """Execute one run after the other."""
    failed: dict[str, str] = {}
    for step in steps:
        outcome = skipped(step, failed)
        if outcome is None:
            watcher.started(step)
            with progress_to(lambda *report, step=step: watcher.progress(step, *report)):
                outcome = execute(step, runs)
        if not outcome.ok:
            failed[step.hash] = step.name
        watcher.ended(step, outcome)
        yield outcome


def skipped(step: Step, failed: dict[str, str]) -> RunOutcome | None:
    """The outcome of a run that needs one that failed or was skipped; None if it does not."""
    for needed in step.needs:
        if needed.hash in failed:
            return RunOutcome(step.name, f"needs {failed[needed.hash]}", skipped=True)
    return None


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


def study_of(path: Path, out: Path | None) -> tuple[Path, Path]:
    """The study file and the study's folder; ``path`` may be either.

    Raises:
        InputError: a file without ``out``, or a folder that is not a study's.
    """
    if not path.is_dir():
        if out is None:
            raise InputError(f"{path}: where are the runs?", "add --out FOLDER, or name the study's folder")
        return path, out
    if not (path / STUDY).is_file():
        raise InputError(f"{path}: no {STUDY} in this folder", "name a study file, or a folder of 'study run'")
    return path, out or path
