"""The interface of a task's learner: reading data, and training, evaluating and using a model."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from langlift.errors import InputError
from langlift.heads.classification import TaskModel, summed_class_loss
from langlift.progress import say
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.sources import Source, digest
from langlift.tasks.task import Task
from langlift.training.examples import Collate, Example
from langlift.training.precision import autocast
from langlift.training.trainer import Batch, on_device

PREDICTION_BATCH = 32
INPUTS_AT_ONCE = 512
"""Number of inputs that are sorted by length and labelled together; limits memory."""
Probabilities = npt.NDArray[np.float32]
Input = TypeVar("Input")
"""A text, a list of words, or a CoNLL-U sentence."""
Gold = TypeVar("Gold")
"""A label, the tags of a sentence's words, or its tree."""


@dataclass(frozen=True)
class Item(Generic[Input, Gold]):
    """An example as read; ``place`` gives the location of its label with this number, for errors."""

    input: Input
    gold: Gold
    place: Callable[[int], str]


@dataclass(frozen=True)
class Split(Generic[Input, Gold]):
    """The inputs and gold labels of a split's examples, in order."""

    inputs: list[Input]
    gold: list[Gold]

    def __len__(self) -> int:
        return len(self.inputs)

    def chosen(self, numbers: Iterable[int]) -> "Split[Input, Gold]":
        """The examples with these numbers, in this order."""
        numbers = list(numbers)
        return Split([self.inputs[i] for i in numbers], [self.gold[i] for i in numbers])


@dataclass(frozen=True)
class TaskData(Generic[Input, Gold]):
    """Labelled data, read and checked.

    ``labels`` are numbered by their position. ``sha256`` is the hash of the bytes, or rows, that were read.
    ``repaired`` counts repaired errors by kind. ``remarks`` are further notes on the data for the result.
    """

    train: Split[Input, Gold]
    dev: Split[Input, Gold]
    test: Split[Input, Gold]
    labels: list[str]
    sha256: str
    repaired: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def tell(self, name: str | Path) -> None:
        """Say what was repaired, and the remarks."""
        for what, count in self.repaired.items():
            say(f"{name}: {what.replace('_', ' ')}: {count} (langlift task: with --strict an error)")
        for remark in self.remarks:
            say(remark)


@dataclass(frozen=True)
class Reading:
    """How labelled data are read, and what is to be told of them.

    Errors that can be repaired are counted by kind in ``counts``, or raised if ``strict``. ``columns`` are those
    of the word and the tag in CoNLL files, counted from 1 (none: guessed). ``remarks`` are notes for the result.
    """

    strict: bool
    columns: Sequence[int] = ()
    counts: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def remark(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.remarks:
            self.remarks.append(text)

    def note(self, kind: str) -> None:
        """Count a difference in format, which is no error."""
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def count(self, kind: str, message: str, hint: str) -> None:
        """Count an error, or raise it as an InputError."""
        if self.strict:
            raise InputError(message, hint)
        self.note(kind)


def words_in(item: Any) -> list[str]:
    """The words of an input of a task that labels words."""
    return getattr(item, "words", item)


def text_of(item: Any) -> str:
    """An input as running text."""
    return item if isinstance(item, str) else " ".join(words_in(item))


Settings = Mapping[str, Any]
"""The settings of a trained head, by name."""
Row = dict[str, str]
"""The columns of a row to label, including its ``text``."""


class Answer(ABC):
    """The prediction for one input, with probabilities."""

    @property
    @abstractmethod
    def gold(self) -> Any:
        """It in the form of a gold label."""

    @property
    def counted(self) -> Sequence[str]:
        """The labels in it that ``langlift predict`` counts: by default its label or tags."""
        return [self.gold] if isinstance(self.gold, str) else self.gold

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """The fields it adds to a row of JSON."""

    @abstractmethod
    def cells(self) -> dict[str, str]:
        """The columns it adds to a row of TSV, the same for every input."""

    def lines(self) -> Sequence[str]:
        """Its lines in the task's ``word_file`` format, if it labels words."""
        return ()


class Encoder(ABC):
    """Turns a task's inputs into examples, and collates these into batches."""

    collate: Collate

    @abstractmethod
    def examples(
        self, inputs: Sequence[Any], labels: Sequence[str] = (), gold: Sequence[Any] | None = None
    ) -> list[Example]:
        """Inputs as examples, with ``gold`` as positions in ``labels``; without it, with placeholders."""

    def notes(self, inputs: Sequence[Any]) -> dict[str, Any]:
        """Notes on how these inputs are encoded, for the metrics of a run."""
        return {}


class Learner(ABC, Generic[Input, Gold]):
    """Reads the data of ``task``, and creates, trains, evaluates and uses a model for it.

    ``settings`` are written to ``head.json`` and passed to ``new_model`` and ``encoder`` when a trained run is
    loaded; together with the base model they are all that prediction needs.
    """

    what: ClassVar[str] = "label"
    """What must occur in the training data, in messages."""
    always_strict: ClassVar[bool] = False

    def __init__(self, task: Task) -> None:
        self.task = task

    # Data

    @abstractmethod
    def open(self, data: str) -> Source:
        """A data set; raises an InputError if there is none."""

    @abstractmethod
    def items(self, source: Source, split: str, reading: Reading) -> Iterable[Item[Input, Gold]]:
        """The examples of a split; an InputError names the file and line, or row, that is missing or damaged."""

    @abstractmethod
    def labels(self, train: Sequence[Gold], where: str) -> list[str]:
        """The labels to learn; raises an InputError with ``where`` if they are too few."""

    def known(self, gold: Gold) -> Sequence[str]:
        """For each of an example's labels what training must have seen (by default the label), or ``""``."""
        return [gold] if isinstance(gold, str) else list(gold)  # type: ignore[call-overload]

    def train_and_dev(
        self, source: Source, reading: Reading
    ) -> tuple[list[Item[Input, Gold]], list[Item[Input, Gold]]]:
        """Both splits of a source."""
        return self.split_of(source, "train", reading), self.split_of(source, "dev", reading)

    def split_of(self, source: Source, split: str, reading: Reading) -> list[Item[Input, Gold]]:
        """All examples of a split; raises an InputError if there are none."""
        if items := list(self.items(source, split, reading)):
            return items
        raise InputError(f"{source.place(split)}: no examples", "every split needs at least one")

    def read(
        self, data: str, train_data: Sequence[str] | None, strict: bool, columns: Sequence[int] = ()
    ) -> TaskData[Input, Gold]:
        """Read and check the splits; with ``train_data``, train and dev come from these sets, merged.

        What dev and test have but train lacks is kept, counted, and always predicted wrongly. ``columns`` are
        those of ``Reading``.

        Raises:
            InputError: unusable data, by file and line; with ``strict`` also data that could be repaired.
        """
        if columns and "columns" in self.task.unused:
            raise InputError(f"--columns: is not used by the task {self.task.name}", "leave it out")
        names, reading = train_data or [data], Reading(strict or self.always_strict, columns)
        sources, tested = [self.open(name) for name in names], self.open(data)
        parts = [self.train_and_dev(source, reading) for source in sources]
        train, dev = (list(chain.from_iterable(part)) for part in zip(*parts, strict=True))
        test = self.split_of(tested, "test", reading)
        labels = self.labels([item.gold for item in train], f"{', '.join(names)} (train)")
        known = {"", *chain.from_iterable(self.known(item.gold) for item in train)}
        for split, items in {"dev": dev, "test": test}.items():
            for item in items:
                for number, label in enumerate(self.known(item.gold)):
                    if label not in known:
                        reading.count(
                            f"{split}_of_unknown_{self.what}",
                            f"{item.place(number)}: the {self.what} '{label}' never occurs in the training data",
                            f"a misspelt {self.what}?",
                        )
        tested_labels = {item.gold for item in test if isinstance(item.gold, str)}
        if len(tested_labels) == 1 < len(test):
            reading.remark(f"all test examples have the same {self.what}, so the scores mean little: mix the rows")
        splits = [Split([one.input for one in some], [one.gold for one in some]) for some in (train, dev, test)]
        return TaskData(
            splits[0], splits[1], splits[2], labels, digest(sources, tested), reading.counts, reading.remarks
        )

    @abstractmethod
    def input_of(self, text: str, words: Sequence[str] | None = None) -> Input:
        """A text as an input; tasks that label words use ``words``, or split the text."""

    @abstractmethod
    def read_inputs(self, source: Path, word_column: int = 0) -> Iterator[tuple[Row, Input]]:
        """The rows of a file to label, one at a time, with the input of each; an InputError names a damaged line.

        ``word_column`` is that of the words in a ``.conll`` file, counted from 1 (0: guessed).
        """

    def rows(self, split: Split[Input, Gold], predicted: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """Input, gold label and prediction of each example, for ``test_predictions.jsonl``."""
        for one, gold, found in zip(split.inputs, split.gold, predicted, strict=True):
            shown = {"text": one} if isinstance(one, str) else {"words": words_in(one)}
            yield {**shown, "gold": gold, "predicted": found}

    def recorded(self, rows: Iterable[Mapping[str, Any]]) -> Split[Input, Gold]:
        """The split from which these ``rows`` were made."""
        split: Split[Input, Gold] = Split([], [])
        for row in rows:
            words = row.get("words")
            split.inputs.append(self.input_of(row["text"] if words is None else text_of(words), words))
            split.gold.append(row["gold"])
        return split

    # Model and training

    @abstractmethod
    def settings(self, recipe: TaskRecipe) -> dict[str, Any]:
        """The settings of a recipe that a trained head depends on."""

    @abstractmethod
    def new_model(self, model: PreTrainedModel, labels: int, settings: Settings) -> TaskModel:
        """The model's body, with its adapters, and a new head."""

    @abstractmethod
    def encoder(
        self, tokenizer: Any, model: PreTrainedModel, max_tokens: int, settings: Settings, path: str = "fast"
    ) -> Encoder:
        """The encoder of the fast or naive path; sets the model's attention, in place."""

    def loss(self, output: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss summed over the batch's items, and their number: by default, cross-entropy (nats) of labels."""
        return summed_class_loss(output, batch["labels"][batch["labels"] >= 0])

    # Prediction and evaluation

    @abstractmethod
    def predict(
        self, model: nn.Module, encoder: Any, inputs: Sequence[Input], labels: Sequence[str], bf16: bool = False
    ) -> list[Any]:
        """An ``Answer`` for each input, in order; ``bf16``: as the model was trained."""

    def answers(
        self, model: nn.Module, encoder: Any, inputs: Iterable[Input], labels: Sequence[str], bf16: bool
    ) -> Iterator[Any]:
        """``predict`` for a stream of any length, always in the same batches: rounding depends on these."""
        inputs = iter(inputs)
        while chunk := list(islice(inputs, INPUTS_AT_ONCE)):
            yield from self.predict(model, encoder, chunk, labels, bf16)

    @abstractmethod
    def scores(self, gold: Sequence[Gold], predicted: Sequence[Any]) -> dict[str, float]:
        """The task's metric and further ones, 0 to 100, by name."""

    def measure(self, split: Split[Input, Gold], answers: Sequence[Any]) -> dict[str, float]:
        """The ``scores`` of answers to a split."""
        return self.scores(split.gold, [answer.gold for answer in answers])

    @abstractmethod
    def baselines(self, train: Split[Input, Gold], test: Split[Input, Gold]) -> dict[str, float]:
        """The metric of baselines without a language model."""

    def counted(self, labels: Sequence[str]) -> list[str]:
        """What ``langlift predict`` counts: all labels, or entity types."""
        return list(labels)


@torch.inference_mode()
def probabilities_of(
    model: nn.Module, examples: Sequence[Example], collate: Collate, bf16: bool = False
) -> list[Probabilities]:
    """The class probabilities of each example's labelled items, in order; shape [items, classes] each.

    A sentence is one item; of words, an item is each token with a label (of any value). ``bf16``: as the model
    was trained.
    """
    model.eval()
    device = next(model.parameters()).device
    by_length = np.argsort([len(example["input_ids"]) for example in examples], kind="stable")
    ordered = [examples[number] for number in by_length]
    found: list[Probabilities] = []
    for batch in DataLoader(ordered, batch_size=PREDICTION_BATCH, collate_fn=collate):  # type: ignore[arg-type]
        with autocast(device, bf16):
            logits = model(on_device(batch, device))
        shares = logits.float().softmax(dim=-1).cpu().numpy()
        # Sorted by length already, the batch keeps its order in either layout.
        part = ordered[len(found) : len(found) + PREDICTION_BATCH]
        ends = np.cumsum([np.count_nonzero(example["labels"] >= 0) for example in part])[:-1]
        found += np.split(shares, ends)
    return [found[place] for place in np.argsort(by_length, kind="stable")]
