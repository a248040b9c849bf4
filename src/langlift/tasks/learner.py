"""How a model learns a task, is measured on it and labels new text; each kind of task has its own."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from torch import Tensor, nn
from transformers import PreTrainedModel

from langlift.config.recipes import TaskRecipe
from langlift.heads.classification import TaskModel
from langlift.tasks.task import Task
from langlift.training.examples import Collate, Example
from langlift.training.trainer import Batch


class Split(Protocol):
    """The labelled examples of one split, in order."""

    @property
    def inputs(self) -> list[Any]:
        """What of each is put in: its text, its words, or its sentence."""

    def __len__(self) -> int: ...

    def chosen(self, numbers: Sequence[int]) -> Self:
        """The examples of these numbers, in this order."""


Data = TypeVar("Data", bound=Split)


def text_of(one: Any) -> str:
    """One of a split's ``inputs`` as running text."""
    return one if isinstance(one, str) else " ".join(getattr(one, "words", one))


@dataclass(frozen=True)
class TaskData(Generic[Data]):
    """Labelled data, read and checked.

    ``labels`` are numbered by their place. ``sha256`` is of the bytes, or rows, that were read.
    ``repaired`` counts by name what was not as it should be and was mended. ``remarks`` are what else the
    result must say of the data.
    """

    train: Data
    dev: Data
    test: Data
    labels: list[str]
    sha256: str
    repaired: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def digest(sources: Sequence[Callable[[str], bytes]], tested: Callable[[str], bytes]) -> str:
    """The SHA-256 of all that some sources hold, and of another's test split (which may be the same)."""
    found = hashlib.sha256()
    for source in sources:
        for split in ("train", "dev", "test"):
            found.update(source(split))
    found.update(tested("test"))
    return found.hexdigest()


Row = dict[str, str]
"""The columns of a row to label, the text among them as ``text``."""


class Label(Protocol):
    """What a model says of one new input."""

    @property
    def counted(self) -> Sequence[str]:
        """What of it is counted."""

    def record(self) -> dict[str, Any]:
        """The fields it adds to a row of JSON."""

    def cells(self) -> dict[str, str]:
        """The columns it adds to a row of TSV; the same ones for every input."""

    def lines(self) -> Sequence[str]:
        """What a file with a word a line holds of it; nothing where it is the sentence that has a label."""


class Encoder(Protocol):
    """Turns a task's inputs into examples; only its learner calls it."""

    @property
    def collate(self) -> Collate:
        """Examples in, a batch out."""


class Learner(ABC, Generic[Data]):
    """Reads the data of ``task``, and makes, trains, measures and uses a model for it.

    What ``settings`` names is written to ``head.json`` and comes back to ``new_model`` and ``encoder``
    when a trained run is loaded; together with the base model it says all that prediction needs.
    """

    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    def read(self, data: str, train_data: Sequence[str] | None, strict: bool) -> TaskData[Data]:
        """Read and check the splits; with ``train_data`` train and dev are those of these sets, merged.

        Raises:
            InputError: data that cannot be used, by file and line; with ``strict`` also what could be mended.
        """

    @abstractmethod
    def settings(self, recipe: TaskRecipe) -> dict[str, Any]:
        """What of a recipe a trained head depends on."""

    @abstractmethod
    def new_model(self, masked_model: PreTrainedModel, labels: int, settings: Mapping[str, Any]) -> TaskModel:
        """A model's body with its adapters under a fresh head."""

    @abstractmethod
    def encoder(
        self,
        tokenizer: Any,
        masked_model: PreTrainedModel,
        max_tokens: int,
        settings: Mapping[str, Any],
        path: str = "fast",
    ) -> Encoder:
        """How inputs become batches on the fast or naive path; sets the model's attention, in place."""

    @abstractmethod
    def examples(self, encoder: Any, split: Data, labels: Sequence[str]) -> list[Example]:
        """A split as training examples, ``labels`` numbered."""

    @abstractmethod
    def loss(self, output: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss summed over the batch's items, and their number, from the model's output."""

    @abstractmethod
    def predict(self, model: nn.Module, encoder: Any, split: Data, labels: Sequence[str], bf16: bool) -> Any:
        """The model's answers to a split."""

    @abstractmethod
    def score(self, split: Data, answers: Any) -> float:
        """The measure of such answers, 0 to 100."""

    @abstractmethod
    def rows(self, split: Data, answers: Any) -> Iterable[dict[str, Any]]:
        """Input, gold label and answer of each example, for ``test_predictions.jsonl``."""

    @abstractmethod
    def recorded(self, rows: Sequence[Mapping[str, Any]]) -> Data:
        """The split whose ``rows`` these are."""

    @abstractmethod
    def unlabelled(self, inputs: Sequence[Any], labels: Sequence[str]) -> Data:
        """A split of new inputs, with labels that mean nothing."""

    @abstractmethod
    def baselines(self, train: Data, test: Data) -> dict[str, float]:
        """What the task is worth without a language model, by the same measure."""

    @abstractmethod
    def label(
        self, model: nn.Module, encoder: Any, inputs: Sequence[Any], labels: Sequence[str]
    ) -> Sequence[Label]:
        """New inputs labelled, in order: texts, or where words are tagged lists of words."""

    @abstractmethod
    def input_of(self, text: str) -> Any:
        """What ``label`` takes of a text: itself, or where words are labelled what it is split into."""

    @abstractmethod
    def read_inputs(self, source: Path) -> Iterator[tuple[Row, Any]]:
        """The rows of a file to label, one at a time, and what of each is put in.

        Raises:
            InputError: the file, or a row of it, is damaged; the line is named.
        """

    def counted(self, labels: Sequence[str]) -> list[str]:
        """What ``langlift predict`` counts: all labels, or types of entities."""
        return list(labels)

    def further(self, split: Data, answers: Any) -> dict[str, float]:
        """Further measures of such answers, 0 to 100, told beside the one that counts."""
        return {}

    def document(self, split: Data, answers: Any) -> Iterable[str]:
        """A split's lines as the task's ``word_file``, with the answers in place of labels; none without one."""
        return ()

    def notes(self, encoder: Any, test: Data) -> dict[str, Any]:
        """What else is to be told of how the test split was put in; joins the seed's metrics."""
        return {}
