"""Stops a training run as Ctrl-C would."""

from collections.abc import Iterator
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
