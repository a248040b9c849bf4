"""The leak check: lines that contain sentences of evaluation sets are removed from training text.

Only letters, digits and marks are compared, without case; all other characters separate words, so tokenised
sentences (``Il- qattus``) match running text (``Il-qattus``). A line leaks if it equals an evaluation sentence,
contains one of at least six words, or shares an eight-word sequence with one.
"""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from langlift.corpus.cleaning import clean_line
from langlift.corpus.fingerprints import Lines, as_arrays, fingerprint, windows
from langlift.corpus.tables import fields_of
from langlift.corpus.text_files import json_lines, read_raw_lines
from langlift.data_folder import SAMPLE
from langlift.errors import InputError
from langlift.files import files_in

CONTAINED = 6
SHARED = 8
TREEBANK_TEXT = "# text ="
LANGUAGE_PREFIX = re.compile(r"[a-z]{2,3}(?:-[a-z]{2,})?:(.+)")
"""A word with its language before it, as in WikiANN: ``mt:qattus``."""


class HashTable:
    """64-bit hashes and the index of the file of each, for looking up many at once."""

    BITS = 22

    def __init__(self, hashes: np.ndarray, files: np.ndarray) -> None:
        self._hashes, first = np.unique(hashes, return_index=True)
        self._files = files[first]
        self._prefixes = np.zeros(1 << self.BITS, dtype=np.bool_)
        self._prefixes[self._hashes >> np.uint64(64 - self.BITS)] = True

    def find(self, hashes: np.ndarray) -> np.ndarray:
        """The file of each hash; -1 for unknown ones."""
        found = np.full(len(hashes), -1, dtype=np.int64)
        candidates = np.flatnonzero(self._prefixes[hashes >> np.uint64(64 - self.BITS)])
        if len(candidates) and len(self._hashes):
            places = np.minimum(np.searchsorted(self._hashes, hashes[candidates]), len(self._hashes) - 1)
            same = self._hashes[places] == hashes[candidates]
            found[candidates[same]] = self._files[places[same]]
        return found


@dataclass(frozen=True)
class EvaluationSets:
    """Evaluation sentences as hashes; ``sequences`` maps a number of units to the sequences of that length.

    ``skipped`` are the files of unsupported kinds in the folders given; ``sentences`` is the total of all files.
    """

    files: list[Path]
    skipped: list[Path]
    sentences: int
    script: str
    lines: HashTable
    sequences: dict[int, HashTable]

    def described(self) -> dict[str, Any]:
        """The sets, for the manifest."""
        return {
            "files": [str(file) for file in self.files],
            "sentences": self.sentences,
            "skipped": len(self.skipped),
            "skipped_files": [str(file) for file in self.skipped[:SAMPLE]],
        }

    def leaks(self, lines: Lines) -> np.ndarray:
        """For each line of a batch, the index in ``files`` of the file that it leaks from; -1 for none."""
        prints = fingerprint(lines, self.script, split_at_punctuation=True)
        found = np.where(prints.lines == 0, -1, self.lines.find(prints.lines))
        for size, table in self.sequences.items():
            hashes, starts = windows(prints.units, prints.unit_lines, size)
            files = table.find(hashes)
            hits = np.flatnonzero(files >= 0)
            np.maximum.at(found, prints.unit_lines[starts[hits]], files[hits])
        return found


def read_evaluation_sets(paths: Sequence[Path], script: str) -> EvaluationSets | None:
    """Read the evaluation sets in files and, recursively, folders; None if ``paths`` is empty.

    Files are .txt (a sentence per line), .tsv (every field, quoted as in CSV or not), .csv (every field), .jsonl
    and .json (every string), .conll (words in the first column) and .conllu; upper and lower case. InputError if a
    path is missing or contains no such file, or a file is damaged.
    """
    if not paths:
        return None
    found = [file for path in paths for file in _files(path)]
    files = [file for file in found if file.suffix.lower() in READERS]
    skipped = [file for file in found if file.suffix.lower() not in READERS]
    sentences: list[str] = []
    of_file: list[int] = []
    for number, file in enumerate(files):
        cleaned = {line for text in READERS[file.suffix.lower()](file) if (line := clean_line(text))}
        sentences += sorted(cleaned)
        of_file += [number] * len(cleaned)
    if not sentences:
        raise InputError(
            f"{paths[0]}: contains no evaluation sentence", "name files or folders of evaluation sets"
        )
    prints = fingerprint(as_arrays(sentences), script, split_at_punctuation=True)
    owners = np.array(of_file, dtype=np.int64)
    filled = prints.lines != 0
    units = np.bincount(prints.unit_lines, minlength=len(sentences))
    sequences = {}
    least, most = CONTAINED * prints.per_word, SHARED * prints.per_word
    for size in range(least, most + 1):
        hashes, starts = windows(prints.units, prints.unit_lines, size)
        lines = prints.unit_lines[starts]
        # A sentence shorter than the shared sequence must be contained as a whole.
        wanted = units[lines] == size if size < most else np.ones(len(lines), dtype=np.bool_)
        if wanted.any():
            sequences[size] = HashTable(hashes[wanted], owners[lines[wanted]])
    lines_of = HashTable(prints.lines[filled], owners[filled])
    return EvaluationSets(files, skipped, len(sentences), script, lines_of, sequences)


def _files(path: Path) -> list[Path]:
    """The file at a path, or all files in the folder there that are not hidden."""
    hint = f"files of these kinds are read: {', '.join(READERS)}"
    if path.is_dir():
        parts = {file: file.relative_to(path).parts for file in files_in(path)}
        found = [file for file in parts if not any(part.startswith(".") for part in parts[file])]
        if not any(file.suffix.lower() in READERS for file in found):
            raise InputError(f"{path}: no evaluation file in it", hint)
        return found
    if not path.exists():
        raise InputError(f"{path}: no such file or folder", "check the path given with --exclude")
    if path.suffix.lower() not in READERS:
        raise InputError(f"{path}: a file of an unsupported kind", hint)
    return [path]


def _read_table(path: Path, delimiter: str) -> Iterator[str]:
    """Every field, read line by line (a quote may never be closed) and as a whole (a field may contain line ends).

    TSV is also read without quotes, since only some sets use them.
    """
    lines = read_raw_lines(path)
    for line in lines:
        for quoted in (True, False) if delimiter == "\t" else (True,):
            yield from fields_of(line, quoted, delimiter=delimiter)
    with suppress(csv.Error):  # the rows before the first that cannot be read
        yield from chain.from_iterable(csv.reader((f"{line}\n" for line in lines), delimiter=delimiter))


def _read_json(path: Path) -> Iterator[str]:
    if path.suffix.lower() == ".jsonl":
        yield from chain.from_iterable(_strings(value) for _, value in json_lines(path))
        return
    try:
        yield from _strings(json.loads("\n".join(read_raw_lines(path))))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error})", "JSON lines are read from .jsonl") from None


def _strings(value: Any) -> Iterator[str]:
    """All strings in a JSON value; a list of words is a sentence too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list):
        if value and all(isinstance(part, str) for part in value):
            yield " ".join(value)
        for part in value:
            yield from _strings(part)


def _read_columns(path: Path, treebank: bool = False) -> Iterator[str]:
    """Sentences of one word per line, with blank lines between them.

    The word is in the first column, or in a ``treebank`` (CoNLL-U) in the second column of numbered lines; its
    ``# text`` lines are sentences too. Of files that are no treebank, words may be numbered, or have their
    language before them (``mt:``), as in the data of tasks.
    """
    rows: list[list[str]] = []
    for line in [*read_raw_lines(path), ""]:
        columns = line.split("\t") if treebank else line.split()
        if not line.strip():
            yield from _sentences(rows)
            rows = []
        elif not treebank:
            rows.append(columns)
        elif line.startswith(TREEBANK_TEXT):
            yield line.removeprefix(TREEBANK_TEXT)
        elif len(columns) > 1 and columns[0].isdigit():
            rows.append(columns[1:])


def _sentences(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The words of a sentence, if it has any, without numbers or languages before them."""
    numbered = [columns for columns in rows if not columns[0].startswith("#")]  # without comments
    counted = all(len(columns) > 1 and columns[0] == str(i) for i, columns in enumerate(numbered, start=1))
    if counted and len(numbered) > 1:
        yield from _sentences([columns[1:] for columns in numbered])
    elif words := [columns[0] for columns in rows]:
        found = [LANGUAGE_PREFIX.fullmatch(word) for word in words]
        yield " ".join([match[1] for match in found if match] if all(found) else words)


READERS: dict[str, Callable[[Path], Iterable[str]]] = {
    ".txt": read_raw_lines,
    ".tsv": partial(_read_table, delimiter="\t"),
    ".csv": partial(_read_table, delimiter=","),
    ".jsonl": _read_json,
    ".json": _read_json,
    ".conll": _read_columns,
    ".conllu": partial(_read_columns, treebank=True),
}
