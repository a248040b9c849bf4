"""Masking: of tokens, of full words, and of the arguments of triples; and which tokens are a word's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import regex

IGNORED = -100
"""The label of a token that is not predicted, as in PyTorch's cross-entropy."""


@dataclass(frozen=True)
class MaskedLanguageModel:
    """BERT's masking (Devlin et al. 2019, section 3.1).

    A share of the non-special tokens is chosen; of those, 80 % become the mask token, 10 % a random ordinary token
    and 10 % stay. The number chosen is exactly ``round(share * n)``, and at least one. The choice depends only on
    (seed, epoch, example), never on a generator's state, so that resuming or another batch order cannot change it.
    """

    mask_token_id: int
    special_ids: frozenset[int]
    vocabulary_size: int
    share: float = 0.15

    def __call__(
        self, input_ids: npt.NDArray[np.integer], *, seed: int, epoch: int, example: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Mask one example.

        Args:
            input_ids: token ids, shape [length].
            seed: the run's seed.
            epoch: number of times the example has been seen before.
            example: the example's number in its data set.

        Returns:
            (input ids, labels), both int64 [length]; labels are ``IGNORED`` except at the chosen tokens.
        """
        candidates = self.candidates(input_ids)
        random = np.random.default_rng((seed, epoch, example))
        return self.predict(input_ids, random.permutation(candidates)[: self.count(len(candidates))], random)

    def candidates(self, input_ids: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """The positions of the ordinary tokens."""
        return np.flatnonzero(~np.isin(input_ids, list(self.special_ids)))

    def count(self, ordinary: int) -> int:
        """Number of tokens chosen out of ``ordinary`` ones."""
        return max(1, round(self.share * ordinary)) if ordinary else 0

    def predict(
        self, input_ids: npt.NDArray[np.integer], chosen: npt.NDArray[np.integer], random: np.random.Generator
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Input ids and labels if the tokens at ``chosen`` are predicted: 80/10/10 each."""
        seen = input_ids.astype(np.int64)
        labels = np.full_like(seen, IGNORED)
        labels[chosen] = seen[chosen]
        fate = random.random(len(chosen))
        seen[chosen[fate < 0.8]] = self.mask_token_id
        replaced = chosen[(fate >= 0.8) & (fate < 0.9)]
        drawn = random.integers(self.vocabulary_size, size=len(replaced))
        while (bad := np.isin(drawn, list(self.special_ids))).any():  # special tokens are drawn again
            drawn[bad] = random.integers(self.vocabulary_size, size=int(bad.sum()))
        seen[replaced] = drawn
        return seen, labels


@dataclass(frozen=True)
class FullWordMasking:
    """BERT's whole-word masking: as ``mlm``, but words are chosen instead of tokens.

    Words are chosen in random order until ``mlm``'s number of tokens is reached. The word that would exceed it is
    chosen with the probability that makes the expected number exact, or always if it is the first, so that
    something is predicted. Each token of a chosen word independently becomes the mask token (80 %), a random one
    (10 %) or stays (10 %), as in BERT.
    """

    mlm: MaskedLanguageModel

    def __call__(
        self,
        input_ids: npt.NDArray[np.integer],
        words: npt.NDArray[np.integer],
        *,
        seed: int,
        epoch: int,
        example: int,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Mask one example; as ``MaskedLanguageModel``, with ``words`` from ``word_numbers``, shape [length]."""
        candidates = self.mlm.candidates(input_ids)
        count = self.mlm.count(len(candidates))
        random = np.random.default_rng((seed, epoch, example))
        numbers, sizes = np.unique(words[candidates], return_counts=True)
        order = random.permutation(len(numbers))
        ends = np.cumsum(sizes[order])
        taken = int(np.searchsorted(ends, count, side="right"))
        if taken < len(order):
            missing = count - (int(ends[taken - 1]) if taken else 0)
            if taken == 0 or random.random() < missing / sizes[order[taken]]:
                taken += 1
        chosen = candidates[np.isin(words[candidates], numbers[order[:taken]])]
        return self.mlm.predict(input_ids, chosen, random)


PUBLISHED_RELATIONS = frozenset(
    {
        "Antonym",
        "DerivedFrom",
        "DistinctFrom",
        "EtymologicallyDerivedFrom",
        "EtymologicallyRelatedTo",
        "FormOf",
        "HasContext",
        "IsA",
        "RelatedTo",
        "SimilarTo",
        "SymbolOf",
        "Synonym",
    }
)
"""The relations of the published script, utilities/lang_adapters/run_mlm_targeted_masking.py in
github.com/d-gurgurov/Injecting-Commonsense-Knowledge-into-LLMs, which leaves out all other sentences."""


@dataclass(frozen=True)
class TargetedMasking:
    """Head or tail, each with probability 0.5, is replaced completely by mask tokens: no 80/10/10.

    The choice depends only on (seed, epoch, example) and is made again in every epoch.
    """

    mask_token_id: int
    special_ids: frozenset[int]

    def __call__(
        self,
        input_ids: npt.NDArray[np.integer],
        arguments: Sequence[npt.NDArray[np.int64]],
        *,
        seed: int,
        epoch: int,
        example: int,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Mask one example; as ``MaskedLanguageModel``.

        ``arguments`` are the positions of head and tail, or of the one that can be predicted. Unknown tokens are
        masked too, but have no label.
        """
        random = np.random.default_rng((seed, epoch, example))
        chosen = arguments[0 if random.random() < 0.5 else -1]
        seen = input_ids.astype(np.int64)
        labels = np.full_like(seen, IGNORED)
        labels[chosen] = np.where(np.isin(seen[chosen], list(self.special_ids)), IGNORED, seen[chosen])
        seen[chosen] = self.mask_token_id
        return seen, labels


def published_positions(
    input_ids: npt.NDArray[np.integer], pieces_of_words: Sequence[Sequence[int]]
) -> npt.NDArray[np.int64]:
    """The positions that the published script masks for an argument, int64, sorted.

    It tokenises each word of the argument separately and masks every occurrence of these tokens in the sentence:
    also in the other argument or the relation, and none if the word is tokenised differently in the sentence.
    """
    found: set[int] = set()
    ids = [int(i) for i in input_ids]
    for pieces in map(list, pieces_of_words):
        at = 0
        while pieces and at + len(pieces) <= len(ids):
            places = range(at, at + len(pieces))
            if ids[at : at + len(pieces)] == pieces and found.isdisjoint(places):
                found.update(places)
                at += len(pieces)
            else:
                at += 1
    return np.asarray(sorted(found), dtype=np.int64)


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
            number += last >= 0  # a special token ends a word, also if it is spelt in the text
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
