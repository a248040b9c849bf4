"""How many threads a build may use."""

import os

MOST_THREADS = 4


def usable_threads(asked: int | None) -> int:
    """``asked``, or as many as the process may run at once, at most 4."""
    if asked is not None:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_THREADS, cores)
