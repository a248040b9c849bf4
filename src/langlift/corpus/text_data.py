"""Text to adapt on or to score: a plain file, or a built data folder with train, dev and test."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from langlift.corpus.text_files import read_documents, read_lines, split_documents
from langlift.data_folder import SPLITS
from langlift.errors import InputError

SHARES = (0.8, 0.1, 0.1)
SPLIT_SEED = 0
"""Fixed, so that runs with different seeds train and test on the same documents."""


@dataclass(frozen=True)
class TextData:
    """The texts of each split, and the SHA-256 of the source."""

    train: list[str]
    dev: list[str]
    test: list[str]
    sha256: str


def load_text_data(data: Path) -> TextData:
    """Read a text file (split 80/10/10 by document, always in the same way) or a built data folder.

    Raises:
        InputError: the path is neither, or its content is damaged; the place is named.
    """
    if not data.is_dir():
        parts = split_documents(read_documents(data), SHARES, SPLIT_SEED)
        train, dev, test = ([line for document in part for line in document] for part in parts)
        return TextData(train, dev, test, hashlib.sha256(data.read_bytes()).hexdigest())
    if [split for split in SPLITS if (data / f"{split}.jsonl").exists()] == ["test"]:
        raise InputError(
            f"{data}: holds only test.jsonl: it is for scoring, not for training",
            f"langlift score --text {data}; text to train on is built from other sources: langlift corpus build",
        )
    train, dev, test = (_read_split(data, split) for split in SPLITS)
    digest = hashlib.sha256()
    for split in SPLITS:
        digest.update((data / f"{split}.jsonl").read_bytes())
    return TextData(train, dev, test, digest.hexdigest())


def texts_to_score(text: Path, split: str | None = None, sample: int | None = None) -> list[str]:
    """The sentences to score: all lines of a file or one split of it; of a built folder, the test split.

    ``sample`` takes so many of them at random, always the same ones, in their order.

    Raises:
        InputError: the path is neither, its content is damaged, or there is nothing to score.
    """
    if split is not None and split not in SPLITS:
        raise InputError(f"unknown split '{split}'", f"one of {', '.join(SPLITS)}")
    if text.is_dir():
        sentences = _read_split(text, split or "test")
    elif split is None:
        sentences = [line for line in read_lines(text) if line]
    else:
        sentences = list(getattr(load_text_data(text), split))
    if not sentences:
        raise InputError(f"{text}: no sentence to score", "give a text file with one sentence a line")
    if sample is None or sample >= len(sentences):
        return sentences
    if sample < 1:
        raise InputError(f"--sentences {sample}: at least one is needed", "leave the option out to score all")
    chosen = np.random.default_rng(SPLIT_SEED).choice(len(sentences), sample, replace=False)
    return [sentences[i] for i in sorted(chosen)]


def _read_split(folder: Path, split: str) -> list[str]:
    """The ``text`` of every object in ``folder/split.jsonl``."""
    path = folder / f"{split}.jsonl"
    if not path.is_file():
        raise InputError(
            f"{folder}: the {split} split is missing ({split}.jsonl)",
            "a data folder holds train.jsonl, dev.jsonl and test.jsonl; a single text file works too",
        )
    texts = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line:
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}:{number}: not valid JSON ({error})", "one JSON object a line") from None
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            found = ", ".join(row) if isinstance(row, dict) else type(row).__name__
            raise InputError(f"{path}:{number}: no field 'text' (found: {found})", "name the text field 'text'")
        if not row["text"].isprintable() and any("\ud800" <= c <= "\udfff" for c in row["text"]):
            raise InputError(f"{path}:{number}: half of a character (a lone surrogate)", "mend the escape \\uD...")
        if row["text"].strip():
            texts.append(row["text"].strip())
    if not texts:
        raise InputError(f"{path}: the split is empty", "every split needs at least one text")
    return texts
