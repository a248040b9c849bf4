"""Byte-pair merging of any symbols (characters or tokens), the most frequent pair first."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE

FIRST_CODE_POINT = 0x10000
"""Symbols are represented by characters from here on, none of which is white space."""
MINIMUM_COUNT = 2
"""Minimum frequency of a character or pair to be used."""

Word = tuple[str, ...]


class Merge(NamedTuple):
    """Two neighbouring tokens, and the token that they form."""

    left: str
    right: str
    piece: str


def merged(words: Counter[Word], count: int, prefix: str) -> Iterator[Merge]:
    """At least ``count`` merges of neighbouring symbols, each of the most frequent pair at that point.

    ``words`` are sequences of symbols with their frequencies; ``prefix`` marks symbols within a word (``##``) and
    occurs once in a merged symbol. Only the words decide: each symbol becomes one character for the trainer of
    ``tokenizers``, which breaks ties at random if it handles the prefixes itself.
    """
    symbols = sorted({symbol for word in words for symbol in word})
    spelled = {symbol: chr(FIRST_CODE_POINT + number) for number, symbol in enumerate(symbols)}
    texts = ("".join(spelled[symbol] for symbol in word) for word, n in words.items() for _ in range(n))
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    wanted = len(symbols) + count + count // 5 + 100  # some merges form an existing token
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=wanted, min_frequency=MINIMUM_COUNT, show_progress=False)
    )
    back = {character: symbol for symbol, character in spelled.items()}

    def piece(characters: str) -> str:
        first, *rest = (back[character] for character in characters)
        return first + "".join(part.removeprefix(prefix) for part in rest)

    for left, right in json.loads(tokenizer.to_str())["model"]["merges"]:
        yield Merge(piece(left), piece(right), piece(left + right))
