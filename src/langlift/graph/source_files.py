"""Files of any size, plain or gzip, read once in blocks of whole lines; their edges, and counts of their rows."""

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from langlift.data_folder import MEGABYTE, SAMPLE
from langlift.errors import InputError, printable
from langlift.progress import ProgressBar

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK_BYTES = 1 << 23
LONGEST_LINE_BYTES = 1 << 24
GZIP_MAGIC = b"\x1f\x8b"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class SourceFile(io.FileIO):
    """A file that is read once, in order, while its SHA-256 is computed and progress is shown.

    ``bytes_read`` and ``size`` count the bytes of the file itself (compressed, for gzip). InputError if there is
    no such file, or it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        try:
            super().__init__(path)
        except FileNotFoundError:
            raise InputError(f"{path}: no such file", "check the path given") from None
        except IsADirectoryError:
            raise InputError(f"{path}: is a folder, not a file", "name the file in it") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})", "check its permissions") from None
        self.path, self.size, self.bytes_read = path, path.stat().st_size, 0
        self._digest = hashlib.sha256()

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read bytes, counting and hashing them."""
        count = super().readinto(buffer) or 0
        self._digest.update(memoryview(buffer)[:count])
        self.bytes_read += count
        return count

    @property
    def sha256(self) -> str:
        """The SHA-256 of the bytes read so far; of the whole file after ``blocks``."""
        return self._digest.hexdigest()

    def blocks(self) -> Iterator[tuple[int, bytes]]:
        """Yield (number of its first line, bytes) for blocks of whole lines; every line ends in LF.

        InputError if the gzip stream is damaged, or a line is longer than 16 MiB.
        """
        line, shown = 1, 0
        with (
            io.BufferedReader(self, 1 << 18) as buffered,
            ProgressBar(f"reading {self.path.name}", max(1, self.size // MEGABYTE), "MB") as progress,
        ):
            stream = gzip.GzipFile(fileobj=buffered) if buffered.peek(2)[:2] == GZIP_MAGIC else buffered
            while True:
                try:
                    block = stream.read(BLOCK_BYTES)
                    if not block.endswith(b"\n"):
                        block += stream.readline(LONGEST_LINE_BYTES + 1)
                except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                    raise InputError(
                        f"{self.path}:{line}: damaged gzip file ({error})", "download it again and compare sizes"
                    ) from None
                except OSError as error:
                    raise InputError(f"{self.path}: cannot be read ({error})", "check the disk") from None
                if (done := self.bytes_read // MEGABYTE) > shown:
                    progress.advance(done - shown)
                    shown = done
                if not block:
                    return
                last = block.rfind(b"\n", 0, -1) + 1
                if len(block) - last > LONGEST_LINE_BYTES:
                    place = line + block.count(b"\n", 0, last)
                    raise InputError(
                        f"{self.path}:{place}: a line of more than {LONGEST_LINE_BYTES >> 20} MiB",
                        "lines must end in LF or CRLF",
                    )
                if line == 1:
                    block = block.removeprefix(BYTE_ORDER_MARK)
                if block:
                    yield line, block if block.endswith(b"\n") else block + b"\n"
                line += block.count(b"\n")


class Edge(NamedTuple):
    """One triple, read from line ``line`` of a source; languages are named as the source names them."""

    line: int
    head: str
    head_language: str
    relation: str
    tail: str
    tail_language: str
    weight: float
    licence: str | None = None


class Counts(NamedTuple):
    """The number of rows in a block, the number of damaged ones, and line and reason of the first 20 of these."""

    rows: int
    damaged: int = 0
    first: Sequence[tuple[int, str]] = ()


class Tally:
    """Counts over all sources of a build; ``damaged_rows`` are the first 20 damaged rows."""

    def __init__(self, strict: bool = False) -> None:
        self.rows = self.damaged = 0
        self.damaged_rows: list[dict[str, Any]] = []
        self._strict = strict

    def add(self, source: Path, counts: Counts) -> None:
        """Add the counts of a block; InputError if a row is damaged, and the tally is strict."""
        self.rows += counts.rows
        self.damaged += counts.damaged
        for line, reason in counts.first:
            if self._strict:
                raise InputError(
                    f"{source}:{line}: {printable(reason)}", "fix the row, or leave out --strict to skip such rows"
                )
            if len(self.damaged_rows) < SAMPLE:
                row = {"source": printable(str(source)), "line": line, "reason": printable(reason)}
                self.damaged_rows.append(row)

    def damage(self, source: Path, line: int, reason: str) -> None:
        """Count a damaged row; raises as ``add`` does."""
        self.add(source, Counts(1, 1, [(line, reason)]))

    def first_damage(self) -> str:
        """The first damaged row in brackets, for a message; empty if there is none."""
        return " (the first: {source}:{line}: {reason})".format(**self.damaged_rows[0]) if self.damaged else ""
