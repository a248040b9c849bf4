"""One run in several processes, as ``accelerate launch`` starts them: who writes, and waiting for each other."""

import os

from langlift.errors import LangliftError


def count() -> int:
    """The processes that this run has; 1 unless a launcher says otherwise."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_writer() -> bool:
    """Whether this process writes the run's files and speaks for all: the first one."""
    return count() == 1 or os.environ.get("RANK", "0") == "0"


def wait_for_all() -> None:
    """Go on when every process is here; the first call joins them."""
    if count() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def only_one(what: str) -> None:
    """Raise a LangliftError where several processes were started for something that one does."""
    if count() > 1:
        raise LangliftError(
            f"{what} does not run in several processes", "start it without accelerate launch or torchrun"
        )
