"""A study's folder: study.yaml, and a folder for each run, which is finished when it holds run.json."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langlift.errors import LangliftError
from langlift.files import locked, write_json
from langlift.studies.step import Step
from langlift.training.run_folder import RECIPE

RUNS, RUN, FAILED = "runs", "run.json", "failed.json"
SENTENCES = "sentences.jsonl"
"""Of a score run: tokens, characters and log-probability of each sentence."""


def is_done(runs: Path, step: Step) -> bool:
    """Whether a run is finished: run.json is there, whole, and tells of this run."""
    return (read_run(step.folder_in(runs)) or {}).get("hash") == step.hash


def place_anew(runs: Path, step: Step) -> None:
    """Tell a finished run its place among the axes, which may have become more since."""
    folder = step.folder_in(runs)
    if is_done(runs, step) and (content := read_run(folder)) is not None:
        now = content | {"cell": dict(step.cell), "published": step.published}
        if now != content:
            write_json(folder / RUN, now)


def read_run(folder: Path) -> dict[str, Any] | None:
    """What run.json says; None where there is none, or where a power cut damaged it."""
    return _read(folder / RUN)


def failure(runs: Path, step: Step) -> str | None:
    """Why a run failed last, in one line; None if it did not."""
    found = None if is_done(runs, step) else _read(step.folder_in(runs) / FAILED)
    return None if found is None else str(found.get("error"))


def write_failure(folder: Path, message: str, hint: str) -> None:
    """Say that a run failed, and why; the next try removes it."""
    write_json(folder / FAILED, {"error": message, "hint": hint})


def write_run(folder: Path, content: Mapping[str, Any]) -> None:
    """Finish a run: everything in its folder reaches the disk, then run.json, which vouches for it."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    write_json(folder / RUN, content)


def made_ready(folder: Path) -> None:
    """Empty a folder in which nothing that can be resumed stands; of others, only forget how they failed."""
    (folder / FAILED).unlink(missing_ok=True)
    if (folder / RECIPE).exists():
        return
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def held(folder: Path, what: str, wait: float = 0.0) -> Iterator[None]:
    """Keep other processes out of a folder. The lock goes when the process does, however it ends.

    Raises:
        LangliftError: another process still holds it after ``wait`` seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, f"{folder}: another process works on this {what}", wait):
        yield


def is_held(folder: Path) -> bool:
    """Whether a process works in a folder."""
    if not folder.exists():
        return False
    try:
        with held(folder, ""):
            return False
    except LangliftError:
        return True


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
