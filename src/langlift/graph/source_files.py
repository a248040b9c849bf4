"""Files of any size, plain or gzip, read once in blocks of whole lines."""

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from langlift.data_folder import MEGABYTE
from langlift.errors import InputError
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
