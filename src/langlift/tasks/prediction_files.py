"""Label a file row by row, as TSV, JSON lines or one word per line."""

import csv
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, tee
from pathlib import Path
from typing import TextIO

from langlift.errors import InputError, LangliftError
from langlift.progress import ProgressBar
from langlift.tasks.input_rows import STANDARD
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


def label_file(trained: TrainedTask, text: Path, out: Path) -> PredictResult:
    """Label the rows of ``text``, and write each to ``out``: its own columns, then the prediction.

    Until all are written, and after a failure, the rows are in ``out.partial``.

    Raises:
        InputError: ``text`` is empty or damaged, or ``out`` has an unknown format, or not one of this task.
        LangliftError: ``out`` cannot be written.
    """
    started, learner = time.monotonic(), trained.task.learner
    counts = dict.fromkeys(learner.counted(trained.labels), 0)
    source = learner.read_inputs(text)
    first = next(source, None)
    if first is None:
        raise InputError(f"{text}: no text to label", "give a file with one sentence a line")
    rows, inputs = tee(chain([first], source))
    number = 0
    with _opened(out, trained) as stream, ProgressBar("labelling", None, "rows") as bar:
        table = csv.writer(stream, delimiter="\t", lineterminator="\n")
        answers = trained(put_in for _, put_in in inputs)
        for number, ((row, _), answer) in enumerate(zip(rows, answers, strict=True), start=1):
            for name in answer.counted:
                counts[name] += 1
            if out.suffix == TSV:
                cells = answer.cells()
                if number == 1:
                    table.writerow([*row, *cells])
                table.writerow([*row.values(), *cells.values()])
            elif out.suffix == JSON or out == STANDARD:
                stream.write(json.dumps({**row, **answer.record()}, ensure_ascii=False) + "\n")
            else:
                stream.writelines(f"{line}\n" for line in [*answer.lines(), ""])
            bar.advance()
    seconds = time.monotonic() - started
    return PredictResult(
        task=trained.task.name,
        run=str(trained.folder),
        labels=trained.labels,
        rows=number,
        counts=counts,
        seconds=round(seconds, 2),
        rows_per_second=round(number / max(seconds, 1e-9), 1),
        out=str(out),
    )


@contextmanager
def _opened(target: Path, trained: TrainedTask) -> Iterator[TextIO]:
    if target == STANDARD:
        yield sys.stdout
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
            yield stream
        partial.replace(target)
    except OSError as error:
        raise LangliftError(
            f"{target}: cannot be written ({error.strerror})", "check free space and permissions"
        ) from error
