"""Folders written whole or not at all, and the memory that a process needed."""

import os
import resource
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from langlift.errors import InputError, LangliftError


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``target``; rename it to ``target`` on success, remove it on failure.

    Raises:
        InputError: ``target`` is a file, or a folder that holds something: nothing is ever overwritten.
        LangliftError: the system does not let it be written.
    """
    check_new_folder(target)
    staging = target.absolute().with_name(f".{target.name}.{os.getpid()}.writing")
    try:
        staging.mkdir(parents=True)
        yield staging
        staging.replace(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise LangliftError(
            f"{target}: cannot be written ({reason})", "check free space and permissions"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_new_folder(target: Path) -> None:
    """Raise an InputError unless ``target`` is an empty folder or does not exist yet."""
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


def process_peak_memory_bytes() -> int:
    """The most memory (resident) that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
