"""Run what is missing of a study: in this process, or on a Ray cluster."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from langlift.errors import InputError
from langlift.files import write_text
from langlift.processes import only_one
from langlift.progress import progress_to
from langlift.studies.execution import Outcome, execute
from langlift.studies.folder import RUNS, held, is_done, place_anew
from langlift.studies.planning import StudyPlan
from langlift.studies.step import Step
from langlift.studies.study import study_text
from langlift.studies.study_file import STUDY

SET_ASIDE = "set-aside"
"""Where runs go that the study has no more."""


class Watcher(Protocol):
    """Hears how a study goes on."""

    def started(self, step: Step) -> None:
        """A run begins, or goes on."""

    def progress(self, step: Step, what: str, done: int, total: int | None, note: str) -> None:
        """How far it is."""

    def ended(self, step: Step, outcome: Outcome) -> None:
        """It is finished, has failed, or is skipped because a run it needs failed."""


class Quiet:
    """A watcher that keeps silent."""

    def started(self, step: Step) -> None:
        """Nothing."""

    def progress(self, step: Step, what: str, done: int, total: int | None, note: str) -> None:
        """Nothing."""

    def ended(self, step: Step, outcome: Outcome) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Failure:
    """A run that did not end well; ``skipped`` if it was not even started."""

    run: str
    error: str
    hint: str
    skipped: bool


@dataclass(frozen=True)
class StudyResult:
    """What ``langlift study run`` did: how many runs there are, were finished before or now, and failed."""

    study: str
    runs: int
    finished_before: int
    finished_now: int
    failures: list[Failure]
    left_out: list[str]
    seconds: float


Engine = Callable[[Sequence[Step], Path, Watcher], Iterator[tuple[Step, Outcome]]]
"""(runs that are missing, each after those it needs; their folder; watcher) -> how each ended, as they end."""


def run_study(
    plan: StudyPlan,
    out: Path,
    watcher: Watcher | None = None,
    engine: Engine | None = None,
    set_aside: bool = False,
) -> StudyResult:
    """Do all runs of a plan that are not finished in the folder ``out``.

    A run that fails does not stop the others; those that need it are skipped. Finished runs in ``out`` that the
    plan does not have are refused, or with ``set_aside`` moved to ``out/set-aside``.

    Raises:
        InputError: ``out`` holds something else, or runs that the plan does not have.
        LangliftError: another process runs the study, or the folder cannot be written.
    """
    only_one("langlift study")
    started = time.monotonic()
    runs = out / RUNS
    _check_folder(out)
    with held(out, "study"):
        _only_these(plan, out, set_aside)
        write_text(out / STUDY, study_text(plan.study))
        for step in plan.steps:
            place_anew(runs, step)
        missing = [step for step in plan.steps if not is_done(runs, step)]
        failures = [
            Failure(step.name, outcome.error, outcome.hint, outcome.skipped)
            for step, outcome in (engine or in_this_process)(missing, runs, watcher or Quiet())
            if not outcome.ok
        ]
    return StudyResult(
        study=str(out),
        runs=len(plan.steps),
        finished_before=len(plan.steps) - len(missing),
        finished_now=len(missing) - len(failures),
        failures=failures,
        left_out=list(plan.left_out),
        seconds=round(time.monotonic() - started, 1),
    )


def in_this_process(steps: Sequence[Step], runs: Path, watcher: Watcher) -> Iterator[tuple[Step, Outcome]]:
    """One run after the other."""
    bad: dict[str, str] = {}
    for step in steps:
        outcome = skipped(step, bad)
        if outcome is None:
            watcher.started(step)
            with progress_to(lambda *report, step=step: watcher.progress(step, *report)):
                outcome = execute(step, runs)
        if not outcome.ok:
            bad[step.hash] = step.name
        watcher.ended(step, outcome)
        yield step, outcome


def skipped(step: Step, bad: dict[str, str]) -> Outcome | None:
    """The outcome of a run that needs one of those that failed or were skipped; None if it does not."""
    for needed in step.needs:
        if needed.hash in bad:
            return Outcome(f"needs {bad[needed.hash]}", "", skipped=True)
    return None


def _check_folder(out: Path) -> None:
    if out.is_file():
        raise InputError(f"{out}: is a file", "choose a folder for --out")
    if out.is_dir() and not (out / STUDY).exists():
        held_there = sorted(path.name for path in out.iterdir() if path.name not in (RUNS, f".{STUDY}.writing"))
        if held_there:
            raise InputError(f"{out}: holds other files ({held_there[0]})", "choose a new folder for --out")


def _only_these(plan: StudyPlan, out: Path, set_aside: bool) -> None:
    """No run may stay that is not the study's: a table would count it."""
    mine = {step.folder_in(out / RUNS) for step in plan.steps}
    strange = sorted(path for path in (out / RUNS).glob("*") if path.is_dir() and path not in mine)
    if strange and not set_aside:
        raise InputError(
            f"{out}: holds {len(strange)} runs that this study does not have, such as {strange[0].name}",
            f"settings or data were changed: choose another --out, or move them to {SET_ASIDE}/ with --set-aside",
        )
    for path in strange:
        target = out / SET_ASIDE / path.name
        target.parent.mkdir(exist_ok=True)
        if target.exists():
            shutil.rmtree(target)
        path.replace(target)


def study_of(path: Path, out: Path | None) -> tuple[Path, Path]:
    """The study file and the folder that are meant: a study's folder is both.

    Raises:
        InputError: a file without ``out``, or a folder that is no study.
    """
    if not path.is_dir():
        if out is None:
            raise InputError(f"{path}: where are the runs?", "add --out FOLDER, or name the study's folder")
        return path, out
    if not (path / STUDY).is_file():
        raise InputError(f"{path}: no {STUDY} in this folder", "name a study file, or a folder of 'study run'")
    return path, out or path
