"""Callbacks of a run: the progress bar, ``progress.jsonl``, and stopping on Ctrl-C or SIGTERM."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from langlift.files import write_text, writing
from langlift.processes import count, is_writer
from langlift.progress import ProgressBar, say
from langlift.training.cost import peak_memory_bytes

RECORDED = ("loss", "learning_rate", "grad_norm")
"""Values of the Trainer's logs that are recorded, besides ``eval_*``, which are recorded as ``validation_*``."""
SHOWN = (
    "loss",
    "validation_loss",
    "validation_macro_f1",
    "validation_entity_f1",
    "validation_accuracy",
    "validation_las",
)


class TrainingReport(TrainerCallback):
    """Shows loss, validation score and tokens per second; appends each log to ``progress.jsonl`` at ``path``.

    When a run is resumed, records after its checkpoint are dropped first. Rates are those of the process that
    wrote them; ``seconds`` covers all processes of the run (up to the last record of each). The first training
    loss after resuming is the mean since the checkpoint.
    """

    def __init__(self, path: Path, title: str) -> None:
        self._path, self._title = path, title
        self._shown: dict[str, str] = {}
        self._bar: ProgressBar | None = None
        self.seconds = self.tokens_per_second = 0.0

    @property
    def before(self) -> dict[str, float]:
        """The validation measures before training: the record of step 0."""
        record = json.loads(self._path.read_text(encoding="utf-8").split("\n", 1)[0])
        prefix = "validation_"
        return {key.removeprefix(prefix): value for key, value in record.items() if key.startswith(prefix)}

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Open the progress bar, for a resumed run at the step of its checkpoint."""
        self.close()
        resumed = self._path.exists() and not args.eval_on_start
        lines = self._path.read_text(encoding="utf-8").splitlines(True) if resumed else []
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= state.global_step]
        write_text(self._path, "".join(kept))
        self._seconds_before = json.loads(kept[-1])["seconds"] if kept else 0.0
        self._tokens_before, self._started = state.num_input_tokens_seen, time.monotonic()
        if state.global_step:
            say(f"{self._title}: resuming after step {state.global_step:,} of {state.max_steps:,}")
        self._bar = ProgressBar(self._title, state.max_steps, done=state.global_step).__enter__()

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Advance the bar."""
        self._measure(state)
        if self._bar is not None:
            self._bar.advance(note="  ".join([*self._shown.values(), f"{self.tokens_per_second:,.0f} tokens/s"]))

    def on_log(self, args: Any, state: TrainerState, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Append one record."""
        self._measure(state)
        measures = {
            name.replace("eval_", "validation_", 1): value
            for name, value in logs.items()
            if name in RECORDED or name.startswith("eval_")
        }
        if not measures:
            return
        record = {
            "step": state.global_step,
            **measures,
            "sentences_at_once": args.per_device_train_batch_size,
            "tokens": state.num_input_tokens_seen,
            "seconds": round(self.seconds, 2),
            "tokens_per_second": round(self.tokens_per_second, 1),
            "peak_memory_bytes": peak_memory_bytes(),
        }
        self._shown |= {n: f"{n.replace('_', ' ')} {record[n]:.3f}" for n in SHOWN if n in record}
        if is_writer():
            with writing(self._path), self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    def on_train_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Measure the whole run."""
        self._measure(state)

    def close(self) -> None:
        """Close the bar, also when training failed."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)

    def _measure(self, state: TrainerState) -> None:
        seconds = time.monotonic() - self._started
        self.seconds = self._seconds_before + seconds
        self.tokens_per_second = (int(state.num_input_tokens_seen) - self._tokens_before) / max(seconds, 1e-9)


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
            KeyboardInterrupt: training was stopped.
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
            say(f"stopped after step {self._step:,}, which is saved")
            raise KeyboardInterrupt

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
