"""What the runner of studies adds to a plain loop: the same runs both ways, in one process, taking turns.

    python docs/examples/study_overhead.py [TURNS] [STUDY.yaml]

A turn is every run of the study (default: adapters of 60 steps, scores and topic classifiers, on the bundled data)
once by a plain loop that calls langlift's verbs, and once as ``study run`` does it, with reading, checking and
hashing of the study, locks, records and watching. Processor time is compared: other programs disturb it little.
Prints JSON: seconds of both in each turn, the median of the ratios (``overhead``), and, since equal runs differ by
some percent from turn to turn, what ``study run`` spent outside of the runs themselves (all of the above but
watching), beside the time in them (``outside``, median).
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
from langlift.studies.checking import check_data
from langlift.studies.execution import KINDS
from langlift.studies.folder import RUNS
from langlift.studies.planning import plan_study
from langlift.studies.running import run_study
from langlift.studies.study_file import read_study
from langlift.training.run_folder import METRICS, write_json

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
    """A loop over the verbs, which writes what they return and nothing else."""
    for step in plan_study(read_study(study)).steps:
        folder = out / RUNS / step.name
        folder.mkdir(parents=True)
        _, metrics = KINDS[step.kind](step, out / RUNS, folder)
        if metrics is not None:
            write_json(folder / METRICS, metrics)


@contextmanager
def timed_runs() -> Iterator[list[float]]:
    """Processor seconds of every run started inside this context."""
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
    """As ``langlift study run`` does it where there is no terminal."""
    plan = plan_study(read_study(study))
    check_data(plan)
    result = run_study(plan, out, Lines(len(plan.steps), 0))
    if result.failures:
        raise SystemExit(str(result.failures[0]))


def timed(way: Callable[[Path, Path], None], study: Path) -> tuple[float, float]:
    """Processor seconds, of everything and of the runs alone."""
    with TemporaryDirectory() as folder, timed_runs() as inside:
        started = time.process_time()
        way(study, Path(folder) / "out")
        return time.process_time() - started, sum(inside)


def main() -> None:
    """Take turns, after one turn that does not count."""
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
