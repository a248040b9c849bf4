"""Stopping a run on Ctrl-C or SIGTERM without losing a step."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from langlift.processes import count
from langlift.progress import say

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopWhenAsked(TrainerCallback):
    """Ends training after the current step, with a checkpoint, when the process receives Ctrl-C or SIGTERM.

    Before the first step there is nothing to save, so training ends at once, as it does at a second signal.
    """

    def __init__(self) -> None:
        self._step, self._asked = 0, False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals within this context.

        Several processes of one run would stop at different steps, and only the main thread can have handlers:
        there, the signals keep their usual effect.

        Raises:
            KeyboardInterrupt: training was stopped; the text says at which step.
        """
        if count() > 1 or current_thread() is not main_thread():
            yield
            return
        before = [signal.signal(one, self._ask) for one in SIGNALS]
        try:
            yield
        finally:
            for one, handler in zip(SIGNALS, before, strict=True):
                signal.signal(one, handler)
        if self._asked:
            raise KeyboardInterrupt(f"stopped after step {self._step:,}, which is saved")

    def _ask(self, number: int, frame: Any) -> None:
        if self._asked or not self._step:
            raise KeyboardInterrupt
        self._asked = True
        say("stopping after this step (Ctrl-C again to stop at once)")

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """End training at this step if asked to."""
        self._step = state.global_step
        if self._asked:
            control.should_save = control.should_training_stop = True

    on_evaluate = on_step_end
