"""What scoring a text finds, whether the model is masked or a decoder."""

import re
from dataclasses import dataclass
from typing import Any

from langlift.errors import InputError
from langlift.training.recipes import PATHS, PRECISIONS

BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True, kw_only=True)
class SentenceScore:
    """One sentence or text: its tokens scored and their summed natural log-probability."""

    text: str
    tokens: int
    log_probability: float


@dataclass(frozen=True, kw_only=True)
class TextScore:
    """What every way of scoring a text finds beside the perplexity itself; ``Score`` tells of the fields."""

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
    """Raise an InputError for a path or precision that there is not."""
    for name, value, choices in (("path", path, PATHS), ("precision", precision, PRECISIONS)):
        if value not in choices:
            raise InputError(f"unknown {name} '{value}'", f"one of {', '.join(choices)}")


def byte_tokens(tokenizer: Any) -> list[int]:
    """The ids of the tokens that stand for single bytes."""
    return [number for token, number in tokenizer.get_vocab().items() if BYTE_TOKEN.fullmatch(token)]
