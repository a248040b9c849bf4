"""Labelled sentences: a folder of train.tsv, dev.tsv and test.tsv, or a data set in the hub's format."""

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from langlift.corpus.text_files import read_raw_lines
from langlift.errors import InputError
from langlift.tasks.hub_sets import HubSet, is_hub_set
from langlift.tasks.task import Columns

SPLITS = ("train", "dev", "test")
TEXT = "text"
HUB_TEXTS = ("text", "sentence", "review", "tweet", "content")
"""Names that the field of the sentence has in data sets of the hub."""
QUOTING = (
    'a field that begins with " needs CSV quoting: write "x" y as """x"" y" (spreadsheets do so by themselves)'
)
"""What to do about a table's damaged quotes."""


@dataclass(frozen=True)
class LabelledText:
    """Sentences of one split and their labels, in file order."""

    texts: list[str]
    labels: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def inputs(self) -> list[str]:
        """The texts."""
        return self.texts

    def chosen(self, numbers: Sequence[int]) -> "LabelledText":
        """The sentences of these numbers, in this order."""
        return LabelledText([self.texts[i] for i in numbers], [self.labels[i] for i in numbers])

    @classmethod
    def joined(cls, parts: Sequence["LabelledText"]) -> "LabelledText":
        """Several sets, one after the other."""
        return cls(
            [text for part in parts for text in part.texts], [label for part in parts for label in part.labels]
        )


class LabelledFolder:
    """A folder of train.tsv, dev.tsv and test.tsv: tab-separated, with a header.

    The columns ``text`` and the label's column are needed, others are passed over.

    Raises:
        InputError: there is no such folder.
    """

    def __init__(self, folder: Path, columns: Columns) -> None:
        if not folder.is_dir():
            what = "a folder is needed, not a file" if folder.exists() else "no such folder"
            raise InputError(f"{folder}: {what}", "it must hold train.tsv, dev.tsv and test.tsv")
        self._folder, self._columns = folder, columns

    def read(self, split: str, known: Collection[str] | None = None) -> LabelledText:
        """One split; its labels must be among ``known``.

        Raises:
            InputError: the split or a column is missing, a row is damaged, or a label is not known; file
                and line are named.
        """
        return _read_split(self._folder / f"{split}.tsv", known, self._columns)

    def content(self, split: str) -> bytes:
        """The bytes of a split's file, where there is one."""
        file = self._folder / f"{split}.tsv"
        return file.read_bytes() if file.is_file() else b""


class LabelledHubSet:
    """The same from a data set in the hub's format."""

    def __init__(self, name: str, columns: Columns) -> None:
        self._set = HubSet(name)
        self._fields = (HUB_TEXTS, columns.hub_labels)

    def read(self, split: str, known: Collection[str] | None = None) -> LabelledText:
        """One split; a row whose text or label is empty, or whose label is not known, raises an InputError."""
        data = LabelledText([], [])
        for number, values in enumerate(self._set.rows(split, self._fields), start=1):
            text, label = (" ".join(str(value).split()) for value in values)
            place = self._set.place(split, number)
            if not text or not label:
                raise InputError(f"{place}: empty {'text' if not text else 'label'}", "drop the row")
            _require_known(label, known, place)
            data.texts.append(text)
            data.labels.append(label)
        if not data.texts:
            raise InputError(f"{self._set.name} ({split}): no rows", "every split needs a labelled sentence")
        return data

    def content(self, split: str) -> bytes:
        """The rows of a split as bytes."""
        return self._set.content(split, self._fields)


def open_labelled(data: str, columns: Columns) -> LabelledFolder | LabelledHubSet:
    """A folder of TSV files where there is one, else a data set in the hub's format.

    Raises:
        InputError: it is neither.
    """
    return LabelledHubSet(data, columns) if is_hub_set(data, (".tsv",)) else LabelledFolder(Path(data), columns)


def require_labels(train: LabelledText, name: str) -> list[str]:
    """The sorted labels of training data, of which there must be two or more."""
    known = sorted(set(train.labels))
    if len(known) < 2:
        raise InputError(f"{name}: only one label ('{known[0]}')", "at least two are needed")
    return known


def _require_known(label: str, known: Collection[str] | None, place: str) -> None:
    if known is not None and label not in known:
        raise InputError(f"{place}: label '{label}' never occurs in the training data", "a misspelt label?")


def _read_split(path: Path, known: Collection[str] | None, columns: Columns) -> LabelledText:
    if not path.is_file():
        raise InputError(
            f"{path.parent}: the {path.stem} split is missing ({path.name})",
            "a task folder holds train.tsv, dev.tsv and test.tsv",
        )
    # The csv module joins the lines of a quoted field itself, so it must see their ends.
    lines = (f"{line}\n" for line in read_raw_lines(path))
    if columns.quoted:
        rows = csv.reader(lines, delimiter="\t", strict=True)
    else:
        rows = csv.reader(lines, delimiter="\t", strict=True, quoting=csv.QUOTE_NONE)
    texts: list[str] = []
    labels: list[str] = []
    try:
        header = next(rows, [])
        for column in (columns.label, TEXT):
            if column not in header:
                raise InputError(
                    f"{path}:1: no column '{column}' (found: {', '.join(header) or 'nothing'})",
                    f"the first line must name the columns, '{columns.label}' and '{TEXT}' among them",
                )
        for row in rows:
            if not row or row == [""]:
                continue
            place = f"{path}:{rows.line_num}"
            if len(row) != len(header):
                raise InputError(f"{place}: {len(row)} fields, the header has {len(header)}", "mend the row")
            label, text = row[header.index(columns.label)].strip(), row[header.index(TEXT)].strip()
            if not label or not text:
                raise InputError(
                    f"{place}: empty {columns.label if not label else TEXT}", "fill it in or delete the row"
                )
            _require_known(label, known, place)
            texts.append(text)
            labels.append(label)
    except csv.Error as error:
        raise InputError(f"{path}:{rows.line_num}: {error}", QUOTING) from None
    if not texts:
        raise InputError(f"{path}: no rows", "every split needs at least one labelled sentence")
    return LabelledText(texts, labels)
