"""Training, evaluation and prediction of a kind of task: the interface of its learner."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from torch import Tensor, nn
from transformers import PreTrainedModel

from langlift.heads.classification import TaskModel
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.task import Task
from langlift.training.examples import Collate, Example
from langlift.training.trainer import Batch


class Split(Protocol):
    """The labelled examples of one split, in order."""

    @property
    def inputs(self) -> list[Any]:
        """The model input of each: its text, its words, or its sentence."""

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

    ``labels`` are numbered by their position. ``sha256`` is the hash of the bytes, or rows, that were read.
    ``repaired`` counts repaired errors by kind. ``remarks`` are further notes on the data for the result.
    """

    train: Data
    dev: Data
    test: Data
    labels: list[str]
    sha256: str
    repaired: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def digest(sources: Sequence[Callable[[str], bytes]], tested: Callable[[str], bytes]) -> str:
    """The SHA-256 of all splits of some sources and of the test split of ``tested`` (which may be one of them)."""
    found = hashlib.sha256()
    for source in sources:
        for split in ("train", "dev", "test"):
            found.update(source(split))
    found.update(tested("test"))
    return found.hexdigest()


Row = dict[str, str]
"""The columns of a row to label, including its ``text``."""


class Label(Protocol):
    """A model's prediction for one new input."""

    @property
    def counted(self) -> Sequence[str]:
        """The labels in it that are counted."""

    def record(self) -> dict[str, Any]:
        """The fields it adds to a row of JSON."""

    def cells(self) -> dict[str, str]:
        """The columns it adds to a row of TSV, the same for every input."""

    def lines(self) -> Sequence[str]:
        """Its lines in a file with one word per line; none if the sentence as a whole has a label."""


class Encoder(Protocol):
    """Turns a task's inputs into examples; only its learner calls it."""

    @property
    def collate(self) -> Collate:
        """Examples in, a batch out."""


class Learner(ABC, Generic[Data]):
    """Reads the data of ``task``, and creates, trains, evaluates and uses a model for it.

    ``settings`` are written to ``head.json`` and passed to ``new_model`` and ``encoder`` when a trained run is
    loaded; together with the base model they are all that prediction needs.
    """

    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    def read(self, data: str, train_data: Sequence[str] | None, strict: bool) -> TaskData[Data]:
        """Read and check the splits; with ``train_data`` the train and dev splits of these sets, merged.

        Raises:
            InputError: unusable data, by file and line; with ``strict`` also data that could be repaired.
        """

    @abstractmethod
    def settings(self, recipe: TaskRecipe) -> dict[str, Any]:
        """The settings of a recipe that a trained head depends on."""

    @abstractmethod
    def new_model(self, masked_model: PreTrainedModel, labels: int, settings: Mapping[str, Any]) -> TaskModel:
        """A model's body, with its adapters, and a new head."""

    @abstractmethod
    def encoder(
        self,
        tokenizer: Any,
        masked_model: PreTrainedModel,
        max_tokens: int,
        settings: Mapping[str, Any],
        path: str = "fast",
    ) -> Encoder:
        """The encoder of the fast or naive path; sets the model's attention, in place."""

    @abstractmethod
    def examples(self, encoder: Any, split: Data, labels: Sequence[str]) -> list[Example]:
        """A split as training examples, with numbers for ``labels``."""

    @abstractmethod
    def loss(self, output: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss summed over the batch's items, and their number."""

    @abstractmethod
    def predict(self, model: nn.Module, encoder: Any, split: Data, labels: Sequence[str], bf16: bool) -> Any:
        """The model's predictions for a split."""

    @abstractmethod
    def score(self, split: Data, answers: Any) -> float:
        """The task's metric of such predictions, 0 to 100."""

    @abstractmethod
    def rows(self, split: Data, answers: Any) -> Iterable[dict[str, Any]]:
        """Input, gold label and prediction of each example, for ``test_predictions.jsonl``."""

    @abstractmethod
    def recorded(self, rows: Sequence[Mapping[str, Any]]) -> Data:
        """The split that these ``rows`` were made from."""

    @abstractmethod
    def unlabelled(self, inputs: Sequence[Any], labels: Sequence[str]) -> Data:
        """A split of new inputs, with placeholder labels."""

    @abstractmethod
    def baselines(self, train: Data, test: Data) -> dict[str, float]:
        """The metric of baselines without a language model."""

    @abstractmethod
    def label(
        self, model: nn.Module, encoder: Any, inputs: Sequence[Any], labels: Sequence[str]
    ) -> Sequence[Label]:
        """Predictions for new inputs, in order: texts, or lists of words if words are labelled."""

    @abstractmethod
    def input_of(self, text: str) -> Any:
        """A text as input of ``label``: itself, or its words if words are labelled."""

    @abstractmethod
    def read_inputs(self, source: Path) -> Iterator[tuple[Row, Any]]:
        """The rows of a file to label, one at a time, and the input of each.

        Raises:
            InputError: the file or a row is damaged; the message has the line.
        """

    def counted(self, labels: Sequence[str]) -> list[str]:
        """What ``langlift predict`` counts: all labels, or entity types."""
        return list(labels)

    def further(self, split: Data, answers: Any) -> dict[str, float]:
        """Further metrics of such predictions, 0 to 100."""
        return {}

    def document(self, split: Data, answers: Any) -> Iterable[str]:
        """A split's lines in the task's ``word_file`` format, with the predicted labels; none without a format."""
        return ()

    def notes(self, encoder: Any, test: Data) -> dict[str, Any]:
        """Notes on how the test split was encoded, added to the seed's metrics."""
        return {}
