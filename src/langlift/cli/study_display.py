"""What the terminal shows of a study: the table of its plan, and bars (or plain lines) while it runs."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from langlift.cli.options import note, print_table
from langlift.progress import SECONDS_BETWEEN_LINES, readable_seconds
from langlift.studies.execution import RunOutcome
from langlift.studies.planning import StudyPlan
from langlift.studies.pricing import PlanPrice, PlanRow, RunPrice
from langlift.studies.running import Watcher
from langlift.studies.step import Step


def show_plan(price: PlanPrice, full: bool) -> None:
    """Print the runs of a plan, or with ``full=False`` their sums, and the remarks."""
    (_print_runs if full else _print_summary)(f"{price.study}: {len(price.runs)} runs", price)
    for reason in price.left_out:
        note(f"left out: {reason}")
    for name, seconds in price.total.gpu_seconds.items():
        money = f", {price.gpu_prices[name]:,.2f} at the price given" if name in price.gpu_prices else ""
        note(f"on one {name}: about {readable_seconds(seconds)}{money}")
    for remark in price.remarks:
        note(remark)


def _print_summary(title: str, price: PlanPrice) -> None:
    """Without the columns in which no row has anything."""
    rows = []
    for one in price.summary:
        times = (one.seconds, *one.gpu_seconds.values())
        rows.append(
            (
                one.what,
                f"{one.languages} languages" if one.languages > 1 else one.language or "",
                one.method or "",
                f"{one.runs:,}",
                f"{one.finished:,}" if one.finished else "",
                "" if one.requests is None else f"{one.requests:,}",
                *("" if seconds is None else readable_seconds(seconds) for seconds in times),
                "?" if one.disk_bytes is None else f"{one.disk_bytes / 1e9:,.2f}",
            )
        )
    gpus = (f"time on {name}" for name in price.total.gpu_seconds)
    headings = ("kind", "language", "method", "runs", "finished", "requests", "time here", *gpus, "GB")
    used = [number for number in range(len(headings)) if any(row[number] for row in rows)]
    shown = [tuple(row[number] for number in used) for row in rows]
    print_table(title, [headings[number] for number in used], [*shown[:-1], (), shown[-1]])


def _print_runs(title: str, price: PlanPrice) -> None:
    asks = any(one.kind == "prompt" for one in price.runs)
    unknown = any(one.tokens is None and not one.finished for one in price.runs)
    what = "all unfinished runs" + ", as far as known" * unknown
    costs: list[tuple[str, RunPrice | PlanRow]] = [(one.name, one) for one in price.runs]
    rows: list[tuple[str, ...]] = []
    for name, one in [*costs, (what, price.total)]:
        requests = "" if one.requests is None else f"{one.requests:,}"
        rows.append((name, *((requests,) if asks else ()), *_cost_cells(one)))
    headings = ("run", *(("requests",) if asks else ()), "tokens", "FLOPs", "disk", "here")
    print_table(title, headings, [*rows[:-1], (), rows[-1]])


def _cost_cells(one: RunPrice | PlanRow) -> tuple[str, ...]:
    if one.finished is True:
        return "", "", "", "finished"
    return (
        "?" if one.tokens is None else f"{one.tokens:,}",
        "?" if one.flops is None else f"{one.flops:.1e}",
        "?" if one.disk_bytes is None else f"{one.disk_bytes / 1e6:,.1f} MB",
        "?" if one.seconds is None else readable_seconds(one.seconds),
    )


@contextmanager
def watching(plan: StudyPlan, done: int) -> Iterator[Watcher]:
    """A watcher that shows how far a study is, of which ``done`` runs are finished."""
    if not sys.stderr.isatty():
        yield Lines(len(plan.steps), done)
        return
    display = Bars(plan.study.name, len(plan.steps), done)
    with display.bars:
        yield display


class Lines(Watcher):
    """A line when a run starts, every few seconds while it runs, and when it ends."""

    def __init__(self, total: int, done: int) -> None:
        self._total, self._done = total, done
        self._began: dict[str, float] = {}
        self._last = time.monotonic()

    def started(self, step: Step) -> None:
        """Report the start of a run."""
        self._began[step.hash] = self._last = time.monotonic()
        self._say(f"started {step.name}")

    def progress(self, step: Step, what: str, done: int, total: int | None, note: str) -> None:
        """Report how far a run is, every few seconds."""
        if time.monotonic() - self._last > SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            of = f" of {total}" if total is not None else ""
            self._say(f"  {step.name}: {what}: {done}{of}  {note}")

    def ended(self, step: Step, outcome: RunOutcome) -> None:
        """Report how a run ended."""
        if not outcome.ok:
            self._say(f"{'skipped' if outcome.skipped else 'failed '} {step.name}: {outcome.error}")
            return
        self._done += 1
        took = readable_seconds(time.monotonic() - self._began.get(step.hash, time.monotonic()))
        self._say(f"finished {step.name} in {took} ({self._done} of {self._total})")

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201


class Bars(Lines):
    """A bar for the study and one for each run in progress, below the lines of those that ended."""

    def __init__(self, name: str, total: int, done: int) -> None:
        super().__init__(total, done)
        columns = TextColumn("{task.description}", markup=False), BarColumn(20), TimeElapsedColumn()
        note = TextColumn("{task.fields[note]}", markup=False)
        self.bars = Progress(*columns, note, console=Console(stderr=True), refresh_per_second=4)
        self._study = self.bars.add_task(f"{name}: {total} runs", total=total, completed=done, note="")
        self._runs: dict[str, TaskID] = {}

    def started(self, step: Step) -> None:
        """Add the bar of a run."""
        self._began[step.hash] = time.monotonic()
        self._runs[step.hash] = self.bars.add_task(step.name, total=None, note="")

    def progress(self, step: Step, what: str, done: int, total: int | None, note: str) -> None:
        """Move the bar of a run."""
        if step.hash in self._runs:
            self.bars.update(self._runs[step.hash], total=total, completed=done, note=f"{what}  {note}")

    def ended(self, step: Step, outcome: RunOutcome) -> None:
        """Replace the bar of a run by a line."""
        if step.hash in self._runs:
            self.bars.remove_task(self._runs.pop(step.hash))
        super().ended(step, outcome)
        self.bars.update(self._study, completed=self._done)

    def _say(self, text: str) -> None:
        self.bars.console.print(text, markup=False, highlight=False)
