"""What a study's folder holds: finished runs, each described by its ``run.json``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langlift.errors import InputError
from langlift.studies.folder import RUN, RUNS
from langlift.studies.study_file import STUDY


@dataclass(frozen=True)
class StudyRun:
    """One finished run.

    ``kind`` is the verb (adapt, score, task, ...). ``cell`` says what was run: language, base, method, data,
    objective, task, metric, seed, and any other axis by its setting's name. ``result`` holds ``value``, the
    headline number, and ``before``, the same without adaptation where it is known; ``cost`` holds tokens,
    flops, seconds and peak_memory_bytes as far as they are known. ``needs`` are the hashes of the runs it
    builds on; ``published`` says whether published behaviour was on, None where that was no question.
    """

    folder: Path
    kind: str
    name: str
    hash: str
    cell: Mapping[str, Any]
    needs: tuple[str, ...]
    result: Mapping[str, Any]
    cost: Mapping[str, float]
    published: bool | None = None

    @property
    def value(self) -> float | None:
        """The headline number."""
        value = self.result.get("value")
        return None if value is None else float(value)


def is_study(folder: Path) -> bool:
    """Whether a folder holds a study."""
    return (folder / RUNS).is_dir() and ((folder / STUDY).exists() or any(folder.glob(f"{RUNS}/*/{RUN}")))


def read_study(folder: Path) -> tuple[list[StudyRun], list[str]]:
    """The finished runs of a study, by name, and the names of the folders that are not finished.

    Raises:
        InputError: a ``run.json`` is damaged; all are named.
    """
    finished, unfinished, mistakes = [], [], []
    for run in sorted(path for path in (folder / RUNS).iterdir() if path.is_dir() and path.name[0] != "."):
        if not (run / RUN).exists():
            unfinished.append(run.name)
            continue
        try:
            finished.append(read_run(run))
        except InputError as error:
            mistakes.append(error.message)
    if mistakes:
        raise InputError("; ".join(mistakes), "delete these run folders and run the study again")
    return finished, unfinished


def read_run(folder: Path) -> StudyRun:
    """One finished run of a study.

    Raises:
        InputError: its ``run.json`` is damaged or lacks an entry.
    """
    path = folder / RUN
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return StudyRun(
            folder=folder,
            kind=content["kind"],
            name=content["name"],
            hash=content["hash"],
            cell=dict(content["cell"]),
            needs=tuple(content.get("needs") or ()),
            result=dict(content["result"]),
            cost=dict(content.get("cost") or {}),
            published=content.get("published"),
        )
    except KeyError as error:
        raise InputError(f"{path}: lacks the entry {error}", "run the study again") from None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error})", "run the study again") from None
