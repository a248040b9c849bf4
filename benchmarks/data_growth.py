"""How cleaning a corpus, building graphs and planning a study grow with their size."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.graph_dump import write_dump
from benchmarks.growth import slope
from langlift.errors import LangliftError
from langlift.files import write_json
from langlift.progress import ProgressBar, say
from langlift.studies.folder import RUN, RUNS
from langlift.studies.planning import plan_study
from langlift.studies.running import status_of
from langlift.studies.study_file import read_study

SIZES: dict[str, tuple[int, ...]] = {
    "corpus": (10, 30, 100, 300, 1000),
    "graph": (100_000, 1_000_000, 10_000_000, 34_000_000),
    "study": (100, 1000, 10_000),
}
"""Megabytes of text; rows of a dump, up to ConceptNet 5.7's; runs of a study."""
STUDY_FILE = """
base: langlift-nano
languages: mlt
data: {{text: "bundled:mlt_Latn.txt"}}
axes: {{method: [seq_bn, lora], seed: {seeds}}}
score: {{text: text, sentences: 10}}
"""


@dataclass(frozen=True)
class DataGrowthBench:
    """Seconds and peak memory, in bytes, by what grows and its size.

    ``slopes`` are those of the logarithms of seconds, by least squares, from the second size on: the first is
    mostly start-up. A study is planned, and its status read when every run is finished, in one process, whose
    memory is not measured.
    """

    seconds: dict[str, dict[int, float]]
    peak_memory_bytes: dict[str, dict[int, int]]
    slopes: dict[str, float]


def bench_data_growth(what: list[str], largest: int | None = None) -> DataGrowthBench:
    """Measure each size of some of ``SIZES``, up to ``largest``; files are generated in a temporary folder.

    Raises:
        LangliftError: a command failed.
    """
    measures: dict[str, Callable[[Path, int], dict[str, tuple[float, int]]]] = {
        "corpus": _corpus,
        "graph": _graph,
        "study": _study,
    }
    seconds: dict[str, dict[int, float]] = {}
    memory: dict[str, dict[int, int]] = {}
    sizes = {name: [size for size in SIZES[name] if size <= (largest or size)] for name in what}
    with ProgressBar("bench data-growth", sum(map(len, sizes.values())), "sizes") as bar:
        for name, values in sizes.items():
            for size in values:
                say(f"bench data-growth: {name}, {size:,}")
                with TemporaryDirectory(prefix="langlift-bench-") as folder:
                    for label, (taken, peak) in measures[name](Path(folder), size).items():
                        seconds.setdefault(label, {})[size] = taken
                        if peak:
                            memory.setdefault(label, {})[size] = peak
                bar.advance()
    slopes = {label: slope(dict(list(found.items())[1:])) for label, found in seconds.items() if len(found) > 2}
    return DataGrowthBench(seconds, memory, slopes)


def _corpus(folder: Path, megabytes: int) -> dict[str, tuple[float, int]]:
    """Cleaning, filters, both deduplications and splits of random words."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnoprstuwxz", k=2 + n % 9)) for n in range(20_000)]
    text, size = folder / "text.txt", 0
    with text.open("w", encoding="utf-8") as file:
        while size < megabytes * 10**6:
            line = " ".join(draw.choices(words, k=30)) + ".\n"
            size += file.write(line)
    return {"corpus": _command("corpus", "build", "mlt", "--source", f"file:{text}", "--out", folder / "built")}


def _graph(folder: Path, rows: int) -> dict[str, tuple[float, int]]:
    """All languages of a dump, with the default number of threads."""
    dump = folder / "dump.tsv"
    write_dump(dump, rows)
    return {
        "graph": _command("graph", "build", "all", "--source", f"conceptnet:{dump}", "--out", folder / "built")
    }


def _study(folder: Path, runs: int) -> dict[str, tuple[float, int]]:
    """Planning a study of about so many runs, and reading its status."""
    path = folder / "study.yaml"
    path.write_text(STUDY_FILE.format(seeds=list(range(1, runs // 4 + 1))), encoding="utf-8")
    started = time.perf_counter()
    plan = plan_study(read_study(path))
    planned = time.perf_counter() - started
    for step in plan.steps:
        run = step.folder_in(folder / RUNS)
        run.mkdir(parents=True)
        own = {"name": step.name, "hash": step.hash, "kind": step.kind, "cell": dict(step.cell)}
        write_json(run / RUN, {**own, "result": {"value": 1.0}})
    started = time.perf_counter()
    status_of(plan, folder)
    return {"planning": (planned, 0), "status": (time.perf_counter() - started, 0)}


def _command(*arguments: str | Path) -> tuple[float, int]:
    """Seconds and peak memory of a command of langlift, in a process of its own."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "langlift", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LangliftError(f"langlift {arguments[0]} {arguments[1]} failed: {done.stderr.strip()[-300:]}")
    taken = time.perf_counter() - started
    return taken, int(json.loads(done.stdout.splitlines()[-1])["peak_memory_bytes"])
