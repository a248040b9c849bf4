"""Exact duplicates of lines and near-duplicates of documents, in a fixed amount of memory.

The index consists of Bloom filters, sized by the expected bytes of text for a rate of ``FALSE_POSITIVES`` at the
end. Near-duplicates: MinHash (Broder 1997) over five-word sequences, ``BANDS`` bands of ``ROWS`` hashes. Documents
of Jaccard similarity s share a band with probability 1 - (1 - s^ROWS)^BANDS: 0.06 at s = 0.6, 0.25 at 0.7, 0.68 at
0.8, 0.99 at 0.9.
"""

import math
import os

import numpy as np
from rbloom import Bloom

from langlift.corpus.fingerprints import mix, run_starts, windows
from langlift.errors import InputError

FALSE_POSITIVES = 1e-6
BYTES_PER_LINE = 40
BYTES_PER_DOCUMENT = 400
"""Average sizes of lines and documents, assumed when sizing the filters."""
MINIMUM_ITEMS = 100_000
MAXIMUM_MEMORY = 0.5
"""Share of the machine's memory that the filters may use."""

SHINGLE = 5
MINIMUM_SHINGLES = 20
"""Documents with fewer word sequences are compared line by line only."""
BANDS, ROWS = 10, 10
SEED = 0


class Deduplication:
    """Index of a corpus of at most ``max_bytes``: its lines, and the bands of its documents.

    It may, rarely, claim to contain one that was not added. InputError if it does not fit into memory.
    """

    def __init__(self, max_bytes: int) -> None:
        lines, bands = max_bytes // BYTES_PER_LINE, BANDS * max_bytes // BYTES_PER_DOCUMENT
        needed = int((lines + bands) * -math.log2(FALSE_POSITIVES) / math.log(2)) // 8
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if needed > MAXIMUM_MEMORY * memory:
            raise InputError(
                f"--max-bytes {max_bytes:,}: finding duplicates in this much text takes {needed / 1e9:,.0f} GB of "
                f"memory; this machine has {memory / 1e9:,.0f} GB",
                f"at most {int(max_bytes * MAXIMUM_MEMORY * memory / needed / 1e9):,}GB, or build several folders",
            )
        self.lines, self.bands = (Bloom(max(MINIMUM_ITEMS, n), FALSE_POSITIVES) for n in (lines, bands))

    def state(self) -> dict[str, float]:
        """The size of the filters and the false positive rates reached."""
        return {
            "memory_bytes": (self.lines.size_in_bits + self.bands.size_in_bits) // 8,
            "false_positive_rate_lines": false_positive_rate(self.lines),
            "false_positive_rate_bands": false_positive_rate(self.bands),
        }


def false_positive_rate(seen: Bloom) -> float:
    """The rate reached, by the bits set: about ``FALSE_POSITIVES`` once all expected numbers are added."""
    hashes = -math.log2(FALSE_POSITIVES)
    return float(1 - math.exp(-hashes * seen.approx_items / seen.size_in_bits)) ** hashes


def document_bands(units: np.ndarray, documents: np.ndarray, per_word: int, count: int) -> list[list[int]]:
    """The band hashes of each of ``count`` documents; none for documents with too few words.

    ``units`` are hashes of words (or characters, ``per_word`` to a word), and ``documents`` the indices of their
    documents, ascending.
    """
    bands: list[list[int]] = [[] for _ in range(count)]
    shingles, starts = windows(units, documents, SHINGLE * per_word)
    owners = documents[starts]
    enough = np.flatnonzero(np.bincount(owners, minlength=count) >= MINIMUM_SHINGLES * per_word)
    long = np.isin(owners, enough)
    shingles, owners = shingles[long], owners[long]
    if not len(shingles):
        return bands
    begin = run_starts(owners)
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
