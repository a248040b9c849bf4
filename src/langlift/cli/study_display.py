"""What the screen shows while a study runs: a table of its runs, or plain lines where there is no terminal."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from langlift.progress import SECONDS_BETWEEN_LINES, readable_seconds

if TYPE_CHECKING:
    from langlift.studies.execution import Outcome
    from langlift.studies.planning import StudyPlan
    from langlift.studies.running import Watcher
    from langlift.studies.step import Step

LINES_ABOVE = 3
"""So many runs that are done stay above the first one under way, where not all fit on the screen."""


@contextmanager
def watching(plan: "StudyPlan", out: Path) -> Iterator["Watcher"]:
    """A watcher that shows a study in work."""
    from langlift.studies.folder import RUNS, is_done

    done = {step.hash for step in plan.steps if is_done(out / RUNS, step)}
    if not sys.stderr.isatty():
        yield Lines(len(plan.steps), len(done))
        return
    table = LiveTable(plan, done)
    with Live(get_renderable=table.drawn, console=Console(stderr=True), refresh_per_second=4):
        yield table


class Lines:
    """One line when a run begins, now and then while it goes on, and when it ends."""

    def __init__(self, total: int, done: int) -> None:
        self._total, self._done = total, done
        self._began: dict[str, float] = {}
        self._last = time.monotonic()

    def started(self, step: "Step") -> None:
        """Say that it begins."""
        self._began[step.hash] = self._last = time.monotonic()
        self._say(f"started {step.name}")

    def progress(self, step: "Step", what: str, done: int, total: int | None, note: str) -> None:
        """Say how far it is, every few seconds."""
        if time.monotonic() - self._last > SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            of = f" of {total}" if total is not None else ""
            self._say(f"  {step.name}: {what}: {done}{of}  {note}")

    def ended(self, step: "Step", outcome: "Outcome") -> None:
        """Say how it ended."""
        if not outcome.ok:
            self._say(f"{'skipped' if outcome.skipped else 'failed '} {step.name}: {outcome.error}")
            return
        self._done += 1
        took = readable_seconds(time.monotonic() - self._began.get(step.hash, time.monotonic()))
        self._say(f"finished {step.name} in {took} ({self._done} of {self._total})")

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201


class LiveTable:
    """All runs with their state and progress, those under way in view."""

    def __init__(self, plan: "StudyPlan", done: set[str]) -> None:
        self._name, self._steps = plan.study.name, plan.steps
        self._state = {step.hash: "finished" if step.hash in done else "" for step in plan.steps}
        self._began: dict[str, float] = {}
        self._took: dict[str, float] = {}
        self._progress: dict[str, tuple[int, int | None, str]] = {}
        self._started = time.monotonic()

    def started(self, step: "Step") -> None:
        """It is under way."""
        self._state[step.hash], self._began[step.hash] = "running", time.monotonic()

    def progress(self, step: "Step", what: str, done: int, total: int | None, note: str) -> None:
        """How far it is."""
        self._progress[step.hash] = (done, total, f"{what}  {note}")

    def ended(self, step: "Step", outcome: "Outcome") -> None:
        """It is finished, failed or skipped."""
        state = "finished" if outcome.ok else "skipped" if outcome.skipped else "failed"
        self._state[step.hash] = state
        self._took[step.hash] = time.monotonic() - self._began.get(step.hash, time.monotonic())
        if not outcome.ok:
            self._progress[step.hash] = (0, None, outcome.error)

    def drawn(self) -> Table:
        """The table as it is now."""
        counts = Counter(self._state.values())
        told = ", ".join(f"{counts[s]} {s}" for s in ("finished", "running", "failed", "skipped") if counts[s])
        gone = readable_seconds(time.monotonic() - self._started)
        table = Table(title=f"{self._name}: {len(self._steps)} runs, {told or 'none begun'}; {gone}")
        table.title_justify = "left"
        table.add_column("run", ratio=4, no_wrap=True, overflow="ellipsis")
        table.add_column("state", no_wrap=True)
        table.add_column("progress", width=20)
        table.add_column("time", justify="right", no_wrap=True)
        table.add_column("", ratio=3, no_wrap=True, overflow="ellipsis")
        table.expand = True
        for step in self._in_view():
            table.add_row(Text(step.name), self._state[step.hash], *self._cells(step))
        return table

    def _in_view(self) -> "list[Step]":
        rows = max(3, Console(stderr=True).size.height - 6)
        if len(self._steps) <= rows:
            return list(self._steps)
        open_ones = [i for i, step in enumerate(self._steps) if self._state[step.hash] in ("", "running")]
        first = max(0, (open_ones[0] if open_ones else len(self._steps)) - LINES_ABOVE)
        return list(self._steps[first : first + rows])

    def _cells(self, step: "Step") -> "tuple[ProgressBar | str, str, Text]":
        state = self._state[step.hash]
        done, total, note = self._progress.get(step.hash, (0, None, ""))
        if state != "running":
            took = f"{self._took[step.hash]:,.0f} s" if step.hash in self._took and state == "finished" else ""
            return "", took, Text(note if state in ("failed", "skipped") else "")
        bar = ProgressBar(total=total, completed=done, width=20, pulse=total is None)
        return bar, f"{time.monotonic() - self._began[step.hash]:,.0f} s", Text(note)
