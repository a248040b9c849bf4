"""The process: its memory, and runs in several processes (``accelerate launch``): who writes, and barriers."""

import ctypes
import mmap
import os
import sys
from functools import cache

from langlift.errors import LangliftError


def count() -> int:
    """Number of processes of this run; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_writer() -> bool:
    """Whether this process (rank 0) writes the run's files and prints its results."""
    return count() == 1 or os.environ.get("RANK", "0") == "0"


def wait_for_all() -> None:
    """Barrier over all processes of the run; the first call connects them."""
    if count() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def require_single_process(what: str) -> None:
    """Raise a LangliftError if ``what``, which runs in a single process, was started in several."""
    if count() > 1:
        raise LangliftError(
            f"{what} does not run in several processes", "start it without accelerate launch or torchrun"
        )


MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""The numbers of glibc's ``M_MMAP_THRESHOLD`` and ``M_TRIM_THRESHOLD``."""
PAGE_OUT = 21
"""Linux's ``MADV_PAGEOUT``, which Python does not name; unlike ``MADV_DONTNEED`` it loses nothing."""


@cache
def keep_freed_memory() -> None:
    """Let this process reuse freed memory, up to 512 MiB, where glibc would return it to the system.

    Otherwise the page faults of a training step, which allocates the same tensors again, cost a tenth of its time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return
    mallopt(MMAP_THRESHOLD, 64 << 20)
    mallopt(TRIM_THRESHOLD, 512 << 20)


def release_pages(address: int, size: int) -> None:
    """Let the system take back the memory of a mapped file's part; it is read again if it is needed (Linux)."""
    first, last = -(-address // mmap.PAGESIZE), (address + size) // mmap.PAGESIZE
    if last > first and sys.platform == "linux":
        where = ctypes.c_void_p(first * mmap.PAGESIZE)
        ctypes.CDLL(None).madvise(where, ctypes.c_size_t((last - first) * mmap.PAGESIZE), PAGE_OUT)
