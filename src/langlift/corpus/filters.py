"""Filters on lines: length, damage, too little text, repetition, script.

Repetition follows the rules of Gopher (Rae et al. 2021, arXiv 2112.11446, table A1), which judge documents: there
the limits are 20 % of characters for the most frequent 2-gram and 15 % for repeated 5-grams. Lines are shorter,
and a refrain or a list is legitimate, so the limits here are wider. Where the script has no spaces between words,
a fixed number of characters counts as a word (``characters.py``).
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from langlift.corpus.characters import COMMON_LETTER, DAMAGED, KINDS, LETTER, MARK, OTHER_LETTER, SPACE, kinds
from langlift.corpus.fingerprints import Fingerprints, Lines, run_starts, windows

MINIMUM_WORDS = 2
MAXIMUM_WORDS = 1000
MINIMUM_LETTERS = 0.5
"""Share of letters and marks among all characters but spaces."""
MINIMUM_SCRIPT = 0.5
"""Share of letters in the language's script; letters common to all scripts do not count."""
RUN = 5
MAXIMUM_RUNS = 0.3
"""Share of characters in runs of ``RUN`` or more of the same character."""
WORDS_FOR_REPETITION = 10
MAXIMUM_WORD = 0.4
"""Share of the most frequent word (in scripts without spaces: character)."""
NGRAM = 5
MAXIMUM_NGRAMS = 0.3
"""Share of sequences of ``NGRAM`` words that occurred before in the line."""
GROUP_BITS = 24


def line_filters(
    lines: Lines, prints: Fingerprints, script: str
) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
    """For each filter: its name, the reason given, and whether it drops each line of the batch (bool [lines])."""
    count = len(lines.texts)
    # Characters of each kind in each line; the line end counts as a space.
    keys = lines.line_of * KINDS + kinds(script)[lines.codes]
    of_kind = np.bincount(keys, minlength=KINDS * count).reshape(-1, KINDS)
    own, others = of_kind[:, LETTER], of_kind[:, OTHER_LETTER]
    letters_and_marks = own + others + of_kind[:, COMMON_LETTER] + of_kind[:, MARK]
    filled = of_kind.sum(axis=1) - of_kind[:, SPACE]
    units = np.bincount(prints.unit_lines, minlength=count)
    words = units / prints.per_word
    yield "too_short", f"fewer than {MINIMUM_WORDS} words", words < MINIMUM_WORDS
    yield "too_long", f"more than {MAXIMUM_WORDS} words", words > MAXIMUM_WORDS
    yield "damaged", "contains a character lost in conversion (U+FFFD)", of_kind[:, DAMAGED] > 0
    few_letters = letters_and_marks < MINIMUM_LETTERS * filled
    yield "few_letters", f"under {MINIMUM_LETTERS:.0%} of its characters are letters", few_letters
    other_script = own < MINIMUM_SCRIPT * (own + others)
    yield "other_script", f"under {MINIMUM_SCRIPT:.0%} of its letters are {script}", other_script
    starts = run_starts(lines.line_of.astype(np.int64) << 32 | lines.codes)
    lengths = np.diff(np.append(starts, len(lines.codes)))
    long = lengths >= RUN
    in_runs = np.bincount(lines.line_of[starts[long]], weights=lengths[long], minlength=count)
    runs = in_runs > MAXIMUM_RUNS * filled
    yield "repeated_characters", f"over {MAXIMUM_RUNS:.0%} of it are runs of one character", runs
    enough = words >= WORDS_FOR_REPETITION
    of_line, occurrences = _occurrences(prints.units, prints.unit_lines)
    most_frequent = np.zeros(count, dtype=np.int64)
    np.maximum.at(most_frequent, of_line, occurrences)
    one_word = enough & (most_frequent > MAXIMUM_WORD * units)
    yield "repeated_word", f"over {MAXIMUM_WORD:.0%} of it is one word", one_word
    size = NGRAM * prints.per_word
    ngrams, starts = windows(prints.units, prints.unit_lines, size)
    ngram_lines = prints.unit_lines[starts]
    of_line, _ = _occurrences(ngrams, ngram_lines)
    repeated = np.bincount(ngram_lines, minlength=count) - np.bincount(of_line, minlength=count)
    phrases = enough & (repeated > MAXIMUM_NGRAMS * np.maximum(1, units - size + 1))
    yield "repeated_phrases", f"over {MAXIMUM_NGRAMS:.0%} of its runs of {NGRAM} words are repeated", phrases


def _occurrences(units: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each distinct unit of each group: the group, and the number of occurrences."""
    keys = (groups.astype(np.uint64) << np.uint64(64 - GROUP_BITS)) | (units >> np.uint64(GROUP_BITS))
    distinct, counts = np.unique(keys, return_counts=True)
    return (distinct >> np.uint64(64 - GROUP_BITS)).astype(np.int64), counts
