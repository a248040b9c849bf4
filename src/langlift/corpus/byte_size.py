"""Sizes as people write them: ``500KB``, ``1.5GB``, ``1GiB``."""

import re

from langlift.errors import InputError

UNITS = {
    "": 1,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "KI": 2**10,
    "MI": 2**20,
    "GI": 2**30,
    "TI": 2**40,
}
SIZE = re.compile(r"\s*(\d{1,18}(?:\.\d{1,9})?)\s*([KMGT]I?)?B?\s*", re.IGNORECASE | re.ASCII)


def parse_bytes(text: str) -> int:
    """A number of bytes; K, M, G and T are powers of 1000, Ki, Mi, Gi and Ti of 1024.

    Raises:
        InputError: it is no size, or under one byte.
    """
    match = SIZE.fullmatch(text)
    size = round(float(match[1]) * UNITS[(match[2] or "").upper()]) if match else 0
    if size < 1:
        raise InputError(f"'{text}' is not a size", "such as 500KB, 1.5GB or 1GiB")
    return size
