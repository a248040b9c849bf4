"""Labelled sentences from a folder of train.tsv, dev.tsv and test.tsv, as SIB-200 ships them."""

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from langlift.corpus.text_files import read_raw_lines
from langlift.errors import InputError

SPLITS = ("train", "dev", "test")
TEXT, LABEL = "text", "category"


@dataclass(frozen=True)
class LabelledText:
    """Sentences of one split and their labels, in file order."""

    texts: list[str]
    labels: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    def chosen(self, numbers: Sequence[int]) -> "LabelledText":
        """The sentences of these numbers, in this order."""
        return LabelledText([self.texts[i] for i in numbers], [self.labels[i] for i in numbers])


def split_files(folder: Path) -> list[Path]:
    """The files that a task folder holds."""
    return [folder / f"{split}.tsv" for split in SPLITS]


def read_test_split(folder: Path, labels: Collection[str]) -> LabelledText:
    """Read only the test split, whose labels must be among ``labels``; otherwise as ``read_labelled_text``."""
    return _read_split(folder / "test.tsv", set(labels))


def read_labelled_text(folder: Path) -> dict[str, LabelledText]:
    """Read all three splits: tab-separated, with a header, fields quoted as in CSV where needed.

    Columns ``category`` and ``text`` are needed, others are passed over.

    Raises:
        InputError: a split or column is missing, a row is damaged, or a label of dev or test never
            occurs in train; the file and line are named.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder", "it must hold train.tsv, dev.tsv and test.tsv")
    data: dict[str, LabelledText] = {}
    known: set[str] = set()
    for split in SPLITS:
        data[split] = _read_split(folder / f"{split}.tsv", known if split != "train" else None)
        if split == "train":
            known = set(data[split].labels)
    if len(known) < 2:
        raise InputError(f"{folder / 'train.tsv'}: only one label ('{known.pop()}')", "at least two are needed")
    return data


def _read_split(path: Path, known: set[str] | None) -> LabelledText:
    if not path.is_file():
        raise InputError(
            f"{path.parent}: the {path.stem} split is missing ({path.name})",
            "a task folder holds train.tsv, dev.tsv and test.tsv",
        )
    # The csv module joins the lines of a quoted field itself, so it must see their ends.
    rows = csv.reader((f"{line}\n" for line in read_raw_lines(path)), delimiter="\t", strict=True)
    texts: list[str] = []
    labels: list[str] = []
    try:
        header = next(rows, [])
        for column in (LABEL, TEXT):
            if column not in header:
                raise InputError(
                    f"{path}:1: no column '{column}' (found: {', '.join(header) or 'nothing'})",
                    f"the first line must name the columns, '{LABEL}' and '{TEXT}' among them",
                )
        for row in rows:
            if not row or row == [""]:
                continue
            place = f"{path}:{rows.line_num}"
            if len(row) != len(header):
                raise InputError(f"{place}: {len(row)} fields, the header has {len(header)}", "mend the row")
            label, text = row[header.index(LABEL)].strip(), row[header.index(TEXT)].strip()
            if not label or not text:
                raise InputError(f"{place}: empty {LABEL if not label else TEXT}", "fill it in or delete the row")
            if known is not None and label not in known:
                raise InputError(
                    f"{place}: label '{label}' never occurs in the training data", "a misspelt label?"
                )
            texts.append(text)
            labels.append(label)
    except csv.Error as error:
        raise InputError(
            f"{path}:{rows.line_num}: {error}", "fields with quotes or tabs need CSV quoting"
        ) from None
    if not texts:
        raise InputError(f"{path}: no rows", "every split needs at least one labelled sentence")
    return LabelledText(texts, labels)
