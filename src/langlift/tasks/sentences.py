"""Tasks that give a whole text one label: data, classifier, predictions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn
from transformers import PreTrainedModel

from langlift.backbones.loading import longest_input
from langlift.backbones.registry import backbone_of
from langlift.evaluation.metrics import macro_f1
from langlift.heads.classification import ClassificationHead, SentenceClassifier, summed_class_loss
from langlift.tasks.baselines import text_baseline
from langlift.tasks.inference import probabilities_of
from langlift.tasks.input_rows import TEXT, read_rows
from langlift.tasks.labelled_text import LabelledText, open_labelled, require_labels
from langlift.tasks.learner import Learner, Row, TaskData, digest
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.task import Columns
from langlift.training.examples import Example, labelled_examples
from langlift.training.paths import collate_for
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
        """Nothing."""
        return ()


class SentenceEncoder:
    """Sentences as token ids, cut at what the model can take, and as batches for the fast or the naive path.

    The model's attention is set accordingly, in place.
    """

    def __init__(self, tokenizer: Any, model: PreTrainedModel, max_tokens: int, path: str = "fast") -> None:
        self._tokenizer = tokenizer
        self._max_tokens = min(max_tokens, longest_input(model, tokenizer))
        self.collate = collate_for(path, model, tokenizer.pad_token_id)

    def __call__(self, texts: Sequence[str]) -> list[npt.NDArray[np.int64]]:
        """Token ids of each text, special ones included."""
        encoded = self._tokenizer(list(texts), truncation=True, max_length=self._max_tokens)["input_ids"]
        return [np.asarray(ids, dtype=np.int64) for ids in encoded]


class SentenceLearner(Learner[LabelledText]):
    """A head over the sentence vector, measured by macro-F1; the task's ``columns`` describe the data."""

    @property
    def columns(self) -> Columns:
        """Those of the data's tables."""
        if self.task.columns is None:
            raise TypeError(f"{self.task.name}: a sentence task needs columns")
        return self.task.columns

    def read(self, data: str, train_data: Sequence[str] | None, strict: bool) -> TaskData[LabelledText]:
        """Read TSV folders or hub sets; a label that train lacks is an error, strict or not."""
        names = train_data or [data]
        sources, tested = [open_labelled(name, self.columns) for name in names], open_labelled(data, self.columns)
        train = LabelledText.joined([source.read("train") for source in sources])
        known = set(train.labels)
        dev = LabelledText.joined([source.read("dev", known) for source in sources])
        test = tested.read("test", known)
        labels = require_labels(train, f"{', '.join(names)} (train)")
        return TaskData(train, dev, test, labels, digest([s.content for s in sources], tested.content))

    def settings(self, recipe: TaskRecipe) -> dict[str, Any]:
        """How the sentence vector is made."""
        return {"pooling": recipe.pooling}

    def new_model(
        self, masked_model: PreTrainedModel, labels: int, settings: Mapping[str, Any]
    ) -> SentenceClassifier:
        """A model's body, with the adapters attached to it, under a fresh classification head."""
        config: Any = masked_model.config
        dropout: float = getattr(config, backbone_of(masked_model).dropout)
        head = ClassificationHead(config.hidden_size, labels, dropout, settings["pooling"])
        return SentenceClassifier(masked_model.base_model, head)

    def encoder(
        self,
        tokenizer: Any,
        masked_model: PreTrainedModel,
        max_tokens: int,
        settings: Mapping[str, Any],
        path: str = "fast",
    ) -> SentenceEncoder:
        """Sentences, cut at what the model can take."""
        return SentenceEncoder(tokenizer, masked_model, max_tokens, path)

    def examples(self, encoder: SentenceEncoder, split: LabelledText, labels: Sequence[str]) -> list[Example]:
        """One for each sentence."""
        example_of = labelled_examples(encoder(split.texts), [labels.index(label) for label in split.labels])
        return [example_of(number, 0) for number in range(len(split))]

    def loss(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy (nats)."""
        return summed_class_loss(output, batch["labels"])

    def predict(
        self, model: nn.Module, encoder: SentenceEncoder, split: LabelledText, labels: Sequence[str], bf16: bool
    ) -> list[str]:
        """The most probable label of each sentence."""
        probabilities = class_probabilities(model, encoder, split.texts, bf16)
        return [labels[best] for best in probabilities.argmax(axis=1)]

    def score(self, split: LabelledText, answers: Sequence[str]) -> float:
        """Macro-F1."""
        return macro_f1(split.labels, answers)

    def rows(self, split: LabelledText, answers: Sequence[str]) -> Iterable[dict[str, Any]]:
        """Text, gold label and predicted label."""
        for text, gold, label in zip(split.texts, split.labels, answers, strict=True):
            yield {"text": text, "gold": gold, "predicted": label}

    def recorded(self, rows: Sequence[Mapping[str, Any]]) -> LabelledText:
        """Texts and gold labels."""
        return LabelledText([row["text"] for row in rows], [row["gold"] for row in rows])

    def unlabelled(self, inputs: Sequence[str], labels: Sequence[str]) -> LabelledText:
        """All with the first label."""
        return LabelledText(list(inputs), [labels[0]] * len(inputs))

    def label(
        self, model: nn.Module, encoder: SentenceEncoder, inputs: Sequence[str], labels: Sequence[str]
    ) -> list[Prediction]:
        """Each text's label and the probability of every label."""
        found = []
        for text, row in zip(inputs, class_probabilities(model, encoder, inputs), strict=True):
            shares = {label: float(share) for label, share in zip(labels, row, strict=True)}
            found.append(Prediction(text, labels[int(row.argmax())], shares))
        return found

    def input_of(self, text: str) -> str:
        """The text."""
        return text

    def read_inputs(self, source: Path) -> Iterator[tuple[Row, str]]:
        """Lines, or rows of a TSV file in the form of the task's data."""
        return ((row, row[TEXT]) for row in read_rows(source, quoted=self.columns.quoted))

    def baselines(self, train: LabelledText, test: LabelledText) -> dict[str, float]:
        """TF-IDF with logistic regression, and the majority class."""
        return text_baseline(train, test)


def class_probabilities(
    model: nn.Module, encode: SentenceEncoder, texts: Sequence[str], bf16: bool = False
) -> npt.NDArray[np.float32]:
    """The probability of every class for every text, in order; shape [texts, classes]."""
    rows = encode(texts)
    unlabelled = labelled_examples(rows, [0] * len(rows))
    examples = [unlabelled(number, 0) for number in range(len(rows))]
    return np.concatenate(probabilities_of(model, examples, encode.collate, bf16))
