"""Stops a training run as Ctrl-C would, or a whole process as kill -9 does."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from langlift.training.trainer import LiftTrainer


@contextmanager
def interrupted_at(step: int, during: str = "evaluate") -> Iterator[None]:
    """Within this context a run is interrupted when a method of the Trainer is called after ``step`` steps."""
    original = getattr(LiftTrainer, during)

    def stopped(self: LiftTrainer, *arguments: Any, **keywords: Any) -> Any:
        if self.state.global_step == step:
            raise KeyboardInterrupt
        return original(self, *arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LiftTrainer, during, stopped)
        yield


def forked(work: Callable[[], object]) -> int:
    """Begin the work in a silent child of this process, which has everything imported; returns its number."""
    child = os.fork()
    if child == 0:
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            os.environ["TOKENIZERS_PARALLELISM"] = "false"
            work()
        finally:
            os._exit(0)
    return child
