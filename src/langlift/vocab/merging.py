"""Byte-pair merging of any symbols, characters or pieces: which neighbours to join, the most frequent first."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE

FIRST_CODE_POINT = 0x10000
"""Symbols are spelled as characters from here on: none of them is white space."""
LEAST_COUNT = 2
"""A character or pair that occurs less often is no rule of the language."""

Word = tuple[str, ...]


class Merge(NamedTuple):
    """Two neighbouring pieces, and the piece that they make."""

    left: str
    right: str
    piece: str


def merged(words: Counter[Word], count: int, prefix: str) -> Iterator[Merge]:
    """About ``count`` merges (a few more) of neighbouring symbols, each the most frequent when its turn comes.

    ``words`` are symbols with how often they occur in a row; ``prefix`` marks symbols within a word (``##``) and
    stands once in a joined one. Fixed by the words alone: each symbol becomes one character for the trainer of
    ``tokenizers``, whose own way with prefixes breaks ties at random.
    """
    symbols = sorted({symbol for word in words for symbol in word})
    spelled = {symbol: chr(FIRST_CODE_POINT + number) for number, symbol in enumerate(symbols)}
    texts = ("".join(spelled[symbol] for symbol in word) for word, n in words.items() for _ in range(n))
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    wanted = len(symbols) + count + count // 5 + 100  # some merges make a piece that is there already
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=wanted, min_frequency=LEAST_COUNT, show_progress=False)
    )
    back = {character: symbol for symbol, character in spelled.items()}

    def piece(characters: str) -> str:
        first, *rest = (back[character] for character in characters)
        return first + "".join(part.removeprefix(prefix) for part in rest)

    for left, right in json.loads(tokenizer.to_str())["model"]["merges"]:
        yield Merge(piece(left), piece(right), piece(left + right))
