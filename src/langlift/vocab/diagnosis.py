"""How well a base model's vocabulary fits a text: tokens per word, unknown tokens, missing letters."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import regex
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from langlift.vocab.parts import BYTE_PIECE, META, State, byte_characters

WORD = regex.compile(r"[\p{L}\p{M}\p{N}\u200c\u200d]+")
"""A word is a run of letters, marks and digits; apostrophes and hyphens end it, regardless of the tokenizer."""
LETTER = regex.compile(r"(?V1)[[\p{L}\p{M}]--\p{Variation_Selector}]")
WORD_MARKS = (META, "\u0120")
"""The tokens of SentencePiece and byte-level BPE for a space."""
BATCH = 500
OWN_SIZE = 16_000
"""The size of the language's own vocabulary, with which a base model's is compared."""


@dataclass(frozen=True)
class MissingLetter:
    """A letter or mark without a token, and its share of the letters and marks in the text."""

    letter: str
    share: float


@dataclass(frozen=True)
class VocabularyFit:
    """Measures of a tokenizer on a text. Shares are from 0 to 1.

    ``fertility``: tokens per word (a run of letters, marks and digits; Rust et al. 2021), None if the script has
    no spaces between words. ``characters_per_token``: code points, including spaces. ``whole_words``: share of
    running words that are one known token. ``unknown_words``: share of running words with an unknown part.
    ``unknown_share`` and ``byte_share``: shares of tokens that are unknown, or bytes of a letter without a token.
    ``letter_coverage``: share of running letters and marks with a token. ``missing``: those without, most frequent
    first.
    """

    vocabulary_size: int
    tokens: int
    words: int
    characters: int
    fertility: float | None
    characters_per_token: float
    whole_words: float | None
    unknown_words: float | None
    unknown_share: float
    byte_share: float
    letter_coverage: float
    missing: list[MissingLetter]

    @property
    def unread_share(self) -> float:
        """The share of words with an unknown part, or of unknown tokens in scripts without spaces."""
        return self.unknown_share if self.unknown_words is None else self.unknown_words


def vocabulary_fit(
    tokenizer: Any, lines: Sequence[str], letters: Counter[str], spaced: bool = True
) -> VocabularyFit:
    """Measure a fast tokenizer on ``lines``.

    ``letters``: the letters and marks of the whole text (``count_letters``), from which the lines may be a sample.
    ``spaced``: whether the script has spaces between words.
    """
    tokens = unknown = byte_tokens = words = in_words = whole = damaged = 0
    spelled: set[str] = set()
    unk, vocabulary, byte_level = tokenizer.unk_token_id, tokenizer.get_vocab(), State.of(tokenizer).is_byte_level
    byte_ids = {
        number
        for token, number in vocabulary.items()
        if BYTE_PIECE.fullmatch(token) or (byte_level and _is_partial(token))
    }
    marks = {vocabulary.get(mark) for mark in WORD_MARKS}
    for text, encoding in _encodings(tokenizer, lines):
        covers = []  # (start, end, is unknown, is a byte) of each token
        for i, (start, end), special in zip(
            encoding.ids, encoding.offsets, encoding.special_tokens_mask, strict=True
        ):
            is_unknown, is_byte = i == unk, i in byte_ids
            if special and not is_unknown:
                continue
            if i in marks:
                end += text[start:end].isspace()  # the token belongs to the word after the space
            tokens, unknown, byte_tokens = tokens + 1, unknown + is_unknown, byte_tokens + is_byte
            covers.append((start, end, is_unknown, is_byte))
            if not (is_unknown or is_byte or i in marks):
                spelled.update(text[start:end])
        for count, known_whole, has_unknown in _words(text, covers):
            words, in_words = words + 1, in_words + count
            whole, damaged = whole + known_whole, damaged + has_unknown
    total = sum(letters.values())
    missing = []
    for letter, count in letters.most_common():
        if letter not in spelled:
            alone = tokenizer(letter, add_special_tokens=False)["input_ids"]
            if any(i == unk or i in byte_ids for i in alone):
                missing.append(MissingLetter(letter, count / total))
    counted = spaced and words > 0
    characters = sum(map(len, lines))
    return VocabularyFit(
        vocabulary_size=len(tokenizer),
        tokens=tokens,
        words=words,
        characters=characters,
        fertility=in_words / words if counted else None,
        characters_per_token=characters / max(tokens, 1),
        whole_words=whole / words if counted else None,
        unknown_words=damaged / words if counted else None,
        unknown_share=unknown / max(tokens, 1),
        byte_share=byte_tokens / max(tokens, 1),
        letter_coverage=1.0 - sum(letters[m.letter] for m in missing) / max(total, 1),
        missing=missing,
    )


def count_letters(lines: Sequence[str]) -> Counter[str]:
    """The frequency of each letter and mark; case matters."""
    counts = Counter(chain.from_iterable(lines))
    return Counter({character: n for character, n in counts.items() if LETTER.match(character)})


def own_fertility(training: Sequence[str], lines: Sequence[str]) -> float | None:
    """Tokens per word of a vocabulary for this language alone, on ``lines``.

    It is learned (byte-pair encoding, ``OWN_SIZE`` tokens) from the words of ``training``, which must be different
    lines. None if either contains no word.
    """
    words = Counter(word for line in lines for word in WORD.findall(line))
    counts = Counter(word for line in training for word in WORD.findall(line))
    if not words or not counts:
        return None
    tokenizer = Tokenizer(models.BPE(unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(vocab_size=OWN_SIZE, min_frequency=2, special_tokens=["?"], show_progress=False)
    tokenizer.train_from_iterator((" ".join([word] * n) for word, n in counts.items()), trainer)
    needed = sum(n * len(tokenizer.encode(word).ids) for word, n in words.items())
    return needed / sum(words.values())


def _is_partial(token: str) -> bool:
    """Whether a token of byte-level BPE contains an incomplete character."""
    try:
        bytes(byte_characters()[character] for character in token).decode("utf-8")
    except (KeyError, UnicodeDecodeError) as error:  # a KeyError: an added token
        return isinstance(error, UnicodeDecodeError)
    return False


def _encodings(tokenizer: Any, lines: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for first in range(0, len(lines), BATCH):
        some = list(lines[first : first + BATCH])
        encoded = tokenizer(some, return_special_tokens_mask=True, verbose=False)
        yield from zip(some, encoded.encodings, strict=True)


def _words(text: str, covers: Sequence[tuple[int, int, bool, bool]]) -> Iterator[tuple[int, bool, bool]]:
    """For each word: the number of tokens, whether it is one known token, and whether a part is unknown."""
    first = 0
    for match in WORD.finditer(text):
        start, end = match.span()
        while first < len(covers) and covers[first][1] <= start:
            first += 1
        place, here = first, []
        while place < len(covers) and covers[place][0] < end:
            here.append(covers[place])
            place += 1
        ordinary = len(here) == 1 and not (here[0][2] or here[0][3])
        yield len(here), ordinary, any(is_unknown for _, _, is_unknown, _ in here)
