"""The life cycle of a run: opened or resumed, trained, finished; it can be stopped and resumed at any time."""

import json
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from threading import current_thread, main_thread
from typing import Any

import yaml
from transformers import TrainerCallback, TrainerControl, TrainerState

from langlift.config.yaml_reader import load_yaml
from langlift.errors import InputError, LangliftError
from langlift.files import RESUME_HINT, SPACE_HINT, locked, write_json, write_text, writing
from langlift.processes import count, is_writer, wait_for_all
from langlift.progress import ProgressBar, say
from langlift.training.cost import flops_per_token, peak_memory_bytes
from langlift.training.precision import precision_name
from langlift.training.run_folder import (
    CHECKPOINTS,
    METRICS,
    PROGRESS,
    RECIPE,
    VERSIONS,
    is_finished,
    read_metrics,
    read_recipe,
)
from langlift.training.trackers import report_to_trackers
from langlift.training.trainer import LiftTrainer, best_of

BEFORE_THE_RECIPE = (VERSIONS, f".{VERSIONS}.writing", f".{RECIPE}.writing")
"""The files that may be left by a run killed while it was opened."""
PACKAGES = ("langlift", "torch", "transformers", "tokenizers", "peft", "accelerate", "numpy")


@dataclass(frozen=True)
class Trained:
    """The outcome of a training; the model now has its best weights.

    ``before`` are the validation measures before training, ``best`` those of the weights kept. ``parameters`` is
    the number of trained parameters. ``seconds`` and ``tokens`` include the work of stopped processes;
    ``tokens_per_second`` is this process's rate.
    """

    steps: int
    best_step: int
    before: dict[str, float]
    best: dict[str, float]
    parameters: int
    precision: str
    tokens: int
    flops_per_token: float
    seconds: float
    tokens_per_second: float

    @property
    def cost(self) -> dict[str, Any]:
        """What the run cost so far, by the names used in its metrics."""
        return {
            "tokens": self.tokens,
            "flops": round(self.flops_per_token * self.tokens),
            "seconds": round(self.seconds, 1),
            "tokens_per_second": round(self.tokens_per_second, 1),
            "peak_memory_bytes": peak_memory_bytes(),
        }


@dataclass(frozen=True)
class Run:
    """An open run. Made by ``open_run``."""

    folder: Path

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do: ``metrics`` has the recorded result."""
        return is_finished(self.folder)

    @property
    def metrics(self) -> dict[str, Any]:
        """The recorded result of a finished run."""
        return read_metrics(self.folder)

    def train(self, trainer: LiftTrainer, title: str) -> Trained:
        """Train to the end, from the last checkpoint if there is one, and load the best weights.

        KeyboardInterrupt on Ctrl-C or SIGTERM, after a checkpoint.
        """
        report, stop = TrainingReport(self.folder / PROGRESS, title), StopWhenAsked()
        trainer.add_callback(report)
        trainer.add_callback(stop)
        report_to_trackers(trainer, self.folder)
        with closing(report), stop.listening():
            trainer.resume_or_start()
        best = best_of(self.folder / CHECKPOINTS)
        if best["step"] == 0:
            say(
                f"{title}: nothing was better than the weights before training, which are kept; "
                "train longer, or with a lower --lr"
            )
        return Trained(
            steps=trainer.state.global_step,
            best_step=best["step"],
            before=report.before,
            best=best["measures"],
            parameters=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
            precision=precision_name(trainer.bf16),
            tokens=int(trainer.state.num_input_tokens_seen),
            flops_per_token=flops_per_token(trainer),
            seconds=report.seconds,
            tokens_per_second=report.tokens_per_second,
        )

    def finish(self, metrics: Mapping[str, Any], card: str | None = None) -> None:
        """Write the model card, then the metrics, which mark the run as finished; then remove its checkpoints."""
        if card is not None:
            write_text(self.folder / "README.md", card)
        write_json(self.folder / METRICS, metrics)
        wait_for_all()
        if is_writer():
            _remove_checkpoints(self.folder)


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
        there, the signals keep their usual effect. KeyboardInterrupt if training was stopped.
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


@contextmanager
def open_run(
    folder: Path, recipe: Mapping[str, Any], resume: bool, may_change: frozenset[str] = frozenset()
) -> Iterator[Run]:
    """Open a run: record recipe and versions before step 0, or check that those of a resumed run agree.

    Settings named in ``may_change`` may differ when an unfinished run is resumed; the recipe is then recorded
    again. The folder of an unfinished run is locked. With several processes the writer does this, and the others
    wait for it. After an InputError within, nothing was started: the records are as they were before.

    InputError if the folder contains another run or other files, or the recorded recipe differs; LangliftError if
    another process has opened the run, or the folder cannot be written.
    """
    with ExitStack() as stack:
        if is_writer():
            _require_own_folder(folder)
            if not is_finished(folder):
                if not (folder / VERSIONS).exists():
                    versions = {"python": python_version()} | {name: version(name) for name in PACKAGES}
                    write_json(folder / VERSIONS, versions)
                message = f"{folder}: another process is working on this run"
                stack.enter_context(locked(folder / VERSIONS, message))
            before = _record(folder / RECIPE, recipe, resume, may_change)
            if is_finished(folder):
                _remove_checkpoints(folder)  # left if it was killed at its very end
        wait_for_all()
        try:
            yield Run(folder)
        except LangliftError as error:
            if error.hint == SPACE_HINT:
                error.hint = RESUME_HINT
            if is_writer() and isinstance(error, InputError):
                _withdraw(folder, before)
            raise


def _withdraw(folder: Path, recipe: str | None) -> None:
    """Restore the recipe, or remove the records of a new run, unless there is more in its folder."""
    records = {RECIPE, VERSIONS}
    if recipe is not None:
        write_text(folder / RECIPE, recipe)
    elif {path.name for path in folder.iterdir()} == records:
        for name in records:
            (folder / name).unlink()


def _remove_checkpoints(folder: Path) -> None:
    if (folder / CHECKPOINTS).exists():
        shutil.rmtree(folder / CHECKPOINTS)


def _require_own_folder(folder: Path) -> None:
    if folder.is_file():
        raise InputError(f"{folder}: is a file", "choose a folder for --out")
    if folder.exists() and not (folder / RECIPE).exists():
        foreign = [path.name for path in folder.iterdir() if path.name not in BEFORE_THE_RECIPE]
        if foreign:
            raise InputError(
                f"{folder}: contains other files ({min(foreign)})", "choose a new or empty --out folder"
            )


def _record(path: Path, recipe: Mapping[str, Any], resume: bool, may_change: frozenset[str]) -> str | None:
    """Write the recipe, unless the recorded one agrees; the text recorded before, if any."""
    before = None
    text = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)
    if path.exists():
        if not resume:
            raise InputError(
                f"{path.parent}: already contains a run", "use --resume to continue it, or choose another --out"
            )
        if not (recorded := read_recipe(path.parent)):
            raise InputError(f"{path}: damaged, so the run cannot be resumed", "choose another --out")
        was, now = _flat(recorded), _flat(load_yaml(text))
        # As JSON: the order of a family's languages counts.
        changed = {key for key in was.keys() | now.keys() if json.dumps(was.get(key)) != json.dumps(now.get(key))}
        finished = is_finished(path.parent)
        if forbidden := sorted(changed if finished else changed - may_change):
            key = forbidden[0]
            raise InputError(
                f"{path}: the run was started with {key} = {was.get(key)!r}, not {now.get(key)!r}",
                "resume with the same settings, or choose another --out",
            )
        before = path.read_text(encoding="utf-8")
        if finished or not changed:
            return before
    write_text(path, text)
    return before


def _flat(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's settings and inputs on one level."""
    flat: dict[str, Any] = {}
    for key, value in recipe.items():
        flat |= value if isinstance(value, dict) else {key: value}
    return flat
