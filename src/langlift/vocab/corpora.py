"""The lines that a vocabulary is made from: of one corpus or of several, by alpha sampling."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from langlift.corpus.sampling import draw_sources, sampling_shares
from langlift.corpus.text_data import load_text_data
from langlift.corpus.text_files import read_lines
from langlift.data_folder import SPLITS
from langlift.errors import InputError

MEASURED_LINES = 2000
"""So many lines, at most, are enough to say how finely a vocabulary cuts."""


@dataclass(frozen=True)
class Corpora:
    """The training lines of each corpus, and each one's share of the draws; shares sum to 1."""

    paths: Sequence[Path]
    lines: Sequence[list[str]]
    sha256: Sequence[str]
    shares: Sequence[float]

    def drawn(self, seed: int) -> Iterator[str]:
        """As many lines as there are in all, each from a corpus drawn by its share.

        A corpus is gone through in a shuffled order, and again from the start where its share is larger.
        """
        if len(self.lines) == 1:
            yield from self.lines[0]
            return
        random = np.random.default_rng(seed)
        orders = [random.permutation(len(lines)) for lines in self.lines]
        seen = [0] * len(self.lines)
        for corpus in draw_sources(self.shares, sum(map(len, self.lines)), seed):
            order = orders[corpus]
            yield self.lines[corpus][order[seen[corpus] % len(order)]]
            seen[corpus] += 1

    def sample(self) -> list[str]:
        """Lines evenly from all corpora in their order, to measure on."""
        return evenly([line for lines in self.lines for line in lines])

    def described(self) -> list[dict[str, object]]:
        """What the record of a vocabulary says of its corpora."""
        return [
            {"corpus": path.name, "sha256": digest, "lines": len(lines), "share": round(float(share), 6)}
            for path, lines, digest, share in zip(self.paths, self.lines, self.sha256, self.shares, strict=True)
        ]


def read_corpora(paths: Sequence[Path], alpha: float) -> Corpora:
    """Read the train split of text files or built folders: what is kept for testing stays unseen.

    Raises:
        InputError: none is given, one is named twice, or its content is damaged or too short.
    """
    if not paths:
        raise InputError("no corpus is given", "name a text file or a built folder with --corpus")
    for path in paths:
        if [p.resolve() for p in paths].count(path.resolve()) > 1:
            raise InputError(f"--corpus {path}: given twice", "name each corpus once; --alpha sets their shares")
    texts = [load_text_data(path) for path in paths]
    lines = [[line for line in text.train if line] for text in texts]
    shares = sampling_shares([len(part) for part in lines], alpha)
    return Corpora(paths, lines, [text.sha256 for text in texts], [float(share) for share in shares])


def all_lines(paths: Sequence[Path]) -> tuple[list[list[str]], list[dict[str, object]]]:
    """Every line of text files, and of all splits of built folders, by corpus; and what a record says of each.

    Raises:
        InputError: nothing is given or found, or the content is damaged.
    """
    lines: list[list[str]] = []
    described: list[dict[str, object]] = []
    for path in paths:
        if path.is_dir():
            data = load_text_data(path)
            found, digest = [line for split in SPLITS for line in getattr(data, split)], data.sha256
        else:
            found = [line for line in read_lines(path) if line]
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(found)
        described.append({"corpus": path.name, "sha256": digest, "lines": len(found)})
    if not any(lines):
        said = ", ".join(map(str, paths)) or "no corpus is given"
        raise InputError(f"{said}: no text", "name text files or built folders with --corpus")
    return lines, described


def evenly(lines: Sequence[str]) -> list[str]:
    """At most ``MEASURED_LINES`` lines at even distances."""
    count = min(len(lines), MEASURED_LINES)
    return [lines[number * len(lines) // count] for number in range(count)]
