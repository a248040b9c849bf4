"""Write predictions row by row: as TSV, JSON lines or one word per line."""

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
from langlift.tasks.learner import Answer, Row
from langlift.tasks.prediction import TrainedTask

TSV, JSON = ".tsv", ".jsonl"


@dataclass(frozen=True)
class PredictResult:
    """The result of ``langlift predict``: ``run`` is the folder of the seed used.

    ``counts``: rows by predicted label; words, if words are labelled; for named entities, entities by type.
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
    """Writes labelled rows in one format: the columns of the input, then the predictions."""

    def __init__(self, stream: TextIO, ending: str, counted: list[str]) -> None:
        self._stream, self._ending = stream, ending
        self._table: Any = None
        self.rows = 0
        self.counts = dict.fromkeys(counted, 0)

    def write(self, row: Row, prediction: Answer) -> None:
        """Append one row."""
        self.rows += 1
        for name in prediction.counted:
            self.counts[name] += 1
        if self._ending == JSON:
            self._stream.write(json.dumps({**row, **prediction.record()}, ensure_ascii=False) + "\n")
        elif self._ending != TSV:
            self._stream.writelines(f"{line}\n" for line in [*prediction.lines(), ""])
        else:
            cells = prediction.cells()
            if self._table is None:
                self._table = csv.writer(self._stream, delimiter="\t", lineterminator="\n")
                self._table.writerow([*row, *cells])
            self._table.writerow([*row.values(), *cells.values()])


@contextmanager
def open_predictions(target: Path, trained: TrainedTask) -> Iterator[PredictionWriter]:
    """Write to ``target``; until all is written, and after a failure, the rows are in ``target.partial``.

    Raises:
        InputError: an unknown format, or not one of this task.
        LangliftError: it cannot be written.
    """
    counted = trained.task.learner.counted(trained.labels)
    if target == STANDARD:
        yield PredictionWriter(sys.stdout, JSON, counted)
        return
    endings = [ending for ending in (TSV, JSON, trained.task.word_file) if ending]
    if target.suffix not in endings:
        raise InputError(
            f"{target}: predictions are written as {' or '.join(endings)}", "give the file one of these endings"
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
