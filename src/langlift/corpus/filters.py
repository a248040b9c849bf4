"""Filters on lines: length, damage, too little text, repetition, script.

Repetition follows the rules of Gopher (Rae et al. 2021, arXiv 2112.11446, table A1), which judge documents: there
the limits are 20 % of characters for the most frequent 2-gram and 15 % for repeated 5-grams. Lines are shorter,
and a refrain or a list is no fault, so the limits here are wider. Where the script has no spaces between words,
a fixed number of characters counts as a word (``characters.py``).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from langlift.corpus.characters import COMMON_LETTER, DAMAGED, LETTER, MARK, OTHER_LETTER, SPACE, kinds
from langlift.corpus.fingerprints import Fingerprints, Lines, windows

MINIMUM_WORDS = 2
MAXIMUM_WORDS = 1000
MINIMUM_LETTERS = 0.5
"""Share of letters (and marks) in what is not space."""
MINIMUM_SCRIPT = 0.5
"""Share of letters in the language's script; letters common to all scripts do not count."""
RUN = 5
MAXIMUM_RUNS = 0.3
"""Share of characters in runs of ``RUN`` or more of the same character."""
WORDS_FOR_REPETITION = 10
MAXIMUM_WORD = 0.4
"""Share of one word (in scripts without spaces: one character)."""
NGRAM = 5
MAXIMUM_NGRAMS = 0.3
"""Share of runs of ``NGRAM`` words that occurred before in the line."""


@dataclass(frozen=True)
class Rule:
    """A filter: its name, what it drops in words, and of each line of a batch whether it drops it."""

    name: str
    says: str
    drops: np.ndarray


def line_rules(lines: Lines, prints: Fingerprints, script: str) -> Iterator[Rule]:
    """Every filter on lines in turn, for a batch; a line belongs to the first that drops it."""
    count = len(lines.texts)
    of_kind = _count_kinds(lines, script)
    letters = of_kind[:, LETTER] + of_kind[:, OTHER_LETTER] + of_kind[:, COMMON_LETTER]
    filled = of_kind.sum(axis=1) - of_kind[:, SPACE]
    units = np.bincount(prints.unit_lines, minlength=count)
    words = units / prints.per_word
    yield Rule("too_short", f"fewer than {MINIMUM_WORDS} words", words < MINIMUM_WORDS)
    yield Rule("too_long", f"more than {MAXIMUM_WORDS} words", words > MAXIMUM_WORDS)
    yield Rule("damaged", "holds a character lost in conversion (U+FFFD)", of_kind[:, DAMAGED] > 0)
    yield Rule(
        "few_letters",
        f"letters are under {MINIMUM_LETTERS:.0%} of it",
        letters + of_kind[:, MARK] < MINIMUM_LETTERS * filled,
    )
    own, others = of_kind[:, LETTER], of_kind[:, OTHER_LETTER]
    yield Rule(
        "other_script",
        f"under {MINIMUM_SCRIPT:.0%} of its letters are {script}",
        own < MINIMUM_SCRIPT * (own + others),
    )
    yield Rule(
        "repeated_characters",
        f"over {MAXIMUM_RUNS:.0%} of it are runs of one character",
        _in_runs(lines) > MAXIMUM_RUNS * filled,
    )
    enough = words >= WORDS_FOR_REPETITION
    yield Rule(
        "repeated_word",
        f"over {MAXIMUM_WORD:.0%} of it is one word",
        enough & (_most_frequent(prints.units, prints.unit_lines, count) > MAXIMUM_WORD * units),
    )
    size = NGRAM * prints.per_word
    ngrams, starts = windows(prints.units, prints.unit_lines, size)
    repeated = _repeated(ngrams, prints.unit_lines[starts], count)
    yield Rule(
        "repeated_phrases",
        f"over {MAXIMUM_NGRAMS:.0%} of its runs of {NGRAM} words are repeated",
        enough & (repeated > MAXIMUM_NGRAMS * np.maximum(1, units - size + 1)),
    )


def _count_kinds(lines: Lines, script: str) -> np.ndarray:
    """How many characters of each kind a line has; the line end counts as a space."""
    keys = lines.line_of * 8 + kinds(script)[lines.codes]
    return np.bincount(keys, minlength=8 * len(lines.texts)).reshape(-1, 8)


def _in_runs(lines: Lines) -> np.ndarray:
    """How many characters of each line stand in runs of one character."""
    codes = lines.codes
    changes = (codes[1:] != codes[:-1]) | (lines.line_of[1:] != lines.line_of[:-1])
    starts = np.append(0, np.flatnonzero(changes) + 1)
    lengths = np.diff(np.append(starts, len(codes)))
    long = lengths >= RUN
    return np.bincount(lines.line_of[starts[long]], weights=lengths[long], minlength=len(lines.texts))


def _most_frequent(units: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """How often the most frequent unit of each group occurs."""
    most = np.zeros(count, dtype=np.int64)
    if len(units):
        keys, starts = _sorted_keys(units, groups)
        np.maximum.at(most, _group_of(keys), np.diff(np.append(starts, len(units))))
    return most


def _repeated(units: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """How many units of each group occurred before in it."""
    keys, _ = _sorted_keys(units, groups)
    distinct = np.bincount(_group_of(keys), minlength=count)
    return np.bincount(groups, minlength=count) - distinct


GROUP_BITS = 24


def _sorted_keys(units: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct pairs of group and unit as one number each, sorted, and where each begins among all."""
    keys = (groups.astype(np.uint64) << np.uint64(64 - GROUP_BITS)) | (units >> np.uint64(GROUP_BITS))
    keys.sort()
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.zeros(0, dtype=np.int64)
    return keys[starts], starts


def _group_of(keys: np.ndarray) -> np.ndarray:
    return (keys >> np.uint64(64 - GROUP_BITS)).astype(np.int64)
