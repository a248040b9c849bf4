"""Label new text with a trained run."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file

from langlift.adapters.method import is_whole_model
from langlift.backbones.base_model import BaseModel, BaseName
from langlift.backbones.loading import default_device
from langlift.errors import InputError
from langlift.heads.classification import TaskModel
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.runner import HEAD, HEAD_WEIGHTS
from langlift.tasks.setups import load_trained
from langlift.tasks.task import TASKS, Task
from langlift.training.run_folder import RECIPE, is_finished, read_metrics

INPUTS_AT_ONCE = 512
"""Number of inputs that are sorted by length and labelled together; limits memory."""


@dataclass(frozen=True)
class TrainedTask:
    """One seed of a ``langlift task`` run, ready to label new text.

    ``settings`` are those of the head, ``max_tokens`` is the longest input in training.
    """

    folder: Path
    task: Task
    labels: list[str]
    model: TaskModel
    encoder: Any
    tokenizer: Any
    settings: Mapping[str, Any]
    max_tokens: int

    def __call__(self, inputs: Iterable[Any]) -> Iterator[Any]:
        """Label a stream of any length of the task's inputs (see ``Learner.input_of``), in order."""
        inputs = iter(inputs)
        while chunk := list(islice(inputs, INPUTS_AT_ONCE)):
            yield from self.task.learner.predict(self.model, self.encoder, chunk, self.labels)


def is_task_run(folder: Path) -> bool:
    """Whether a folder contains a run of ``langlift task`` or ``fuse``: all seeds, or one of them."""
    return (folder / HEAD).is_file() or any(folder.glob(f"seed-*/{HEAD}"))


def load_trained_task(
    run: Path,
    seed: int | None = None,
    base: BaseName | str | None = None,
    path: str = "fast",
) -> TrainedTask:
    """Load a trained run: the folder of all seeds (then the one best on dev, or ``seed``), or of one seed.

    ``base`` replaces the recorded base model, for example if it was moved. ``path`` is ``fast`` or ``naive``.

    Raises:
        InputError: the folder contains no finished run, or not this seed, or is damaged.
    """
    folder = seed_folder(run, seed).resolve()
    recorded, head = _recorded(folder / RECIPE), _recorded(folder / HEAD)
    try:
        method, max_tokens = recorded["task"]["method"], recorded["task"]["max_tokens"]
        inputs, recorded_base = recorded["inputs"], recorded["inputs"]["base"]
        task, labels = TASKS[head["task"]], [str(label) for label in head["labels"]]
        settings = {name: head[name] for name in task.learner.settings(TaskRecipe())}
    except (KeyError, TypeError):
        raise InputError(
            f"{folder}: {RECIPE} or {HEAD} is damaged", "train it again, or restore the file"
        ) from None
    full, base = is_whole_model(method), BaseName.of(base)
    if full and base:
        raise InputError("--base: this run trained the whole model and contains it", "leave --base out")
    loaded = BaseModel.load(base.or_else(str(folder) if full else recorded_base), head_needed=False)
    masked_model, tokenizer = loaded.model, loaded.tokenizer
    if not full:
        load_trained(masked_model, task.name, folder, inputs)
    model = task.learner.new_model(masked_model, len(labels), settings)
    try:
        model.head.load_state_dict(load_file(folder / HEAD_WEIGHTS))
    except (OSError, SafetensorError, RuntimeError):
        raise InputError(
            f"{folder / HEAD_WEIGHTS}: missing, damaged or of another model", "train it again"
        ) from None
    encoder = task.learner.encoder(tokenizer, masked_model, max_tokens, settings, path)
    model = model.to(default_device()).eval()
    return TrainedTask(folder, task, labels, model, encoder, tokenizer, settings, max_tokens)


def seed_folder(run: Path, seed: int | None = None) -> Path:
    """The folder of one finished seed; by default the one best on dev.

    Raises:
        InputError: the folder contains no finished run, or not this seed.
    """
    if (run / HEAD).is_file():
        if seed is not None:
            raise InputError(f"--seed {seed}: {run} is the folder of one seed", "leave --seed out")
        return run
    seeds = {
        int(folder.name.removeprefix("seed-")): folder
        for folder in run.glob("seed-*")
        if folder.name.removeprefix("seed-").isdecimal() and is_finished(folder)
    }
    if not seeds:
        raise InputError(
            f"{run}: contains no finished task run" if run.is_dir() else f"{run}: no such folder",
            "give the folder that 'langlift task --out' wrote",
        )
    if seed is None:
        return max((seeds[number] for number in sorted(seeds)), key=_dev_score)
    if seed not in seeds:
        raise InputError(f"{run}: no finished seed {seed}", f"there are {', '.join(map(str, sorted(seeds)))}")
    return seeds[seed]


def _dev_score(folder: Path) -> float:
    return next(float(value) for name, value in read_metrics(folder).items() if name.startswith("dev_"))


def _recorded(path: Path) -> Any:
    """A YAML or JSON file of a run (JSON is valid YAML)."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        raise InputError(f"{path}: missing or damaged", "train it again, or restore the file") from None
