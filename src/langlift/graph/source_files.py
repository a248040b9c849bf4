"""Files of any size, plain or gzip, read once in blocks of whole lines."""

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
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


class SourceFile:
    """A file that is read from front to back once, its SHA-256 computed and progress shown on the way.

    Used as a context manager. ``bytes_read`` counts the file's own (compressed) bytes, ``size`` is how many there
    are.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._raw = _Hashing(path)
        except FileNotFoundError:
            raise InputError(f"{path}: no such file", "check the path given") from None
        except IsADirectoryError:
            raise InputError(f"{path}: is a folder, a file is needed", "name the file in it") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})", "check its permissions") from None
        self.size = path.stat().st_size

    def __enter__(self) -> "SourceFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._raw.close()

    @property
    def bytes_read(self) -> int:
        """How far the reading has come, in bytes of the file."""
        return self._raw.count

    @property
    def sha256(self) -> str:
        """The SHA-256 of what has been read: of the whole file when ``blocks`` is exhausted."""
        return self._raw.digest.hexdigest()

    def blocks(self) -> Iterator[tuple[int, bytes]]:
        """Yield (number of its first line, bytes) for blocks of whole lines; every line ends in LF.

        Raises:
            InputError: the gzip stream is damaged, or a line is longer than 16 MiB.
        """
        line, rest, first, shown = 1, b"", True, 0
        with (
            io.BufferedReader(self._raw, 1 << 18) as buffered,
            ProgressBar(f"reading {self.path.name}", max(1, self.size // MEGABYTE), "MB") as progress,
        ):
            packed = buffered.peek(2)[:2] == GZIP_MAGIC
            stream = gzip.GzipFile(fileobj=buffered) if packed else buffered
            while True:
                try:
                    piece = stream.read(BLOCK_BYTES)
                except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                    place = line + rest.count(b"\n")
                    raise InputError(
                        f"{self.path}:{place}: damaged gzip file ({error})",
                        "fetch the file again and compare sizes",
                    ) from None
                except OSError as error:
                    raise InputError(f"{self.path}: cannot be read ({error})", "check the disk") from None
                if (done := self.bytes_read // MEGABYTE) > shown:
                    progress.advance(done - shown)
                    shown = done
                if first:
                    piece, first = piece.removeprefix(BYTE_ORDER_MARK), False
                data = rest + piece if rest else piece
                end = len(data) if not piece else data.rfind(b"\n") + 1
                block, rest = data[:end], data[end:]
                if len(rest) > LONGEST_LINE_BYTES:
                    place = line + block.count(b"\n")
                    raise InputError(
                        f"{self.path}:{place}: a line of more than {LONGEST_LINE_BYTES >> 20} MiB",
                        "lines must end in LF or CRLF",
                    )
                if block:
                    yield line, block if block.endswith(b"\n") else block + b"\n"
                    line += block.count(b"\n")
                if not piece:
                    return


class _Hashing(io.RawIOBase):
    """A raw file that hashes and counts what is read from it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self.digest = hashlib.sha256()
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        count = self._file.readinto(view) or 0
        self.digest.update(view[:count])
        self.count += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
