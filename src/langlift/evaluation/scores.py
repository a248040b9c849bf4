"""The scores of a text, by masked models and decoders alike."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from langlift.errors import InputError, LangliftError
from langlift.training.cost import peak_memory_bytes
from langlift.training.precision import precision_name
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


def shared_scores(
    tokenizer: Any,
    ids: npt.NDArray[np.int64],
    total: float,
    *,
    characters: int,
    bytes_: int,
    started: float,
    path: str,
    bf16: bool,
) -> dict[str, Any]:
    """The fields of ``TextScore`` that depend on all scored tokens, ``ids``, and their summed log-probability.

    Raises:
        LangliftError: the model's probabilities are not finite.
    """
    if not isfinite(total):
        raise LangliftError(
            f"the log-probability of the text is {total}",
            "the model's weights may be damaged; if not, try --precision float32",
        )
    seconds = time.monotonic() - started
    return {
        "per_character": exp(-total / characters),
        "per_byte": exp(-total / bytes_),
        "unknown_share": float((ids == tokenizer.unk_token_id).mean()),
        "byte_share": float(np.isin(ids, byte_tokens(tokenizer)).mean()),
        "tokens": len(ids),
        "seconds": round(seconds, 2),
        "path": path,
        "precision": precision_name(bf16),
        "tokens_per_second": round(len(ids) / max(seconds, 1e-9), 1),
        "peak_memory_bytes": peak_memory_bytes(),
    }


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
