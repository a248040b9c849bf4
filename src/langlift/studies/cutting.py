"""Less of the same data: the train split cut to a number of bytes, dev and test as they are."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from langlift.corpus.text_data import load_text_data
from langlift.data_folder import SPLITS, write_manifest
from langlift.files import new_folder

ORDER_SEED = 0
"""One order for all sizes, so that a smaller part lies in every larger one."""


@dataclass(frozen=True)
class CutResult:
    """What was kept of the train split: sentences, and bytes of text (UTF-8, line ends included)."""

    data: str
    max_bytes: int
    sentences: int
    bytes: int
    of_sentences: int
    of_bytes: int


def cut_data(source: Path, out: Path, max_bytes: int) -> CutResult:
    """Write a built folder with a random part of the train split that has at most ``max_bytes`` of text.

    At least one sentence is kept, and all of them where there are no more bytes than that. The spans of a graph's
    sentences stay. The smaller part of two is part of the larger.

    Raises:
        InputError: the source is damaged, or ``out`` not free.
    """
    rows = list(_train_rows(source))
    sizes = np.array([len(json.loads(row)["text"].encode()) + 1 for row in rows])
    order = np.random.default_rng(ORDER_SEED).permutation(len(rows))
    fitting = int(np.searchsorted(np.cumsum(sizes[order]), max_bytes, side="right"))
    chosen = sorted(order[: max(1, fitting)].tolist())
    with new_folder(out) as folder:
        (folder / "train.jsonl").write_text("\n".join([*(rows[i] for i in chosen), ""]), encoding="utf-8")
        for split in SPLITS[1:]:
            if source.is_dir():
                shutil.copyfile(source / f"{split}.jsonl", folder / f"{split}.jsonl")
            else:
                texts = getattr(load_text_data(source), split)
                (folder / f"{split}.jsonl").write_text("\n".join([*map(_row, texts), ""]), encoding="utf-8")
        result = CutResult(
            data=out.name,
            max_bytes=max_bytes,
            sentences=len(chosen),
            bytes=int(sizes[chosen].sum()),
            of_sentences=len(rows),
            of_bytes=int(sizes.sum()),
        )
        digest = hashlib.sha256((folder / "train.jsonl").read_bytes()).hexdigest()
        write_manifest(folder, {"cut_from": source.name, "train_sha256": digest, "max_bytes": max_bytes})
    return result


def _train_rows(source: Path) -> Iterator[str]:
    """The lines of train.jsonl: of a built folder as they are, of a text file made from its train split."""
    texts = load_text_data(source)  # checks all of it
    if not source.is_dir():
        yield from map(_row, texts.train)
        return
    for line in (source / "train.jsonl").read_text(encoding="utf-8").split("\n"):
        if line.strip() and json.loads(line)["text"].strip():
            yield line


def _row(text: str) -> str:
    return json.dumps({"text": text}, ensure_ascii=False)
