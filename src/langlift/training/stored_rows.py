"""Rows of token ids on disk, for corpora that are larger than memory."""

import os
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from weakref import finalize

import numpy as np
import numpy.typing as npt

from langlift.files import writing
from langlift.training.encoding import EncodedRow, Positions


class StoredRows(Sequence[EncodedRow]):
    """Rows in a file without a name, which is gone when it is closed or the process ends, however it ends.

    A token takes the bytes of the smallest unsigned integer that holds the ``largest_id``, and 4 more
    ``with_words``. A row takes 8 bytes of memory, and more only if it has arguments. Rows are read, not mapped, so
    that the file never counts as memory of this process. ``folder`` is a folder on the disk to use (default: the
    system's for temporary files).
    """

    def __init__(self, largest_id: int, with_words: bool = False, folder: Path | None = None) -> None:
        columns: list[Any] = [("ids", np.min_scalar_type(largest_id))]
        self._token = np.dtype([*columns, ("words", np.int32)] if with_words else columns)
        self._with_words, self._place = with_words, folder or Path("temporary file")
        self._ends, self._arguments = array("q", [0]), dict[int, tuple[Positions, ...]]()
        with writing(self._place):
            self._file = TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        self.close = finalize(self, self._file.close)

    def extend(self, rows: Iterable[EncodedRow]) -> None:
        """Append rows, one after another.

        Raises:
            LangliftError: the disk is full.
        """
        with writing(self._place), open(self._file.fileno(), "ab", closefd=False) as file:
            for row in rows:
                tokens = np.empty(len(row.ids), self._token)
                tokens["ids"] = row.ids
                if self._with_words:
                    tokens["words"] = row.words
                file.write(tokens.tobytes())
                if row.arguments:
                    self._arguments[len(self)] = row.arguments
                self._ends.append(self._ends[-1] + len(tokens))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The number of tokens of each row, int64 [rows]."""
        ends = np.frombuffer(self._ends, dtype=np.int64)
        return ends[1:] - ends[:-1]

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, number: int) -> EncodedRow:  # type: ignore[override]  # no slices
        if not 0 <= number < len(self):
            raise IndexError(number)
        begin, end = (self._ends[n] * self._token.itemsize for n in (number, number + 1))
        tokens = np.frombuffer(os.pread(self._file.fileno(), end - begin, begin), self._token)
        words = tokens["words"].astype(np.int64) if self._with_words else None
        return EncodedRow(tokens["ids"].astype(np.int64), words, self._arguments.get(number, ()))


def disk_of(out: Path) -> Path | None:
    """The nearest folder above ``out`` that can be written in, for rows; None if there is none."""
    above = out.absolute().parents
    return next((folder for folder in above if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)), None)
