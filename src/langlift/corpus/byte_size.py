"""Sizes as people write them: ``500KB``, ``1.5GB``, ``1GiB``."""

import re

from langlift.errors import InputError

SIZE = re.compile(r"\s*(\d{1,18}(?:\.\d{1,9})?)\s*(?:([KMGT])(I)?)?B?\s*", re.IGNORECASE | re.ASCII)


def parse_bytes(text: str) -> int:
    """A number of bytes, at least 1; K, M, G and T are powers of 1000, Ki, Mi, Gi and Ti of 1024."""
    size = 0
    if match := SIZE.fullmatch(text):
        number, prefix, binary = match.groups()
        power = "KMGT".index(prefix.upper()) + 1 if prefix else 0
        size = round(float(number) * (1024 if binary else 1000) ** power)
    if size < 1:
        raise InputError(f"'{text}' is not a size", "write it as in 500KB, 1.5GB or 1GiB")
    return size
