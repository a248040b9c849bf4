"""Exact duplicates of lines and near-duplicates of documents, in memory fixed beforehand.

What has been seen is kept in Bloom filters, sized by the bytes of text to come for ``FALSE_POSITIVES`` at the end.
Near-duplicates: MinHash (Broder 1997) over runs of five words, ``BANDS`` bands of ``ROWS`` hashes. Documents of
Jaccard similarity s share a band with probability 1 - (1 - s^ROWS)^BANDS: 0.06 at s = 0.6, 0.25 at 0.7, 0.68 at
0.8, 0.99 at 0.9.
"""

import math
import os

import numpy as np
from rbloom import Bloom

from langlift.corpus.fingerprints import mix, windows
from langlift.errors import InputError

FALSE_POSITIVES = 1e-6
BYTES_PER_LINE = 40
BYTES_PER_DOCUMENT = 400
"""What lines and documents are taken to measure on average when the filters are sized."""
LEAST_ITEMS = 100_000
MOST_MEMORY = 0.5
"""Share of the machine's memory that the filters may take."""

SHINGLE = 5
MINIMUM_SHINGLES = 20
"""Documents with fewer runs of words are compared line by line only."""
BANDS, ROWS = 10, 10
SEED = 0


class SeenBefore:
    """A set of 64-bit numbers that may, rarely, take a new one for an old one; never the other way round."""

    def __init__(self, items: int) -> None:
        self.capacity = max(LEAST_ITEMS, items)
        self.count = 0
        self._filter = Bloom(self.capacity, FALSE_POSITIVES)

    def __contains__(self, key: int) -> bool:
        return key in self._filter

    def add(self, key: int) -> None:
        """Remember a number."""
        self.count += 1
        self._filter.add(key)

    @property
    def memory_bytes(self) -> int:
        """The size of the filter, fixed when it is made."""
        return self._filter.size_in_bits // 8

    @property
    def false_positive_rate(self) -> float:
        """The rate now reached: ``FALSE_POSITIVES`` when ``capacity`` numbers have been added, less before."""
        hashes = -math.log2(FALSE_POSITIVES)
        return (1 - math.exp(-hashes * self.count / self._filter.size_in_bits)) ** hashes


class Deduplication:
    """What a corpus of at most ``max_bytes`` holds so far: its lines, and the bands of its documents.

    Raises:
        InputError: so much text needs filters that do not fit into memory.
    """

    def __init__(self, max_bytes: int) -> None:
        lines, bands = max_bytes // BYTES_PER_LINE, BANDS * max_bytes // BYTES_PER_DOCUMENT
        needed = int((lines + bands) * -math.log2(FALSE_POSITIVES) / math.log(2)) // 8
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if needed > MOST_MEMORY * memory:
            raise InputError(
                f"--max-bytes {max_bytes:,}: to find duplicates in so much text takes {needed / 1e9:,.0f} GB of "
                f"memory; this machine has {memory / 1e9:,.0f} GB",
                f"at most {int(max_bytes * MOST_MEMORY * memory / needed / 1e9):,}GB, or build several folders",
            )
        self.lines, self.bands = SeenBefore(lines), SeenBefore(bands)

    def described(self) -> dict[str, float]:
        """The filters' sizes and the rates of false positives that they have reached."""
        return {
            "memory_bytes": self.lines.memory_bytes + self.bands.memory_bytes,
            "false_positive_rate_lines": self.lines.false_positive_rate,
            "false_positive_rate_bands": self.bands.false_positive_rate,
        }

    def is_near_duplicate(self, bands: list[int]) -> bool:
        """Whether a document added before has a band in common."""
        return any(band in self.bands for band in bands)

    def add_document(self, bands: list[int]) -> None:
        """Remember a document."""
        for band in bands:
            self.bands.add(band)

    def is_new_line(self, line: int) -> bool:
        """Whether a line has not been met before; remembers it."""
        if line in self.lines:
            return False
        self.lines.add(line)
        return True


def document_bands(units: np.ndarray, documents: np.ndarray, per_word: int, count: int) -> list[list[int]]:
    """The band hashes of each of ``count`` documents; none for those with too few words.

    ``units`` are hashes of words (or characters, ``per_word`` to a word) and ``documents`` the numbers of
    their documents, ascending.
    """
    bands: list[list[int]] = [[] for _ in range(count)]
    shingles, starts = windows(units, documents, SHINGLE * per_word)
    owners = documents[starts]
    enough = np.flatnonzero(np.bincount(owners, minlength=count) >= MINIMUM_SHINGLES * per_word)
    long = np.isin(owners, enough)
    shingles, owners = shingles[long], owners[long]
    if not len(shingles):
        return bands
    begin = np.append(0, np.flatnonzero(owners[1:] != owners[:-1]) + 1)
    factors = np.random.default_rng(SEED).integers(0, 2**63, (BANDS * ROWS, 2), dtype=np.uint64)
    values = np.empty_like(shingles)
    hashes = np.zeros((BANDS, len(begin)), dtype=np.uint64)
    for row, (factor, summand) in enumerate(factors):
        np.multiply(shingles, factor | np.uint64(1), out=values)
        values += summand
        band = row // ROWS
        hashes[band] = mix(hashes[band] + np.minimum.reduceat(values, begin) + np.uint64(row + 1))
    for document, keys in zip(owners[begin].tolist(), hashes.T.tolist(), strict=True):
        bands[document] = keys
    return bands
