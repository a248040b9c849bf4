"""Plain text files: lines, documents and splits.

A document is a block of lines between blank lines. In a file with fewer than ten such blocks it is a
run of 50 consecutive lines (fewer in a short file, so that there are always enough documents to split).
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from langlift.errors import InputError

LINES_PER_DOCUMENT = 50
MINIMUM_LINES = 10
MINIMUM_WORDS = 50

Document = list[str]


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file, stripped, with blank ones kept as ``""``; errors as ``read_raw_lines``."""
    return [line.strip() for line in read_raw_lines(path)]


def read_raw_lines(path: Path) -> list[str]:
    """Read a UTF-8 text file strictly; lines come without their ends (LF, CRLF or CR) and otherwise whole.

    Raises:
        InputError: the path is missing or a folder, or a line holds invalid UTF-8 or a NUL byte.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", "check the path given") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, a text file is needed", "name one .txt file in it") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", "check its permissions") from None
    if b"\x00" in raw:
        line = _line_of(raw, raw.index(b"\x00"))
        raise InputError(f"{path}:{line}: a NUL byte", "the file is not plain text; save it as UTF-8 text")
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = _line_of(raw, error.start)
        raise InputError(
            f"{path}:{line}: not valid UTF-8 (byte 0x{raw[error.start]:02x})",
            f"convert it first, for example: iconv -f WINDOWS-1252 -t UTF-8 '{path}' > fixed.txt",
        ) from None
    # Only real line ends: str.splitlines would also cut at U+2028, form feeds and the like.
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _line_of(raw: bytes, offset: int) -> int:
    """The number of the line that holds the byte at ``offset``."""
    return raw[:offset].replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") + 1


def read_documents(path: Path) -> list[Document]:
    """Read the documents of a text file, in order; every document holds at least one non-blank line.

    Raises:
        InputError: as ``read_lines``; or the file is empty or too short to train on.
    """
    lines = read_lines(path)
    filled = sum(1 for line in lines if line)
    if not filled:
        raise InputError(f"{path}: the file is empty", "give a text file with one sentence or paragraph a line")
    words = sum(len(line.split()) for line in lines)
    if filled < MINIMUM_LINES or words < MINIMUM_WORDS:
        raise InputError(
            f"{path}: too little text to split and train on ({filled} lines, {words} words)",
            f"at least {MINIMUM_LINES} lines and {MINIMUM_WORDS} words are needed; thousands are better",
        )
    blocks = _blocks(lines)
    if len(blocks) >= MINIMUM_LINES:
        return blocks
    dense = [line for line in lines if line]
    size = min(LINES_PER_DOCUMENT, max(1, len(dense) // 10))
    return [dense[start : start + size] for start in range(0, len(dense), size)]


def _blocks(lines: Sequence[str]) -> list[Document]:
    """The runs of non-blank lines."""
    blocks: list[Document] = [[]]
    for line in lines:
        if line:
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


def split_documents(
    documents: Sequence[Document], shares: Sequence[float], seed: int
) -> tuple[list[Document], ...]:
    """Split documents at random into parts, one for each share; a document is never cut.

    ``shares`` sum to 1. Every part but the first gets at least one document; each part comes back in
    a shuffled order. The same documents, shares and seed always give the same parts.
    """
    order = np.random.default_rng(seed).permutation(len(documents))
    sizes = [max(1, round(share * len(documents))) for share in shares[1:]]
    while sum(sizes) > len(documents) - 1 and max(sizes) > 1:
        sizes[sizes.index(max(sizes))] -= 1
    bounds = np.cumsum([0, max(0, len(documents) - sum(sizes)), *sizes])
    return tuple([documents[i] for i in order[start:end]] for start, end in pairwise(bounds))
