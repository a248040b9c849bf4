"""Plain text files: lines, documents and splits.

A document is a block of lines between blank lines. In a file with fewer than ten such blocks it is a run of 50
consecutive lines (fewer in a short file, so that there are always enough documents to split).
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from langlift.errors import InputError
from langlift.hub_folders import missing

STANDARD = Path("-")
"""Standard input or output."""
LINES_PER_DOCUMENT = 50
MINIMUM_LINES = 10
"""Also the number of blocks or files that are enough to split."""
MINIMUM_WORDS = 50
MAXIMUM_DOCUMENT = 1 << 20
"""Streamed documents: number of characters after which a document ends at the next line end."""
MAXIMUM_LINE = 1 << 24
"""Streamed documents: maximum bytes per line; a longer line is not running text."""

Document = list[str]


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file, stripped; blank lines are ``""``. Errors as in ``iterate_lines``."""
    return [line.strip() for line in iterate_lines(path)]


def read_raw_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file, as in ``iterate_lines``."""
    return list(iterate_lines(path))


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """The values in a file of JSON lines, with their line numbers; errors as in ``iterate_lines``."""
    for number, line in enumerate(iterate_lines(path), start=1):
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{path}:{number}: not valid JSON ({error})", "one JSON object per line"
                ) from None
            yield number, value


def iterate_lines(path: Path, longest: int = -1) -> Iterator[str]:
    """The lines of a UTF-8 text file one by one, without line ends (LF, CRLF or CR).

    ``longest`` is the maximum number of bytes in a line (-1: no limit). InputError if the path is missing or a
    folder, or a line is too long or contains invalid UTF-8 or a NUL byte.
    """
    number, last = 1, ""
    try:
        with sys.stdin.buffer if path == STANDARD else path.open("rb") as stream:
            # Not str.splitlines, which would also split at U+2028, form feeds and others.
            while raw := stream.readline(longest):
                if len(raw) == longest and not raw.endswith(b"\n"):
                    raise InputError(
                        f"{path}:{number}: a line of over {longest >> 20} MiB", "break the text into lines"
                    )
                if b"\x00" in raw:
                    line = number + raw[: raw.index(b"\x00")].count(b"\r")
                    raise InputError(f"{path}:{line}: a NUL byte", "not plain text; save the file as UTF-8 text")
                text = raw.decode("utf-8")
                if number == 1:
                    text = text.removeprefix("\ufeff")
                *lines, last = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
                yield from lines
                number += len(lines)
    except UnicodeDecodeError as error:
        line = number + raw[: error.start].count(b"\r")
        raise InputError(
            f"{path}:{line}: not valid UTF-8 (byte 0x{raw[error.start]:02x})",
            f"convert it first, for example: iconv -f WINDOWS-1252 -t UTF-8 '{path}' > fixed.txt",
        ) from None
    except FileNotFoundError:
        raise missing(path, "file", "check the path given") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, not a text file", "name a .txt file in it") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", "check its permissions") from None
    yield last


def require_file(path: Path) -> None:
    """Raise an InputError for a pipe: a text whose hash is recorded is read twice, and again to resume."""
    if path == STANDARD or (path.exists() and not path.is_file()):
        raise InputError(f"{path}: a pipe can be read only once", "save the text in a file, and give that")


def read_documents(path: Path) -> list[Document]:
    """The documents of a text file in order, none blank; InputError if they are too few to train on."""
    lines = read_lines(path)
    require_enough(path, lines)
    return list(_documents(lambda: lines))


def require_enough(path: Path, lines: Sequence[str]) -> None:
    """Raise an InputError if these lines of a file are too few to split and train on."""
    filled = sum(1 for line in lines if line)
    if not filled:
        raise InputError(f"{path}: the file is empty", "give a text file with one sentence or paragraph per line")
    words = sum(len(line.split()) for line in lines)
    if filled < MINIMUM_LINES or words < MINIMUM_WORDS:
        raise InputError(
            f"{path}: too little text to split and train on ({filled} lines, {words} words)",
            f"at least {MINIMUM_LINES} lines and {MINIMUM_WORDS} words are needed; thousands are better",
        )


def stream_documents(path: Path, one_of_many: bool = False) -> Iterator[str]:
    """The documents of a text file in order, as text, in memory that does not depend on the size of the file.

    ``one_of_many`` means that there are enough files to split; a short file is then not cut into small documents.
    InputError as in ``iterate_lines``.
    """

    def lines() -> Iterator[str]:
        return (line.strip() for line in iterate_lines(path, MAXIMUM_LINE))

    return map("\n".join, _documents(lines, one_of_many, MAXIMUM_DOCUMENT))


def _documents(
    read: Callable[[], Iterable[str]], one_of_many: bool = False, longest: float = inf
) -> Iterator[Document]:
    """The documents in the stripped lines returned by ``read``, which starts from the beginning at each call."""
    blocks = filled = 0
    for has_text, block in groupby(read(), key=bool):
        blocks += has_text
        filled += sum(1 for _ in block) if has_text else 0
        if blocks >= MINIMUM_LINES:
            return _cut(read(), inf, longest)
    lines_each = LINES_PER_DOCUMENT if one_of_many else min(LINES_PER_DOCUMENT, max(1, filled // 10))
    return _cut(filter(None, read()), lines_each, longest)


def _cut(lines: Iterable[str], lines_each: float, longest: float) -> Iterator[Document]:
    """Documents that end at a blank line, after ``lines_each`` lines, or beyond ``longest`` characters."""
    document: Document = []
    size = 0
    for line in lines:
        if line:
            document.append(line)
            size += len(line)
        if document and (not line or len(document) == lines_each or size > longest):
            yield document
            document, size = [], 0
    if document:
        yield document


def split_documents(
    documents: Sequence[Document], shares: Sequence[float], seed: int
) -> tuple[list[Document], ...]:
    """Split documents at random into parts, one for each share; a document is never cut.

    ``shares`` sum to 1. Every part but the first gets at least one document; each part is in shuffled order. The
    same documents, shares and seed always give the same parts.
    """
    order = np.random.default_rng(seed).permutation(len(documents))
    sizes = [max(1, round(share * len(documents))) for share in shares[1:]]
    while sum(sizes) > len(documents) - 1 and max(sizes) > 1:
        sizes[sizes.index(max(sizes))] -= 1
    bounds = np.cumsum([0, max(0, len(documents) - sum(sizes)), *sizes])
    return tuple([documents[i] for i in order[start:end]] for start, end in pairwise(bounds))
