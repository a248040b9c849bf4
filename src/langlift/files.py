"""Atomic writing of files and folders, locks, hashes, and the peak memory of a process."""

import fcntl
import hashlib
import json
import os
import re
import resource
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors import SafetensorError

from langlift.errors import InputError, LangliftError
from langlift.processes import is_writer

TORCH_WRITER = re.compile("PytorchStreamWriter|inline_container")
"""Text in torch.save's errors when a file cannot be written."""
SPACE_HINT = "check free space and permissions"
RESUME_HINT = f"{SPACE_HINT}; finished work is kept, the same command with --resume continues"
UMASK = os.umask(0o022)
os.umask(UMASK)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn the operating system's write errors (disk full, read-only) into a LangliftError naming ``target``."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        # torch and safetensors wrap the system's error in their own.
        if isinstance(error, RuntimeError) and not TORCH_WRITER.search(str(error)):
            raise
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise LangliftError(f"{target}: cannot be written ({reason})", SPACE_HINT) from error


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path next to ``target``; rename it to ``target`` on success, remove it on failure.

    With several processes, only the file of rank 0 is kept.
    """
    if not is_writer():
        with TemporaryDirectory() as discarded:
            yield Path(discarded, target.name)
        return
    staging = target.with_name(f".{target.name}.writing")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield staging
            settle(staging)
            staging.replace(target)
        finally:
            staging.unlink(missing_ok=True)


def settle(*written: Path) -> None:
    """Force files to disk before they are renamed, with the usual permissions: safetensors makes them private."""
    for path in written:
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.chmod(0o666 & ~UMASK)


def files_in(folder: Path) -> list[Path]:
    """All files in a folder and its subfolders."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """As ``atomic_file``, for a folder; an existing ``target`` is replaced as a whole."""
    with _emptied(target.with_name(f".{target.name}.writing"), target) as staging:
        yield staging
        settle(*files_in(staging))
        if target.exists():
            shutil.rmtree(target)
        staging.replace(target)


@contextmanager
def atomic_files(folder: Path) -> Iterator[Path]:
    """Yield an empty staging folder; on success move each file in it into ``folder``.

    With several processes, only the files of rank 0 are kept.
    """
    if not is_writer():
        with TemporaryDirectory() as discarded:
            yield Path(discarded)
        return
    with _emptied(folder / ".writing", folder) as staging:
        yield staging
        settle(*files_in(staging))
        for file in sorted(staging.iterdir()):
            file.replace(folder / file.name)


@contextmanager
def _emptied(staging: Path, target: Path) -> Iterator[Path]:
    """An empty staging folder for ``target``, removed at the end."""
    with writing(target):
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty if there is none, or if it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def file_name(text: str) -> str:
    """A text from a file or a user as the name of one file: letters, digits, ``.``, ``_`` and ``-``, no path."""
    return re.sub(r"[^\w.-]|^[.-]+", "-", text)


def write_json(target: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically."""
    write_text(target, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_text(target: Path, content: str) -> None:
    """Write a text file atomically."""
    with atomic_file(target) as staging:
        staging.write_text(content, encoding="utf-8")


def sha256_of(files: Iterable[Path]) -> str:
    """The SHA-256 of a file; of several, that of their digests, so that a line moved between them changes it."""
    digests = []
    for file in files:
        with file.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256"))
    if len(digests) == 1:
        return digests[0].hexdigest()
    return hashlib.sha256(b"".join(digest.digest() for digest in digests)).hexdigest()


@contextmanager
def locked(path: Path, message: str, wait: float = 0.0) -> Iterator[None]:
    """Lock an existing file or folder; the lock is released when this process ends, however it ends.

    Raises:
        LangliftError: with ``message``, if another process still holds the lock after ``wait`` seconds.
    """
    until = time.monotonic() + wait
    handle = os.open(path, os.O_RDONLY)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise LangliftError(message, f"wait for it, or stop it{_holder(handle)}") from None
                time.sleep(0.1)
                continue
            except OSError:
                pass  # some network file systems have no locks
            break
        yield
    finally:
        os.close(handle)


def _holder(handle: int) -> str:
    """The process that holds the lock on an open file, for a message; empty where the system does not say."""
    with suppress(OSError):
        held = os.fstat(handle).st_ino
        for line in Path("/proc/locks").read_text("ascii").splitlines():
            if found := re.search(rf"FLOCK .* WRITE (\d+) [^ ]+:{held} ", line):
                return f" (process {found[1]})"
    return ""


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder next to ``target``; rename it to ``target`` on success, remove it on failure.

    Raises:
        InputError: ``target`` is a file or a folder that is not empty: nothing is ever overwritten.
        LangliftError: it cannot be written.
    """
    check_new_folder(target)
    final = target.resolve()
    with writing(target):
        final.parent.mkdir(parents=True, exist_ok=True)
        for left in final.parent.glob(f".{escape(final.name)}.*.writing"):
            # Of a process that was killed; one that still runs holds the lock.
            with suppress(LangliftError), locked(left, ""):
                shutil.rmtree(left, ignore_errors=True)
        with (
            TemporaryDirectory(".writing", f".{final.name}.", final.parent, ignore_cleanup_errors=True) as work,
            locked(Path(work), f"{work}: another process is removing it"),
        ):
            # One level deeper: the temporary folder itself is closed to other users.
            staging = Path(work, "folder")
            staging.mkdir()
            yield staging
            settle(*files_in(staging))
            check_new_folder(target)  # another process may have filled it since
            staging.replace(final)


def check_new_folder(target: Path) -> None:
    """Raise an InputError unless ``target`` does not exist yet, or is an empty folder that can be replaced."""
    try:
        content = min((path.name for path in target.iterdir()), default=None)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise InputError(f"{target}: is a file", "choose a folder for --out") from None
    except OSError as error:
        raise InputError(f"{target}: cannot be read ({error.strerror})", "choose another --out") from None
    if content is not None:
        raise InputError(
            f"{target}: the folder is not empty (it contains {content})", "choose another --out, or delete it"
        )
    final = target.resolve()
    if final == Path.cwd() or final.is_mount():
        what = "a mount point" if final.is_mount() else "the current folder"
        raise InputError(f"{target}: is {what} and cannot be replaced", f"choose a folder in it: {target}/data")


def process_peak_memory_bytes() -> int:
    """Peak resident memory of this process, in bytes."""
    if sys.platform == "linux":
        # getrusage may count the parent process's memory, from before this program was started.
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text("ascii"))
        if found is not None:
            return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reset_process_peak() -> None:
    """Reset the measurement of this process's peak memory (Linux only)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")
