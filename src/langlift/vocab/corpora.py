"""The lines of one or more corpora, from which a vocabulary is built or trimmed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from langlift.corpus.sampling import draw_sources, sampling_shares
from langlift.corpus.text_data import load_text_data
from langlift.corpus.text_files import read_lines
from langlift.data_folder import SPLITS
from langlift.errors import InputError
from langlift.files import sha256_of

MEASURED_LINES = 2000
"""Maximum number of lines to measure on."""


@dataclass(frozen=True)
class Corpora:
    """The lines of each corpus, and its share of the lines to sample (empty: not for sampling)."""

    paths: Sequence[Path]
    lines: Sequence[list[str]]
    sha256: Sequence[str]
    shares: Sequence[float] = ()

    def sampled(self, seed: int) -> Iterator[str]:
        """As many lines as the corpora have in total, each from a corpus drawn by its share.

        The lines of a corpus are shuffled, and repeated if its share is larger.
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

    def measured(self) -> list[str]:
        """At most ``MEASURED_LINES`` lines evenly spaced, from all corpora in order."""
        return evenly([line for lines in self.lines for line in lines])

    def described(self) -> list[dict[str, object]]:
        """The corpora in the record of a vocabulary."""
        rows: list[dict[str, object]] = [
            {"corpus": path.name, "sha256": digest, "lines": len(lines)}
            for path, lines, digest in zip(self.paths, self.lines, self.sha256, strict=True)
        ]
        for row, share in zip(rows, self.shares, strict=False):
            row["share"] = round(share, 6)
        return rows


def read_corpora(paths: Sequence[Path], alpha: float) -> Corpora:
    """Read the train split of text files or built folders, with the shares that ``alpha`` gives them.

    InputError if there is none, one is given twice, or its content is damaged or too short.
    """
    if not paths:
        raise InputError("no corpus is given", "name a text file or a built folder with --corpus")
    for path in paths:
        if [p.resolve() for p in paths].count(path.resolve()) > 1:
            raise InputError(f"--corpus {path}: given twice", "name each corpus once; --alpha sets their shares")
    texts = [load_text_data(path) for path in paths]
    lines = [[line for line in text.train if line] for text in texts]
    shares = sampling_shares([len(part) for part in lines], alpha).tolist()
    return Corpora(paths, lines, [text.sha256 for text in texts], shares)


def read_whole_corpora(paths: Sequence[Path]) -> Corpora:
    """Read every line of text files, and all splits of built folders; InputError if there is none."""
    lines: list[list[str]] = []
    digests: list[str] = []
    for path in paths:
        if path.is_dir():
            data = load_text_data(path)
            lines.append([line for split in SPLITS for line in getattr(data, split)])
            digests.append(data.sha256)
        else:
            lines.append([line for line in read_lines(path) if line])
            digests.append(sha256_of([path]))
    if not any(lines):
        listed = ", ".join(map(str, paths)) or "no corpus is given"
        raise InputError(f"{listed}: no text", "name text files or built folders with --corpus")
    return Corpora(paths, lines, digests)


def evenly(lines: Sequence[str]) -> list[str]:
    """At most ``MEASURED_LINES`` evenly spaced lines."""
    count = min(len(lines), MEASURED_LINES)
    return [lines[number * len(lines) // count] for number in range(count)]
