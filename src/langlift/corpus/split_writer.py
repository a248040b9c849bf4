"""Writing documents to train, dev and test as they come: eight, one and one of every ten."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from langlift.data_folder import SPLITS

SPLITS_OF_TEN = ("dev", "test") + ("train",) * 8
MINIMUM_DOCUMENTS = 3

encode = json.JSONEncoder(ensure_ascii=False).encode


@dataclass
class SplitSize:
    """What a split holds: lines, and the bytes and SHA-256 of its file."""

    documents: int = 0
    lines: int = 0
    bytes: int = 0
    sha256: str = ""


class SplitWriter:
    """Writes ``train.jsonl``, ``dev.jsonl`` and ``test.jsonl`` in ``folder``; a context manager.

    Documents are numbered from 1. Each block of ten is dealt out by a permutation of its own, drawn from ``seed``.
    With fewer than ten documents in all, dev and test get one each. With ``scoring`` all go to test.
    """

    def __init__(self, folder: Path, seed: int, scoring: bool = False) -> None:
        names = ("test",) if scoring else SPLITS
        self.sizes = {name: SplitSize() for name in names}
        self._folder, self._scoring = folder, scoring
        self._random = np.random.default_rng(seed)
        self._block: list[list[str]] = []
        self._written = 0
        self._stack = ExitStack()

    def __enter__(self) -> "SplitWriter":
        self._files: Mapping[str, BinaryIO] = {
            name: self._stack.enter_context((self._folder / f"{name}.jsonl").open("wb")) for name in self.sizes
        }
        self._digests = {name: hashlib.sha256() for name in self.sizes}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._write_block()
        self._stack.close()
        for name, size in self.sizes.items():
            size.sha256 = self._digests[name].hexdigest()

    def add(self, lines: list[str]) -> None:
        """Take a document."""
        self._block.append(lines)
        if len(self._block) == len(SPLITS_OF_TEN):
            self._write_block()

    def _write_block(self) -> None:
        total = self._written + len(self._block)
        # A lone short block is dealt from the front of SPLITS_OF_TEN, so that dev and test get theirs.
        places = self._random.permutation(len(self._block) if total < len(SPLITS_OF_TEN) else len(SPLITS_OF_TEN))
        for lines, place in zip(self._block, places, strict=False):
            self._written += 1
            split = "test" if self._scoring else SPLITS_OF_TEN[place]
            rows = "".join(f'{{"text": {encode(line)}, "document": {self._written}}}\n' for line in lines).encode()
            self._files[split].write(rows)
            self._digests[split].update(rows)
            size = self.sizes[split]
            size.documents += 1
            size.lines += len(lines)
            size.bytes += len(rows)
        self._block = []
