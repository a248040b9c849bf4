"""Texts to label, and labelled texts, as files: plain lines or TSV in, TSV or JSON lines out, row by row."""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from langlift.errors import InputError, LangliftError
from langlift.tasks.prediction import Prediction

STANDARD = Path("-")
"""Names standard input or output."""
TEXT = "text"
ADDED = ("predicted", "probability", "probabilities")
"""Columns that predictions add."""

Row = dict[str, str]


@dataclass(frozen=True)
class PredictResult:
    """What ``langlift predict`` did: ``counts`` are rows by predicted label, ``run`` the seed's folder used."""

    task: str
    run: str
    labels: list[str]
    rows: int
    counts: dict[str, int]
    seconds: float
    rows_per_second: float
    out: str


def read_rows(source: Path) -> Iterator[Row]:
    """The rows of a file, one at a time: of ``.tsv`` its columns (``text`` among them), else a ``text`` each line.

    Blank lines are passed over. TSV fields are quoted as in CSV where needed.

    Raises:
        InputError: the file is missing, is not UTF-8, holds a NUL byte, or a row is damaged; the line is named.
    """
    lines = _lines(source)
    if source.suffix.lower() in (".csv", ".json", ".jsonl"):
        raise InputError(f"{source}: not a kind of file that can be labelled", "give plain text lines or .tsv")
    if source.suffix.lower() != ".tsv":
        yield from ({TEXT: line.strip()} for line in lines if line.strip())
        return
    reader = csv.reader(lines, delimiter="\t", strict=True)
    try:
        header = next(reader, [])
        if TEXT not in header:
            raise InputError(
                f"{source}:1: no column '{TEXT}' (found: {', '.join(header) or 'nothing'})",
                "the first line must name the columns; a plain file of sentences should end in .txt",
            )
        if repeated := next((name for name in header if header.count(name) > 1 or name in ADDED), None):
            raise InputError(f"{source}:1: the column '{repeated}' stands twice or is ours", "rename or drop it")
        text = header.index(TEXT)
        for row in reader:
            if not row or row == [""]:
                continue
            if len(row) != len(header):
                raise InputError(
                    f"{source}:{reader.line_num}: {len(row)} fields, the header has {len(header)}", "mend the row"
                )
            if not row[text].strip():
                raise InputError(f"{source}:{reader.line_num}: empty {TEXT}", "fill it in or delete the row")
            yield dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise InputError(
            f"{source}:{reader.line_num}: {error}", "fields with quotes or tabs need CSV quoting"
        ) from None


def _lines(source: Path) -> Iterator[str]:
    """The lines of a UTF-8 file with their ends, decoded one by one so that any length is taken."""
    try:
        with sys.stdin.buffer if source == STANDARD else source.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                try:
                    line = raw.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise InputError(
                        f"{source}:{number}: not valid UTF-8 (byte 0x{raw[error.start]:02x})", "save it as UTF-8"
                    ) from None
                if "\x00" in line:
                    raise InputError(f"{source}:{number}: a NUL byte", "the file is not plain text")
                yield line.removeprefix("\ufeff") if number == 1 else line
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror})", "check the path given") from None


class PredictionWriter:
    """Writes labelled rows: JSON lines for ``.jsonl`` and standard output, else TSV.

    The columns of the input come first, then ``predicted``, ``probability`` (of that label) and
    ``probability_NAME`` for each label (JSON: ``probabilities``).
    """

    def __init__(self, stream: TextIO, as_json: bool, labels: Sequence[str]) -> None:
        self._stream, self._as_json, self._labels = stream, as_json, labels
        self._table: Any = None
        self.counts = dict.fromkeys(labels, 0)

    def write(self, row: Row, prediction: Prediction) -> None:
        """Append one row."""
        self.counts[prediction.label] += 1
        best = prediction.probabilities[prediction.label]
        if self._as_json:
            content = {
                **row,
                "predicted": prediction.label,
                "probability": round(best, 6),
                "probabilities": {label: round(p, 6) for label, p in prediction.probabilities.items()},
            }
            self._stream.write(json.dumps(content, ensure_ascii=False) + "\n")
            return
        if self._table is None:
            self._table = csv.writer(self._stream, delimiter="\t", lineterminator="\n")
            names = [f"probability_{label}" for label in self._labels]
            self._table.writerow([*row, "predicted", "probability", *names])
        shares = [f"{prediction.probabilities[label]:.6f}" for label in self._labels]
        self._table.writerow([*row.values(), prediction.label, f"{best:.6f}", *shares])


@contextmanager
def open_predictions(target: Path, labels: Sequence[str]) -> Iterator[PredictionWriter]:
    """Write to ``target``; until all is done the rows are in ``target.partial``, which a failure leaves behind.

    Raises:
        LangliftError: it cannot be written.
    """
    if target == STANDARD:
        yield PredictionWriter(sys.stdout, True, labels)
        return
    if target.suffix not in (".tsv", ".jsonl"):
        raise InputError(f"{target}: predictions are written as .tsv or .jsonl", "end the name in one of these")
    partial = target.with_name(f"{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8", newline="") as stream:
            yield PredictionWriter(stream, target.suffix == ".jsonl", labels)
        partial.replace(target)
    except OSError as error:
        raise LangliftError(
            f"{target}: cannot be written ({error.strerror})", "check free space and permissions"
        ) from error
