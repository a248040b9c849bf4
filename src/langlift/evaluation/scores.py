"""The scores of a text, by masked models and decoders alike."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from langlift.errors import InputError
from langlift.training.recipes import PATHS, PRECISIONS

TOKENS_AT_ONCE = 4096
BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True, kw_only=True)
class SentenceScore:
    """One sentence or text: the number of scored tokens and their summed natural log-probability."""

    text: str
    tokens: int
    log_probability: float


@dataclass(frozen=True, kw_only=True)
class TextScore:
    """The scores of a text other than the perplexity itself; ``Score`` describes the fields."""

    variant: str
    per_character: float
    per_byte: float
    unknown_share: float
    byte_share: float
    sentences: int
    tokens: int
    truncated: int
    seconds: float
    path: str = "fast"
    precision: str = "float32"
    tokens_per_second: float = 0.0
    peak_memory_bytes: int = 0


def require_known(path: str, precision: str) -> None:
    """Raise an InputError for an unknown path or precision."""
    for name, value, choices in (("path", path, PATHS), ("precision", precision, PRECISIONS)):
        if value not in choices:
            raise InputError(f"unknown {name} '{value}'", f"one of {', '.join(choices)}")


def byte_tokens(tokenizer: Any) -> list[int]:
    """The ids of the tokens for single bytes."""
    return [number for token, number in tokenizer.get_vocab().items() if BYTE_TOKEN.fullmatch(token)]


def batches_by_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """The numbers of texts with these lengths, shortest first, in batches of ``TOKENS_AT_ONCE`` tokens."""
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and (len(batch) + 1) * lengths[number] > TOKENS_AT_ONCE:
            yield batch
            batch = []
        batch.append(number)
    yield batch
