"""Writing documents to train, dev and test as they come: eight, one and one of every ten."""

import hashlib
import json
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from langlift.corpus.pipeline import TextSize
from langlift.data_folder import SPLITS

SPLITS_OF_TEN = ("dev", "test") + ("train",) * 8
MINIMUM_DOCUMENTS = 3

encode = json.JSONEncoder(ensure_ascii=False).encode


class SplitWriter:
    """Writes ``train.jsonl``, ``dev.jsonl`` and ``test.jsonl`` in ``folder``; a context manager.

    Documents are numbered from 1. Each block of ten is split by a separate permutation, drawn from ``seed``. With
    fewer than ten documents in all, dev and test get one each. With ``scoring``, all documents go to test.
    """

    def __init__(self, folder: Path, seed: int, scoring: bool = False) -> None:
        names = ("test",) if scoring else SPLITS
        self.sizes = {name: TextSize() for name in names}
        self._digests = {name: hashlib.sha256() for name in names}
        self._stack = ExitStack()
        self._files = {name: self._stack.enter_context((folder / f"{name}.jsonl").open("wb")) for name in names}
        self._scoring = scoring
        self._random = np.random.default_rng(seed)
        self._block: list[list[str]] = []
        self._written = 0

    def __enter__(self) -> "SplitWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: Any) -> None:
        with self._stack:
            if kind is None:
                self._write_block()

    def add(self, lines: list[str]) -> None:
        """Add a document."""
        self._block.append(lines)
        if len(self._block) == len(SPLITS_OF_TEN):
            self._write_block()

    def described(self) -> dict[str, dict[str, Any]]:
        """For each split: documents, lines, bytes and SHA-256 of its file."""
        return {
            name: asdict(size) | {"sha256": self._digests[name].hexdigest()} for name, size in self.sizes.items()
        }

    def _write_block(self) -> None:
        total = self._written + len(self._block)
        # A lone short block takes the first places of SPLITS_OF_TEN, so that dev and test get a document.
        places = self._random.permutation(len(self._block) if total < len(SPLITS_OF_TEN) else len(SPLITS_OF_TEN))
        for lines, place in zip(self._block, places, strict=False):
            self._written += 1
            split = "test" if self._scoring else SPLITS_OF_TEN[place]
            rows = "".join(f'{{"text": {encode(line)}, "document": {self._written}}}\n' for line in lines).encode()
            self._files[split].write(rows)
            self._digests[split].update(rows)
            self.sizes[split].add(len(lines), len(rows))
        self._block = []
