"""The tokens of a word, and of an argument of a triple; for WordPiece, BPE and Unigram tokenizers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import regex

SPECIAL = -1
"""The word number of a special token."""

UNSPACED = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Yi}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}\p{Tai_Tham}\p{Tai_Le}"
    r"\p{New_Tai_Lue}\p{Tai_Viet}\p{Javanese}\p{Balinese}]"
)
"""Characters of scripts written without spaces between words."""

LETTERS = regex.compile(r"[\p{L}\p{M}\p{N}]")

Offsets = Sequence[tuple[int, int]]
"""The character span of each token, end exclusive; (0, 0) for special ones."""


def word_numbers(text: str, offsets: Offsets, word_ids: Sequence[int | None]) -> npt.NDArray[np.int64]:
    """The number of the word that each token belongs to, int64 [length]; ``SPECIAL`` for special tokens.

    Words are those of the pre-tokenizer (``word_ids`` of a fast tokenizer): WordPiece and byte-level BPE split off
    punctuation, SentencePiece does not. Some SentencePiece tokenizers have no pre-tokenizer that splits (Gemma,
    Llama: the whole text is one "word"), so words also end at white space. In scripts without spaces every token
    is a word, since otherwise a sentence would be one; the bytes of one character always stay together.
    """
    numbers = np.full(len(offsets), SPECIAL, dtype=np.int64)
    number, last = 0, -1  # last: the previous token, unless it is special
    for token, ((start, end), word) in enumerate(zip(offsets, word_ids, strict=True)):
        if word is None:
            last = -1
            continue
        if last >= 0 and (word != word_ids[last] or _starts_word(text, offsets[last], start, end)):
            number += 1
        numbers[token], last = number, token
    return numbers


def _starts_word(text: str, before: tuple[int, int], start: int, end: int) -> bool:
    """Whether a token starts a word although the tokenizer assigns it to the word of the previous token."""
    if start < before[1]:  # bytes of the same character
        return False
    between = text[before[1] : start + 1]
    if between[:1].isspace():
        return True
    piece = text[before[0] : before[1]]
    if piece[-1:].isspace():
        return not piece.isspace()  # a space alone belongs to what follows
    return bool(UNSPACED.match(text[start:end]))


def tokens_of_span(text: str, offsets: Offsets, start: int, end: int) -> npt.NDArray[np.int64] | None:
    """The positions of the tokens of ``text[start:end]``, including a space before it; int64, sorted.

    ``None`` if one of them also has letters outside the span, which could not be masked separately.
    """
    found: list[int] = []
    for token, (first, last) in enumerate(offsets):
        if first < last and first < end and last > start:
            outside = text[first : max(first, start)] + text[min(last, end) : last]
            if LETTERS.search(outside):
                return None
            found.append(token)
    while found and found[0] > 0 and text[slice(*offsets[found[0] - 1])].isspace():
        found.insert(0, found[0] - 1)
    return np.asarray(found, dtype=np.int64)
