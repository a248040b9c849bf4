"""Folders written whole or not at all, and the memory that a process needed."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from langlift.errors import InputError, LangliftError


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``target``; rename it to ``target`` on success, remove it on failure.

    Raises:
        InputError: ``target`` is a file, or a folder that holds something: nothing is ever overwritten.
        LangliftError: the system does not let it be written.
    """
    check_new_folder(target)
    final = target.resolve()
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(".writing", f".{final.name}.", final.parent, ignore_cleanup_errors=True) as work:
            # One folder further in: it gets the usual permissions, the temporary one is closed to others.
            staging = Path(work, "folder")
            staging.mkdir()
            yield staging
            staging.replace(final)
    except OSError as error:
        reason = error.strerror or str(error)
        raise LangliftError(
            f"{target}: cannot be written ({reason})", "check free space and permissions"
        ) from error


def check_new_folder(target: Path) -> None:
    """Raise an InputError unless ``target`` does not exist yet, or is an empty folder that can be replaced."""
    try:
        held = min((path.name for path in target.iterdir()), default=None)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise InputError(f"{target}: is a file", "choose a folder for --out") from None
    except OSError as error:
        raise InputError(f"{target}: cannot be read ({error.strerror})", "choose another --out") from None
    if held is not None:
        raise InputError(
            f"{target}: the folder is not empty (it holds {held})", "choose a new --out, or delete it"
        )
    final = target.resolve()
    if final == Path.cwd() or final.is_mount():
        what = "a mount point" if final.is_mount() else "the current folder"
        raise InputError(f"{target}: is {what} and cannot be replaced", f"choose a folder in it: {target}/data")


def process_peak_memory_bytes() -> int:
    """The most memory (resident) that this process has held so far."""
    if sys.platform == "linux":
        # Not getrusage's: that one may be the parent's, from before this program was started.
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text("ascii"))
        if found is not None:
            return int(found[1]) * 1024
    import resource  # which Windows has not

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_process_peak() -> None:
    """Count this process's peak anew from now on; only Linux can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")
