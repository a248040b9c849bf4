"""Measure the overhead of the study runner compared with a plain loop over the same runs.

    python docs/examples/study_overhead.py [TURNS] [STUDY.yaml]

A turn executes every run of the study twice in one process: once in a plain loop that calls langlift's
functions, and once as ``study run`` does, including reading, checking and hashing of the study, locks, records
and monitoring. (The default study has adapters of 60 steps, scores and topic classifiers, on the bundled data.)
CPU time is compared, because other programs disturb it little. Prints JSON with the seconds of both in each turn
and the median of the ratios (``overhead``). Equal runs differ by a few percent between turns, so it also prints
the median of the time that ``study run`` spends outside the runs (all of the above except monitoring), relative
to the time in them (``outside``).
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from langlift.cli.study_display import Lines
from langlift.files import write_json
from langlift.studies.checking import check_data
from langlift.studies.execution import KINDS
from langlift.studies.folder import RUNS
from langlift.studies.planning import plan_study
from langlift.studies.running import run_study
from langlift.studies.study_file import read_study
from langlift.training.run_folder import METRICS

DEFAULT = """
base: langlift-nano
languages: mlt
data: {text: "bundled:mlt_Latn.txt"}
axes: {method: [seq_bn, lora], seed: 1}
score: {text: text, sentences: 10}
tasks: {topic: "bundled:mlt_Latn_topic"}
adapt: {steps: 60}
task: {epochs: 2}
"""


def plain(study: Path, out: Path) -> None:
    """Run the functions in a loop and write only their results."""
    for step in plan_study(read_study(study)).steps:
        folder = out / RUNS / step.name
        folder.mkdir(parents=True)
        _, metrics = KINDS[step.kind](step, out / RUNS, folder)
        if metrics is not None:
            write_json(folder / METRICS, metrics)


@contextmanager
def timed_runs() -> Iterator[list[float]]:
    """CPU seconds of every run started inside this context."""
    originals, seconds = dict(KINDS), []

    def timing(kind: str) -> Callable[..., Any]:
        def run(*arguments: Any, **more: Any) -> Any:
            started = time.process_time()
            try:
                return originals[kind](*arguments, **more)
            finally:
                seconds.append(time.process_time() - started)

        return run

    KINDS.update({kind: timing(kind) for kind in originals})
    try:
        yield seconds
    finally:
        KINDS.update(originals)


def by_runner(study: Path, out: Path) -> None:
    """Run the study as ``langlift study run`` does without a terminal."""
    plan = plan_study(read_study(study))
    check_data(plan)
    result = run_study(plan, out, Lines(len(plan.steps), 0))
    if result.failures:
        raise SystemExit(str(result.failures[0]))


def timed(way: Callable[[Path, Path], None], study: Path) -> tuple[float, float]:
    """CPU seconds: in total, and of the runs alone."""
    with TemporaryDirectory() as folder, timed_runs() as inside:
        started = time.process_time()
        way(study, Path(folder) / "out")
        return time.process_time() - started, sum(inside)


def main() -> None:
    """Run both ways in turn, after one warm-up turn."""
    with TemporaryDirectory() as folder:
        study = Path(folder) / "study.yaml"
        study.write_text(DEFAULT, encoding="utf-8")
        turns = int(sys.argv[1]) if len(sys.argv) > 1 else 5
        if len(sys.argv) > 2:
            study = Path(sys.argv[2])
        timed(plain, study)
        seconds, outside = [], []
        for turn in range(turns):
            order = (plain, by_runner) if turn % 2 == 0 else (by_runner, plain)
            found = {way.__name__: timed(way, study) for way in order}
            seconds.append({name: total for name, (total, _) in found.items()})
            total, inside = found["by_runner"]
            outside.append((total - inside) / inside)
        overhead = median(one["by_runner"] / one["plain"] for one in seconds) - 1
        print(json.dumps({"seconds": seconds, "overhead": overhead, "outside": median(outside)}))  # noqa: T201


if __name__ == "__main__":
    main()
