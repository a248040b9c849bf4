"""The interface of a task's learner: reading data, and training, evaluating and using a model."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor, nn
from transformers import PreTrainedModel

from langlift.heads.classification import TaskModel
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.task import Task
from langlift.training.examples import Collate, Example
from langlift.training.trainer import Batch

Input = TypeVar("Input")
"""A text, a list of words, or a CoNLL-U sentence."""
Gold = TypeVar("Gold")
"""A label, the tags of a sentence's words, or its tree."""


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


def words_in(item: Any) -> list[str]:
    """The words of an input of a task that labels words."""
    words: list[str] = getattr(item, "words", item)
    return words


def text_of(item: Any) -> str:
    """An input as running text."""
    return item if isinstance(item, str) else " ".join(words_in(item))


Settings = Mapping[str, Any]
"""The settings of a trained head, by name."""
Row = dict[str, str]
"""The columns of a row to label, including its ``text``."""


class Label(Protocol):
    """The prediction for one new input, with probabilities."""

    @property
    def counted(self) -> Sequence[str]:
        """The labels in it that ``langlift predict`` counts."""

    def record(self) -> dict[str, Any]:
        """The fields it adds to a row of JSON."""

    def cells(self) -> dict[str, str]:
        """The columns it adds to a row of TSV, the same for every input."""

    def lines(self) -> Sequence[str]:
        """Its lines in a file with one word per line; empty if the whole text has one label."""


class Encoder(Protocol):
    """Turns a task's inputs into examples; only its learner calls it."""

    @property
    def collate(self) -> Collate:
        """Collate examples into a batch."""

    def notes(self, inputs: Sequence[Any]) -> dict[str, Any]:
        """Notes on how these inputs are encoded, for the metrics of a run."""


class Learner(ABC, Generic[Input, Gold]):
    """Reads the data of ``task``, and creates, trains, evaluates and uses a model for it.

    ``settings`` are written to ``head.json`` and passed to ``new_model`` and ``encoder`` when a trained run is
    loaded; together with the base model they are all that prediction needs.
    """

    def __init__(self, task: Task) -> None:
        self.task = task

    # Data

    @abstractmethod
    def read(self, data: str, train_data: Sequence[str] | None, strict: bool) -> TaskData[Input, Gold]:
        """Read and check the splits; with ``train_data``, train and dev come from these sets, merged.

        Raises:
            InputError: unusable data, by file and line; with ``strict`` also data that could be repaired.
        """

    @abstractmethod
    def input_of(self, text: str, words: Sequence[str] | None = None) -> Input:
        """A text as an input; tasks that label words use ``words``, or split the text."""

    @abstractmethod
    def read_inputs(self, source: Path) -> Iterator[tuple[Row, Input]]:
        """The rows of a file to label, one at a time, and the input of each.

        Raises:
            InputError: the file or a row is damaged; the message gives the line.
        """

    def rows(self, split: Split[Input, Gold], answers: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """Input, gold label and prediction of each example, for ``test_predictions.jsonl``."""
        for one, gold, answer in zip(split.inputs, split.gold, answers, strict=True):
            shown = {"text": one} if isinstance(one, str) else {"words": words_in(one)}
            yield {**shown, "gold": gold, "predicted": self.predicted(answer)}

    def recorded(self, rows: Iterable[Mapping[str, Any]]) -> Split[Input, Gold]:
        """The split from which these ``rows`` were made."""
        split: Split[Input, Gold] = Split([], [])
        for row in rows:
            one = (
                self.input_of(row["text"]) if "text" in row else self.input_of(text_of(row["words"]), row["words"])
            )
            split.inputs.append(one)
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

    @abstractmethod
    def examples(
        self, encoder: Any, inputs: Sequence[Input], labels: Sequence[str], gold: Sequence[Gold] | None = None
    ) -> list[Example]:
        """Inputs as examples, with ``gold`` as positions in ``labels``; without it, with placeholders."""

    @abstractmethod
    def loss(self, output: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss summed over the batch's items, and their number."""

    # Evaluation

    @abstractmethod
    def predict(
        self, model: nn.Module, encoder: Any, inputs: Sequence[Input], labels: Sequence[str], bf16: bool
    ) -> list[Any]:
        """The model's answers, in the form that ``score`` takes."""

    def predicted(self, answer: Any) -> Gold:
        """An answer in the form of a gold label."""
        label: Gold = answer
        return label

    @abstractmethod
    def score(self, split: Split[Input, Gold], answers: Sequence[Any]) -> float:
        """The task's metric, 0 to 100."""

    def further(self, split: Split[Input, Gold], answers: Sequence[Any]) -> dict[str, float]:
        """Further metrics, 0 to 100."""
        return {}

    def document(self, split: Split[Input, Gold], answers: Sequence[Any]) -> Iterable[str]:
        """A split's lines in the task's ``word_file`` format, with the predicted labels; by default none."""
        return ()

    @abstractmethod
    def baselines(self, train: Split[Input, Gold], test: Split[Input, Gold]) -> dict[str, float]:
        """The metric of baselines without a language model."""

    # New text

    @abstractmethod
    def label(
        self, model: nn.Module, encoder: Any, inputs: Sequence[Input], labels: Sequence[str]
    ) -> Sequence[Label]:
        """Predictions for new inputs, in order."""

    def counted(self, labels: Sequence[str]) -> list[str]:
        """What ``langlift predict`` counts: all labels, or entity types."""
        return list(labels)
