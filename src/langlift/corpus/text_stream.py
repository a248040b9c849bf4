"""Plain text files as a stream of documents, in memory that does not depend on the file's size.

The documents are those of ``text_files.py``: blocks between blank lines; in a file with fewer than ten such
blocks, 50 lines each (fewer in a short file, unless it is one of many). Only a block over ``MAXIMUM_DOCUMENT`` is
cut, at a line end.
"""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from langlift.corpus.text_files import LINES_PER_DOCUMENT, MINIMUM_LINES
from langlift.errors import InputError

MAXIMUM_DOCUMENT = 1 << 20
"""Characters."""
MAXIMUM_LINE = 1 << 24
"""Bytes; a longer line is not running text."""


def stream_documents(path: Path, one_of_many: bool = False) -> Iterator[str]:
    """The documents of a UTF-8 text file in order, their lines joined by line ends.

    ``one_of_many`` says that there are files enough to split: then a short one is not cut into small documents.

    Raises:
        InputError: the file cannot be read, or a line is no UTF-8 text; the line is named.
    """
    blocks = lines = 0
    for filled, block in groupby(_lines(path), key=bool):
        blocks += filled
        lines += sum(1 for _ in block) if filled else 0
        if blocks >= MINIMUM_LINES:
            yield from _cut(_lines(path), None)
            return
    lines_each = LINES_PER_DOCUMENT if one_of_many else min(LINES_PER_DOCUMENT, max(1, lines // 10))
    yield from _cut((line for line in _lines(path) if line), lines_each)


def _cut(lines: Iterator[str], lines_each: int | None) -> Iterator[str]:
    """Documents of so many lines each, or up to the next blank line."""
    document: list[str] = []
    size = 0
    for line in lines:
        if line:
            document.append(line)
            size += len(line)
        if document and (not line or len(document) == lines_each or size > MAXIMUM_DOCUMENT):
            yield "\n".join(document)
            document, size = [], 0
    if document:
        yield "\n".join(document)


def _lines(path: Path) -> Iterator[str]:
    """The lines of a file, stripped; blank ones as ``""``."""
    number = 0
    try:
        with path.open("rb") as stream:
            while raw := stream.readline(MAXIMUM_LINE):
                number += 1
                if len(raw) == MAXIMUM_LINE and not raw.endswith(b"\n"):
                    raise InputError(
                        f"{path}:{number}: a line of over {MAXIMUM_LINE >> 20} MiB", "break the text into lines"
                    )
                if b"\x00" in raw:
                    raise InputError(f"{path}:{number}: a NUL byte", "not plain text; save it as UTF-8 text")
                text = raw.decode("utf-8")
                if number == 1:
                    text = text.removeprefix("\ufeff")
                # A file of the old Macintosh kind is one line to the system.
                for line in text.strip("\r\n").split("\r") if "\r" in text else (text,):
                    yield line.strip()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}:{number}: not valid UTF-8 (byte 0x{raw[error.start]:02x})",
            f"convert it first, for example: iconv -f WINDOWS-1252 -t UTF-8 '{path}' > fixed.txt",
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", "check its permissions") from None
