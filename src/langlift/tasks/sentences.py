"""Tasks that give a whole text one label."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn
from transformers import PreTrainedModel

from langlift.backbones.loading import longest_input
from langlift.backbones.registry import backbone_of
from langlift.errors import InputError
from langlift.evaluation.metrics import macro_f1
from langlift.heads.classification import ClassificationHead, SentenceClassifier, summed_class_loss
from langlift.tasks.baselines import text_baseline
from langlift.tasks.inference import probabilities_of
from langlift.tasks.input_rows import TEXT, read_rows
from langlift.tasks.labelled_text import LabelledText, open_labelled, read_labelled
from langlift.tasks.learner import Learner, Row, Settings, TaskData
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.sources import digest
from langlift.tasks.task import Columns
from langlift.training.examples import Example
from langlift.training.language_model_loss import collate_for
from langlift.training.trainer import Batch


@dataclass(frozen=True)
class Prediction:
    """The most probable label of a text, and the probability of every label."""

    text: str
    label: str
    probabilities: dict[str, float]

    @property
    def counted(self) -> list[str]:
        """The label."""
        return [self.label]

    def record(self) -> dict[str, Any]:
        """``predicted``, ``probability`` (of that label) and ``probabilities``."""
        return {
            "predicted": self.label,
            "probability": round(self.probabilities[self.label], 6),
            "probabilities": {label: round(share, 6) for label, share in self.probabilities.items()},
        }

    def cells(self) -> dict[str, str]:
        """``predicted``, ``probability`` (of that label) and ``probability_NAME`` for each label."""
        shares = {f"probability_{label}": f"{share:.6f}" for label, share in self.probabilities.items()}
        return {"predicted": self.label, "probability": f"{self.probabilities[self.label]:.6f}", **shares}

    def lines(self) -> Sequence[str]:
        """Empty."""
        return ()


class SentenceEncoder:
    """Texts as examples, cut at the model's longest input; sets the model's attention for the path, in place."""

    def __init__(self, tokenizer: Any, model: PreTrainedModel, max_tokens: int, path: str = "fast") -> None:
        self._tokenizer = tokenizer
        self._max_tokens = min(max_tokens, longest_input(model, tokenizer))
        self.collate = collate_for(path, model, tokenizer.pad_token_id)

    def __call__(self, texts: Sequence[str], numbers: Sequence[int] | None = None) -> list[Example]:
        """Token ids of each text, including special tokens, with the number of its label (default: 0)."""
        encoded = self._tokenizer(list(texts), truncation=True, max_length=self._max_tokens)["input_ids"]
        return [
            {"input_ids": np.asarray(ids, dtype=np.int64), "labels": np.asarray(number, dtype=np.int64)}
            for ids, number in zip(encoded, numbers or [0] * len(texts), strict=True)
        ]

    def notes(self, inputs: Sequence[str]) -> dict[str, Any]:
        """Nothing."""
        return {}


class SentenceLearner(Learner[str, str]):
    """A head on the sentence vector, measured by macro-F1; the task's ``columns`` describe the data."""

    @property
    def columns(self) -> Columns:
        """The columns of the data."""
        if self.task.columns is None:
            raise TypeError(f"{self.task.name}: a sentence task needs columns")
        return self.task.columns

    def read(self, data: str, train_data: Sequence[str] | None, strict: bool) -> TaskData[str, str]:
        """Read TSV folders or hub data sets; a label missing in train is an error, strict or not."""
        names, columns = train_data or [data], self.columns
        sources, tested = [open_labelled(name, columns) for name in names], open_labelled(data, columns)
        train = _joined([read_labelled(source, "train", columns) for source in sources])
        labels = sorted(set(train.gold))
        dev = _joined([read_labelled(source, "dev", columns, labels) for source in sources])
        test = read_labelled(tested, "test", columns, labels)
        if len(labels) < 2:
            raise InputError(
                f"{', '.join(names)} (train): only one label ('{labels[0]}')", "at least two are needed"
            )
        return TaskData(train, dev, test, labels, digest(sources, tested))

    def input_of(self, text: str, words: Sequence[str] | None = None) -> str:
        """The text."""
        return text

    def read_inputs(self, source: Path) -> Iterator[tuple[Row, str]]:
        """Lines, or rows of a TSV file quoted like the task's data."""
        return ((row, row[TEXT]) for row in read_rows(source, quoted=self.columns.quoted))

    def settings(self, recipe: TaskRecipe) -> dict[str, Any]:
        """How the sentence vector is computed."""
        return {"pooling": recipe.pooling}

    def new_model(self, model: PreTrainedModel, labels: int, settings: Settings) -> SentenceClassifier:
        """The model's body, with its adapters, and a new classification head."""
        config: Any = model.config
        dropout: float = getattr(config, backbone_of(model).dropout)
        head = ClassificationHead(config.hidden_size, labels, dropout, settings["pooling"])
        return SentenceClassifier(model.base_model, head)

    def encoder(
        self, tokenizer: Any, model: PreTrainedModel, max_tokens: int, settings: Settings, path: str = "fast"
    ) -> SentenceEncoder:
        """Texts, cut at the model's longest input."""
        return SentenceEncoder(tokenizer, model, max_tokens, path)

    def examples(
        self,
        encoder: SentenceEncoder,
        inputs: Sequence[str],
        labels: Sequence[str],
        gold: Sequence[str] | None = None,
    ) -> list[Example]:
        """One for each text."""
        return encoder(inputs, None if gold is None else [labels.index(label) for label in gold])

    def loss(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy (nats)."""
        return summed_class_loss(output, batch["labels"])

    def predict(
        self, model: nn.Module, encoder: SentenceEncoder, inputs: Sequence[str], labels: Sequence[str], bf16: bool
    ) -> list[str]:
        """The most probable label of each text."""
        return [labels[best] for best in class_probabilities(model, encoder, inputs, bf16).argmax(axis=1)]

    def score(self, split: LabelledText, answers: Sequence[str]) -> float:
        """Macro-F1."""
        return macro_f1(split.gold, answers)

    def baselines(self, train: LabelledText, test: LabelledText) -> dict[str, float]:
        """TF-IDF with logistic regression, and the majority class."""
        return text_baseline(train, test)

    def label(
        self, model: nn.Module, encoder: SentenceEncoder, inputs: Sequence[str], labels: Sequence[str]
    ) -> list[Prediction]:
        """Each text's label and the probability of every label."""
        found = []
        for text, row in zip(inputs, class_probabilities(model, encoder, inputs), strict=True):
            shares = {label: float(share) for label, share in zip(labels, row, strict=True)}
            found.append(Prediction(text, labels[int(row.argmax())], shares))
        return found


def class_probabilities(
    model: nn.Module, encode: SentenceEncoder, texts: Sequence[str], bf16: bool = False
) -> npt.NDArray[np.float32]:
    """The probability of every class for every text; shape [texts, classes]."""
    return np.concatenate(probabilities_of(model, encode(texts), encode.collate, bf16))


def _joined(parts: Sequence[LabelledText]) -> LabelledText:
    return LabelledText(
        [one for part in parts for one in part.inputs], [one for part in parts for one in part.gold]
    )
