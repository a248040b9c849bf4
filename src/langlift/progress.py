"""Progress on stderr: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from langlift.errors import printable

if TYPE_CHECKING:
    from rich.progress import Progress

SECONDS_BETWEEN_LINES = 10.0

Listener = Callable[[str, int, int | None, str], None]
"""(title, units done, total units, note) -> None."""
_listener: Listener | None = None


@contextmanager
def progress_to(listener: Listener) -> Iterator[None]:
    """Within this context, progress is sent to ``listener`` instead of stderr, and messages are dropped."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


class ProgressBar:
    """Context manager that shows the progress of ``total`` units of work; ``note`` is free text such as the loss.

    If the total is unknown (None), the rate is shown instead of the remaining time, which is estimated from what
    is done after the first report: before it, work such as the first validation takes time of its own.
    """

    def __init__(self, title: str, total: int | None, unit: str = "steps", done: int = 0) -> None:
        self._title, self._total, self._unit, self._done = title, total, unit, done
        self._note = ""
        self._printed: int | None = None
        self._timed: tuple[int, float] | None = None  # units and time at the first report
        self._started = self._last_line = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> "ProgressBar":
        if sys.stderr.isatty() and _listener is None:
            # Imported here because rich is slow to import and every command imports this module.
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(elapsed_when_finished=True),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(self._title, total=self._total, completed=self._done, note="")
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif kind is None and not quiet() and self._printed != self._done and time.monotonic() - self._started > 2:
            self._print_line()

    def advance(self, units: int = 1, note: str | None = None) -> None:
        """Report that ``units`` more are done, and set the note."""
        self._done += units
        self._timed = self._timed or (self._done, time.monotonic())
        if note is not None:
            self._note = note
        if _listener is not None:
            _listener(self._title, self._done, self._total, self._note)
        elif self._bar is not None:
            self._bar.update(self._task, completed=self._done, note=self._note)
        elif time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._print_line()

    def _print_line(self) -> None:
        self._printed, self._last_line = self._done, time.monotonic()
        elapsed = self._last_line - self._started
        note = f"  {self._note}" if self._note else ""
        if self._total is None:
            done, rest = f"{self._done:,}", f"{self._done / max(elapsed, 1e-9):,.0f} {self._unit}/s"
        else:
            first, since = self._timed or (self._done, self._last_line)
            each = (self._last_line - since) / (self._done - first) if self._done > first else float("nan")
            left = self._total - self._done
            remaining = left * each if left else 0.0
            done, rest = f"{self._done}/{self._total}", f"{readable_seconds(remaining)} remaining"
        print(  # noqa: T201
            f"{self._title}: {done} {self._unit}{note}  {readable_seconds(elapsed)} elapsed, {rest}",
            file=sys.stderr,
            flush=True,
        )


def readable_seconds(seconds: float) -> str:
    """``75.2`` -> ``1 min 15 s``."""
    if seconds != seconds:
        return "unknown time"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def quiet() -> bool:
    """Whether messages are dropped."""
    return _listener is not None


def say(text: str) -> None:
    """Print a message on stderr, such as a choice that a run made automatically."""
    if not quiet():
        print(printable(text), file=sys.stderr, flush=True)  # noqa: T201
