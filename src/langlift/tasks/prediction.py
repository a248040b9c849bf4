"""Label new text with a trained run: a stream of texts in, a stream of labels with probabilities out."""

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
"""So many inputs are sorted by length and labelled together; memory does not grow beyond them."""


@dataclass(frozen=True)
class TrainedTask:
    """One seed of a ``langlift task`` run, ready to label new text.

    ``settings`` are those of its head, ``max_tokens`` is the longest input it was trained on.
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
        """Label texts (of words: lists of words) one after the other, however many there are."""
        inputs = iter(inputs)
        while chunk := list(islice(inputs, INPUTS_AT_ONCE)):
            yield from self.task.learner.label(self.model, self.encoder, chunk, self.labels)


def is_task_run(folder: Path) -> bool:
    """Whether a folder holds a run of ``langlift task`` or ``fuse``: all its seeds, or one of them."""
    return (folder / HEAD).is_file() or any(folder.glob(f"seed-*/{HEAD}"))


def load_trained_task(
    run: Path,
    seed: int | None = None,
    base: BaseName | str | None = None,
    path: str = "fast",
) -> TrainedTask:
    """Load a trained run: the folder of all seeds (then the one best on dev, or ``seed``), or of one seed.

    ``base`` stands in for the base model that the run recorded, where that has moved. ``path`` is as in recipes.

    Raises:
        InputError: the folder holds no finished run, the seed is not in it, or something in it is damaged.
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
        raise InputError("--base: this run trained the whole model and holds it itself", "leave --base out")
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
    """The folder of one finished seed: the one best on dev where none is named.

    Raises:
        InputError: the folder holds no finished run, or the seed is not in it.
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
            f"{run}: holds no finished task run" if run.is_dir() else f"{run}: no such folder",
            "give the folder that 'langlift task --out' wrote",
        )
    if seed is not None and seed not in seeds:
        raise InputError(f"{run}: no finished seed {seed}", f"there are {', '.join(map(str, sorted(seeds)))}")
    if seed is not None:
        return seeds[seed]
    in_order = [seeds[number] for number in sorted(seeds)]
    return max(in_order, key=_on_dev)


def _on_dev(folder: Path) -> float:
    """The measure that chose the weights of a finished seed."""
    return next(float(value) for name, value in read_metrics(folder).items() if name.startswith("dev_"))


def _recorded(path: Path) -> Any:
    """What a run wrote down in YAML or JSON (which is YAML, too)."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        raise InputError(f"{path}: missing or damaged", "train it again, or restore the file") from None
