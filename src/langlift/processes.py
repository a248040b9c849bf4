"""Runs in several processes, as started by ``accelerate launch``: which process writes, and barriers."""

import os

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
