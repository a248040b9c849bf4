"""Label new text with a trained run: inputs, or a file row by row."""

import csv
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, tee
from pathlib import Path
from typing import Any, TextIO

from safetensors import SafetensorError
from safetensors.torch import load_file

from langlift.adapters.composition import train_only
from langlift.adapters.method import is_whole_model
from langlift.backbones.loading import BaseModel, BaseName, default_device
from langlift.corpus.text_files import STANDARD
from langlift.errors import InputError
from langlift.files import read_json, writing
from langlift.heads.classification import TaskModel
from langlift.hub_folders import missing
from langlift.notebook import Shown
from langlift.progress import ProgressBar, say
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.runner import HEAD, HEAD_WEIGHTS
from langlift.tasks.setups import load_trained
from langlift.tasks.task import TASKS, Task
from langlift.training.precision import cast_frozen, has_bf16, precision_name
from langlift.training.run_folder import RECIPE, is_finished, read_metrics, read_recipe

TSV, JSON = ".tsv", ".jsonl"


@dataclass(frozen=True)
class TrainedTask:
    """One seed of a ``langlift task`` run, ready to label new text.

    ``settings`` are those of the head, ``max_tokens`` is the longest input in training, ``columns`` are those of
    the word and the tag in the training data if they were chosen, ``bf16`` is the precision.
    """

    folder: Path
    task: Task
    labels: list[str]
    model: TaskModel
    encoder: Any
    tokenizer: Any
    settings: Mapping[str, Any]
    max_tokens: int
    columns: Sequence[int] = ()
    bf16: bool = False

    def __call__(self, inputs: Iterable[Any]) -> Iterator[Any]:
        """Label a stream of any length of the task's inputs (see ``Learner.input_of``), in order."""
        return self.task.learner.answers(self.model, self.encoder, inputs, self.labels, self.bf16)


def is_task_run(folder: Path) -> bool:
    """Whether a folder contains a run of ``langlift task`` or ``fuse``: all seeds, or one of them."""
    return (folder / HEAD).is_file() or any(folder.glob(f"seed-*/{HEAD}"))


def load_trained_task(
    run: Path, seed: int | None = None, base: BaseName | str | None = None, path: str = "fast", exact: bool = False
) -> TrainedTask:
    """Load a trained run: the folder of all seeds (then the one best on dev, or ``seed``), or of one seed.

    ``base`` replaces the recorded base model, for example if it was moved. ``path`` is ``fast`` or ``naive``.
    It computes as in training, in bf16 if that was used and the device has it, or with ``exact`` in float32.

    Raises:
        InputError: the folder contains no finished run, or not this seed, or is damaged.
    """
    folder = seed_folder(run, seed).resolve()
    recorded, head = read_recipe(folder), read_json(folder / HEAD)
    try:
        method, max_tokens = recorded["task"]["method"], recorded["task"]["max_tokens"]
        inputs, recorded_base = recorded["inputs"], recorded["inputs"]["base"]
        task, labels = TASKS[head["task"]], [str(label) for label in head["labels"]]
        settings = {name: head[name] for name in task.learner.settings(TaskRecipe())}
    except (KeyError, TypeError):
        raise InputError(f"{folder}: {RECIPE} or {HEAD} is damaged", "train it again, or restore it") from None
    full, base = is_whole_model(method), BaseName.of(base)
    if full and base:
        raise InputError("--base: this run trained the whole model and contains it", "leave --base out")
    loaded = BaseModel.load(base.or_else(str(folder) if full else recorded_base), head_needed=False)
    if not full:
        load_trained(loaded.model, task.name, folder, inputs)
    model = task.learner.new_model(loaded.model, len(labels), settings)
    try:
        model.head.load_state_dict(load_file(folder / HEAD_WEIGHTS))
    except (OSError, SafetensorError, RuntimeError):
        raise InputError(
            f"{folder / HEAD_WEIGHTS}: missing, damaged or of another model", "train it again"
        ) from None
    encoder = task.learner.encoder(loaded.tokenizer, loaded.model, max_tokens, settings, path)
    model = model.to(default_device()).eval()
    columns = recorded["task"].get("columns", ())
    bf16 = not exact and _trained_in_bf16(folder)
    if bf16:
        train_only(model, None if full else task.name)
        model.head.requires_grad_(True)
        cast_frozen(model)
    return TrainedTask(folder, task, labels, model, encoder, loaded.tokenizer, settings, max_tokens, columns, bf16)


def _trained_in_bf16(folder: Path) -> bool:
    """Whether a seed's run computed in bf16, and this device can."""
    bf16 = is_finished(folder) and read_metrics(folder).get("precision") == precision_name(bf16=True)
    if bf16 and not has_bf16(default_device()):
        say(f"{folder}: trained in bf16, which is slow on this device: labels in float32, a few may differ")
        return False
    return bf16


def seed_folder(run: Path, seed: int | None = None) -> Path:
    """The folder of one finished seed, by default the best on dev; raises an InputError if there is none."""
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
        hint = "give the folder that 'langlift task --out' wrote"
        if not run.exists():
            raise missing(run, "folder", hint)
        raise InputError(f"{run}: contains no finished task run", hint)
    if seed is None:
        dev = {n: next(v for name, v in read_metrics(seeds[n]).items() if name.startswith("dev_")) for n in seeds}
        return seeds[max(sorted(seeds), key=dev.__getitem__)]
    if seed not in seeds:
        raise InputError(f"{run}: no finished seed {seed}", f"there are {', '.join(map(str, sorted(seeds)))}")
    return seeds[seed]


@dataclass(frozen=True)
class PredictResult(Shown):
    """The result of ``langlift predict``: ``run`` is the folder of the seed used.

    ``counts``: rows by predicted label; words, if words are labelled; for named entities, entities by type.
    """

    task: str
    run: str
    labels: list[str]
    rows: int
    counts: dict[str, int]
    seconds: float
    rows_per_second: float
    out: str


def label_file(trained: TrainedTask, text: Path, out: Path, word_column: int | None = None) -> PredictResult:
    """Label the rows of ``text``, and write each to ``out``: its own columns, then the prediction.

    ``word_column`` is that of the words in a ``.conll`` file, counted from 1 (default: as chosen for the training
    data, or else guessed). Until all are written, and after a failure, the rows are in ``out.partial``.

    Raises:
        InputError: ``text`` is empty or damaged, or is not CoNLL although a ``word_column`` is given; or ``out``
            has an unknown format, or not one of this task.
        LangliftError: ``out`` cannot be written.
    """
    started, learner = time.monotonic(), trained.task.learner
    counts = dict.fromkeys(learner.counted(trained.labels), 0)
    conll = text.suffix.lower() == ".conll"
    if word_column is not None and not conll:
        raise InputError(f"--word-column: {text} is not a .conll file", "leave --word-column out")
    if word_column is None and conll and trained.columns:
        word_column = trained.columns[0]
        say(f"{text}: the words are those of column {word_column}, as in training (or else --word-column N)")
    source = learner.read_inputs(text, word_column or 0)
    first = next(source, None)
    if first is None:
        raise InputError(f"{text}: no text to label", "give a file with one sentence a line")
    rows, inputs = tee(chain([first], source))
    number = 0
    with _opened(out, trained) as stream, ProgressBar("labelling", None, "rows") as bar:
        table = csv.writer(stream, delimiter="\t", lineterminator="\n")
        answers = trained(put_in for _, put_in in inputs)
        for number, ((row, _), answer) in enumerate(zip(rows, answers, strict=True), start=1):
            for name in answer.counted:
                counts[name] += 1
            if out.suffix == TSV:
                cells = answer.cells()
                if number == 1:
                    table.writerow([*row, *cells])
                table.writerow([*row.values(), *cells.values()])
            elif out.suffix == JSON or out == STANDARD:
                stream.write(json.dumps({**row, **answer.record()}, ensure_ascii=False) + "\n")
            else:
                stream.writelines(f"{line}\n" for line in [*answer.lines(), ""])
            bar.advance()
    seconds = time.monotonic() - started
    return PredictResult(
        task=trained.task.name,
        run=str(trained.folder),
        labels=trained.labels,
        rows=number,
        counts=counts,
        seconds=round(seconds, 2),
        rows_per_second=round(number / max(seconds, 1e-9), 1),
        out=str(out),
    )


@contextmanager
def _opened(target: Path, trained: TrainedTask) -> Iterator[TextIO]:
    if target == STANDARD:
        yield sys.stdout
        return
    endings = [ending for ending in (TSV, JSON, trained.task.word_file) if ending]
    if target.suffix not in endings:
        raise InputError(f"{target}: predictions are written as {' or '.join(endings)}", "give it such an ending")
    partial = target.with_name(f"{target.name}.partial")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        partial.replace(target)
