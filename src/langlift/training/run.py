"""The life cycle of a run: opened or resumed, trained, finished. It can be resumed after being stopped at any
time.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import yaml

from langlift.config.yaml_reader import load_yaml
from langlift.errors import InputError, LangliftError
from langlift.files import RESUME_HINT, SPACE_HINT, locked, write_json, write_text
from langlift.processes import is_writer, wait_for_all
from langlift.progress import say
from langlift.training.callbacks import StopWhenAsked, TrainingReport
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

        Raises:
            KeyboardInterrupt: on Ctrl-C or SIGTERM, after a checkpoint.
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


@contextmanager
def open_run(
    folder: Path, recipe: Mapping[str, Any], resume: bool, may_change: frozenset[str] = frozenset()
) -> Iterator[Run]:
    """Open a run: record recipe and versions before step 0, or check that those of a resumed run agree.

    Settings named in ``may_change`` may differ when an unfinished run is resumed; the recipe is then recorded
    again. The folder of an unfinished run is locked. With several processes the writer does this, and the others
    wait for it.

    Raises:
        InputError: the folder contains another run or other files, or the recorded recipe differs.
        LangliftError: another process has opened the run, or the folder cannot be written.
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
            _record(folder / RECIPE, recipe, resume, may_change)
            if is_finished(folder):
                _remove_checkpoints(folder)  # left if it was killed at its very end
        wait_for_all()
        try:
            yield Run(folder)
        except LangliftError as error:
            if error.hint == SPACE_HINT:
                error.hint = RESUME_HINT
            raise


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


def _record(path: Path, recipe: Mapping[str, Any], resume: bool, may_change: frozenset[str]) -> None:
    text = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)
    if path.exists():
        if not resume:
            raise InputError(
                f"{path.parent}: already contains a run", "use --resume to continue it, or choose another --out"
            )
        before, now = _flat(_read_recipe(path)), _flat(load_yaml(text))
        changed = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
        finished = is_finished(path.parent)
        if forbidden := sorted(changed if finished else changed - may_change):
            key = forbidden[0]
            raise InputError(
                f"{path}: the run was started with {key} = {before.get(key)!r}, not {now.get(key)!r}",
                "resume with the same settings, or choose another --out",
            )
        if finished or not changed:
            return
    write_text(path, text)


def _read_recipe(path: Path) -> dict[str, Any]:
    try:
        recipe = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        recipe = None
    if not isinstance(recipe, dict):
        raise InputError(f"{path}: damaged, so the run cannot be resumed", "choose another --out")
    return recipe


def _flat(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's settings and inputs on one level."""
    flat: dict[str, Any] = {}
    for key, value in recipe.items():
        flat |= value if isinstance(value, dict) else {key: value}
    return flat
