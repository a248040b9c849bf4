"""What a run says of itself while it trains: the bar, and ``progress.jsonl``."""

import json
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from langlift.processes import is_writer
from langlift.progress import ProgressBar
from langlift.training.memory import peak_memory_bytes
from langlift.training.run_folder import PROGRESS, write_text, writing

KEPT = ("loss", "learning_rate", "grad_norm")
"""Of the Trainer's logs, beside all that begin with ``eval_``: those are recorded as ``validation_``."""
SHOWN = (
    "loss",
    "validation_loss",
    "validation_macro_f1",
    "validation_entity_f1",
    "validation_accuracy",
    "validation_las",
)


class TrainingReport(TrainerCallback):
    """Shows loss, validation measure and tokens per second; appends each log to ``progress.jsonl``.

    A resumed run first drops the records that lie after its checkpoint. Rates are those of the process
    that wrote them, ``seconds`` those of all of the run's processes (but for what each did after its last
    record), and the first training loss after a resume is the mean since the checkpoint.
    """

    def __init__(self, folder: Path, what: str) -> None:
        self._path, self._what = folder / PROGRESS, what
        self._shown: dict[str, str] = {}
        self._bar: ProgressBar | None = None
        self.tokens = 0
        self._seconds = self._seconds_before = 0.0

    @property
    def first(self) -> dict[str, Any]:
        """The record of step 0: validation measures of the untouched model."""
        record: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8").split("\n", 1)[0])
        return record

    @property
    def tokens_per_second(self) -> float:
        """Mean rate of this process, validation and saving included."""
        return self.tokens / max(self._seconds, 1e-9)

    @property
    def seconds(self) -> float:
        """Time that training took so far, validation and saving included, stopped processes' work too."""
        return self._seconds_before + self._seconds

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the bar at the resumed step."""
        resumed = self._path.exists() and state.global_step > 0
        lines = self._path.read_text(encoding="utf-8").splitlines(True) if resumed else []
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= state.global_step]
        write_text(self._path, "".join(kept))
        # Records of older runs have no seconds.
        self._seconds_before = json.loads(kept[-1]).get("seconds", 0.0) if kept else 0.0
        self._first_tokens, self._started = state.num_input_tokens_seen, time.monotonic()
        self._bar = ProgressBar(self._what, state.max_steps, done=state.global_step).__enter__()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Advance the bar."""
        self._count(state)
        if self._bar is not None:
            rate = f"{self.tokens_per_second:,.0f} tokens/s"
            self._bar.advance(note="  ".join([*self._shown.values(), rate]))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Append one record."""
        self._count(state)
        record: dict[str, Any] = {"step": state.global_step}
        record |= {
            k.replace("eval_", "validation_", 1): v
            for k, v in (logs or {}).items()
            if k in KEPT or k.startswith("eval_")
        }
        if len(record) == 1:
            return
        record["tokens"] = state.num_input_tokens_seen
        record["seconds"] = round(self.seconds, 2)
        record["tokens_per_second"] = round(self.tokens_per_second, 1)
        record["peak_memory_bytes"] = peak_memory_bytes()
        for name in SHOWN:
            if name in record:
                self._shown[name] = f"{name.replace('_', ' ')} {record[name]:.3f}"
        if is_writer():
            with writing(self._path), self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close the bar."""
        self._count(state)
        self.close()

    def close(self) -> None:
        """Take the bar down, also when training failed."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None

    def _count(self, state: TrainerState) -> None:
        self.tokens = int(state.num_input_tokens_seen) - int(self._first_tokens)
        self._seconds = time.monotonic() - self._started
