"""Lines as arrays: their characters, and hashes of their words and word sequences.

All hashes are 64-bit polynomials over hashed characters, h(c_0 ... c_n) = sum h(c_i) B^i mod 2^64, mixed at the
end. Prefix sums give the hash of any substring in constant time, so a batch of lines takes a few passes over its
characters. Only letters, digits and marks count, without case. Hashes are the same on every machine.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from langlift.corpus.characters import LIMIT, SPACE, characters_per_word, folded, kinds

BASE = 0x9E3779B97F4A7C15
INVERSE = pow(BASE, -1, 2**64)


@dataclass(frozen=True)
class Lines:
    """Lines and their characters: ``codes`` of all lines with their line ends (uint32, clipped to ``LIMIT``),
    the line of each character (``line_of``), where lines begin (``starts``), and their ``sizes`` in bytes (UTF-8,
    including line ends)."""

    texts: list[str]
    codes: np.ndarray
    line_of: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray


@dataclass(frozen=True)
class Fingerprints:
    """Hashes of a batch of lines.

    ``lines``: a hash for each line, ignoring spaces (0: only punctuation). ``units``: a hash for each word, or for
    each character in scripts without spaces. ``unit_lines``: the line of each unit. ``per_word``: the number of
    units that count as a word.
    """

    lines: np.ndarray
    units: np.ndarray
    unit_lines: np.ndarray
    per_word: int


def as_arrays(texts: list[str]) -> Lines:
    """The characters of lines without line ends and lone surrogates."""
    joined = "\n".join([*texts, ""])
    codes = np.frombuffer(joined.encode("utf-32-le"), dtype=np.uint32)
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)) + 1
    starts = np.cumsum(lengths) - lengths
    line_of = np.repeat(np.arange(len(texts), dtype=np.int32), lengths)
    if joined.isascii():
        sizes = lengths
    else:
        widths = np.ones(len(codes), dtype=np.int8)
        for bound in (0x80, 0x800, 0x10000):
            widths += codes >= bound
        sizes = np.add.reduceat(widths, starts, dtype=np.int64) if texts else lengths
    return Lines(texts, np.minimum(codes, LIMIT), line_of, starts, sizes)


def fingerprint(lines: Lines, script: str, split_at_punctuation: bool = False) -> Fingerprints:
    """Hash the lines and their words; ``script`` decides what counts as a word.

    With ``split_at_punctuation``, all characters but letters, digits and marks separate words, not only spaces.
    """
    hashes = _character_hashes()[lines.codes]
    separators = hashes == 0 if split_at_punctuation else kinds(script)[lines.codes] == SPACE
    kept = np.flatnonzero(hashes)
    hashes, line_of = hashes[kept], lines.line_of[kept]
    sums = _prefix_sums(hashes)
    line_hashes = np.zeros(len(lines.texts), dtype=np.uint64)
    starts = run_starts(line_of)
    line_hashes[line_of[starts]] = _substrings(sums, starts, np.append(starts[1:], len(kept)))
    per_word = characters_per_word(script)
    if per_word:
        return Fingerprints(line_hashes, hashes, line_of, per_word)
    starts = run_starts(np.cumsum(separators, dtype=np.int32)[kept])
    words = _substrings(sums, starts, np.append(starts[1:], len(kept)))
    return Fingerprints(line_hashes, words, line_of[starts], 1)


def windows(units: np.ndarray, groups: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of all sequences of ``size`` consecutive units within one group, and the index where each begins.

    ``groups`` is the group (line, document) of each unit; the units of a group are consecutive.
    """
    if len(units) < size:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    starts = np.flatnonzero(groups[size - 1 :] == groups[: len(groups) - size + 1])
    return _substrings(_prefix_sums(units), starts, starts + size), starts


def run_starts(values: np.ndarray) -> np.ndarray:
    """The index where each run of equal values begins."""
    return np.flatnonzero(np.append(True, values[1:] != values[:-1])[: len(values)])


def mix(values: np.ndarray) -> np.ndarray:
    """Scramble 64-bit values so that all bits depend on all (the finaliser of splitmix64)."""
    values = values.astype(np.uint64)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _prefix_sums(values: np.ndarray) -> np.ndarray:
    """``sums[i]`` = sum of ``values[j] B^j`` over j < i."""
    sums = np.zeros(len(values) + 1, dtype=np.uint64)
    np.cumsum(values * _powers(BASE, len(values)), out=sums[1:])
    return sums


def _substrings(sums: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    return mix((sums[ends] - sums[starts]) * _powers(INVERSE, len(sums))[starts])


def _powers(base: int, count: int) -> np.ndarray:
    """``base`` to the power of 0, 1, ... mod 2^64."""
    return _powers_of(base, max(16, (count - 1).bit_length()))[:count]


@cache
def _powers_of(base: int, bits: int) -> np.ndarray:
    powers = np.full(2**bits, base, dtype=np.uint64)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)


@cache
def _character_hashes() -> np.ndarray:
    """A hash for each code point; 0 for all but letters, digits and marks."""
    codes = folded()
    return np.where(codes == 0, np.uint64(0), mix(codes + np.uint64(BASE)))
