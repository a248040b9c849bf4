"""Labelled text as files: TSV, JSON lines or a word a line, written row by row."""

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from langlift.errors import InputError, LangliftError
from langlift.tasks.input_rows import STANDARD
from langlift.tasks.learner import Label, Row
from langlift.tasks.prediction import TrainedTask

TSV, JSON = ".tsv", ".jsonl"


@dataclass(frozen=True)
class PredictResult:
    """What ``langlift predict`` did: ``run`` is the seed's folder used.

    ``counts`` are rows by predicted label; where words have labels, words; of named entities, entities by type.
    """

    task: str
    run: str
    labels: list[str]
    rows: int
    counts: dict[str, int]
    seconds: float
    rows_per_second: float
    out: str


class PredictionWriter:
    """Writes labelled rows in one of the forms: the columns of the input come first, then what was predicted."""

    def __init__(self, stream: TextIO, form: str, counted: list[str]) -> None:
        self._stream, self._form = stream, form
        self._table: Any = None
        self.rows = 0
        self.counts = dict.fromkeys(counted, 0)

    def write(self, row: Row, prediction: Label) -> None:
        """Append one row."""
        self.rows += 1
        for name in prediction.counted:
            self.counts[name] += 1
        if self._form == JSON:
            self._stream.write(json.dumps({**row, **prediction.record()}, ensure_ascii=False) + "\n")
        elif self._form != TSV:
            self._stream.writelines(f"{line}\n" for line in [*prediction.lines(), ""])
        else:
            cells = prediction.cells()
            if self._table is None:
                self._table = csv.writer(self._stream, delimiter="\t", lineterminator="\n")
                self._table.writerow([*row, *cells])
            self._table.writerow([*row.values(), *cells.values()])


@contextmanager
def open_predictions(target: Path, trained: TrainedTask) -> Iterator[PredictionWriter]:
    """Write to ``target``; until all is done the rows are in ``target.partial``, which a failure leaves behind.

    Raises:
        InputError: no such form, or not for this task.
        LangliftError: it cannot be written.
    """
    counted = trained.task.learner.counted(trained.labels)
    if target == STANDARD:
        yield PredictionWriter(sys.stdout, JSON, counted)
        return
    forms = (TSV, JSON, *([trained.task.word_file] if trained.task.word_file else []))
    if target.suffix not in forms:
        raise InputError(
            f"{target}: predictions are written as {' or '.join(forms)}", "end the name in one of these"
        )
    partial = target.with_name(f"{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8", newline="") as stream:
            yield PredictionWriter(stream, target.suffix, counted)
        partial.replace(target)
    except OSError as error:
        raise LangliftError(
            f"{target}: cannot be written ({error.strerror})", "check free space and permissions"
        ) from error
