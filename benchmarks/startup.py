"""``langlift bench startup``: how long the command line takes to answer, and the package to import."""

import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from statistics import median

from langlift.errors import LangliftError
from langlift.progress import ProgressBar

PROGRAMS = {"help": ("-m", "langlift", "--help"), "import": ("-c", "import langlift")}


@dataclass(frozen=True)
class StartupBench:
    """Seconds by the clock from the start of a new Python to its end, medians and each run.

    ``help`` is ``langlift --help``, ``import`` is ``import langlift``; the two take turns, after one of each
    that is not counted. Python's own start is a part of both. Processor time, medians
    too, holds on a busy machine.
    """

    runs: int
    help_seconds: float
    import_seconds: float
    help_processor_seconds: float
    import_processor_seconds: float
    seconds: dict[str, list[float]]
    processor_seconds: dict[str, list[float]]


def bench_startup(runs: int = 10) -> StartupBench:
    """Start each program ``runs`` times in a process of its own.

    Raises:
        LangliftError: a program failed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    processor: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    with ProgressBar("bench startup", runs + 1, "turns") as progress:
        for turn in range(runs + 1):
            for name, arguments in PROGRAMS.items():
                taken, computed = _seconds(arguments)
                if turn:
                    seconds[name].append(round(taken, 4))
                    processor[name].append(round(computed, 4))
            progress.advance(1)
    return StartupBench(
        runs=runs,
        help_seconds=round(median(seconds["help"]), 3),
        import_seconds=round(median(seconds["import"]), 3),
        help_processor_seconds=round(median(processor["help"]), 3),
        import_processor_seconds=round(median(processor["import"]), 3),
        seconds=seconds,
        processor_seconds=processor,
    )


def _seconds(arguments: tuple[str, ...]) -> tuple[float, float]:
    """By the clock, and of the processor."""
    computed, started = _processor_seconds(), time.perf_counter()
    run = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    taken = time.perf_counter() - started
    if run.returncode:
        said = (run.stderr.strip().splitlines() or ["no message"])[-1]
        raise LangliftError(f"python {' '.join(arguments)} failed: {said}", "run it by itself to see why")
    return taken, _processor_seconds() - computed


def _processor_seconds() -> float:
    """Of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
