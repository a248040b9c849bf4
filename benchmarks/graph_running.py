"""``langlift bench graph``: all languages of a generated dump, beside a plain loop in Python; outputs compared."""

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.graph_dump import write_dump
from langlift.data_folder import SPLITS
from langlift.errors import LangliftError
from langlift.graph.conceptnet import language_of_code
from langlift.progress import ProgressBar

HERE = Path(__file__).parent
SIDES = ("plain", "one_thread", "two_threads")


@dataclass(frozen=True)
class GraphBench:
    """Seconds of the plain loop, and of ours kept to one core and to two; each in a process of its own.

    A ratio is the loop's seconds over ours: ``ratio`` with one thread, ``ratio_processor_time`` the same in
    processor time, which holds on a busy machine too. ``peak_memory_bytes`` is the larger of ours.
    Both sides wrote the same sentences (too small languages left out), or there would be no result; ours
    also splits, hashes and writes manifests.
    """

    rows: int
    seed: int
    sentences: int
    damaged: int
    languages: int
    ratio: float
    ratio_two_threads: float
    ratio_processor_time: float
    seconds: dict[str, float]
    processor_seconds: dict[str, float]
    rows_per_second: dict[str, float]
    peak_memory_bytes: int
    plain_peak_memory_bytes: int


def bench_graph(rows: int = 2_000_000, seed: int = 0) -> GraphBench:
    """Generate a dump of ``rows`` rows in a temporary folder, convert it on each side, and compare.

    Raises:
        LangliftError: a side failed, or the sides wrote different sentences.
    """
    with (
        TemporaryDirectory(prefix="langlift-bench-") as name,
        ProgressBar("bench graph", 2 + len(SIDES), "steps") as progress,
    ):
        folder = Path(name)
        dump = folder / "dump.tsv"
        write_dump(dump, rows, seed)
        progress.advance(note="dump generated")
        predicates = str(files("langlift.graph") / "predicates.csv")
        plain = [str(HERE / "graph_plain.py"), str(dump), predicates, str(folder / "plain")]
        ours = [str(HERE / "graph_side.py"), str(dump)]
        commands = {
            "plain": plain,
            "one_thread": [*ours, str(folder / "one_thread"), "1"],
            "two_threads": [*ours, str(folder / "two_threads"), "2"],
        }
        answers = {}
        for side in SIDES:
            answers[side] = _run(side, commands[side])
            progress.advance(note=side.replace("_", " "))
        left_out = set(answers["one_thread"]["left_out"])
        plain_files = (folder / "plain").glob("*.jsonl")
        expected = _digest(
            path for path in plain_files if not {path.stem, str(language_of_code(path.stem))} & left_out
        )
        for side in SIDES[1:]:
            found = _digest(path for split in SPLITS for path in (folder / side).glob(f"*/{split}.jsonl"))
            if found != expected or answers[side]["damaged"] != answers["plain"]["damaged"]:
                raise LangliftError(
                    f"the sides wrote different sentences: {expected[0]:,} plain, {found[0]:,} with {side}",
                    "please report it, with --rows and --seed",
                )
        progress.advance(note="compared")
        languages = sum(path.is_dir() for path in (folder / "one_thread").iterdir())
    seconds = {side: float(answers[side]["seconds"]) for side in SIDES}
    busy = {side: float(answers[side]["processor_seconds"]) for side in SIDES}
    return GraphBench(
        rows=rows,
        seed=seed,
        sentences=expected[0],
        damaged=answers["plain"]["damaged"],
        languages=languages,
        ratio=seconds["plain"] / seconds["one_thread"],
        ratio_two_threads=seconds["plain"] / seconds["two_threads"],
        ratio_processor_time=busy["plain"] / busy["one_thread"],
        seconds=seconds,
        processor_seconds=busy,
        rows_per_second={side: rows / seconds[side] for side in SIDES},
        peak_memory_bytes=max(answers[side]["peak_memory_bytes"] for side in SIDES[1:]),
        plain_peak_memory_bytes=answers["plain"]["peak_memory_bytes"],
    )


def _run(side: str, command: list[str]) -> dict[str, Any]:
    """Run a side; its last line of stdout is its answer."""
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise LangliftError(f"the side {side.replace('_', ' ')} failed: {reason}", "see the message")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _digest(paths: Iterable[Path]) -> tuple[int, int]:
    """How many lines files have, and a sum over their hashes: the same in whatever order they stand."""
    count = total = 0
    for path in paths:
        with path.open("rb") as file:
            for line in file:
                count += 1
                total += int.from_bytes(blake2b(line, digest_size=8).digest(), "big")
    return count, total
