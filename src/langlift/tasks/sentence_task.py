"""Tasks that give a whole sentence one label."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from langlift.config.recipes import TaskRecipe
from langlift.evaluation.metrics import macro_f1
from langlift.heads.classification import SentenceClassifier, summed_class_loss
from langlift.tasks.baselines import text_baseline
from langlift.tasks.input_rows import TEXT, read_rows
from langlift.tasks.labelled_text import LabelledText, TableForm, open_labelled, require_labels
from langlift.tasks.sentence_classifier import SentenceEncoder, class_probabilities, new_classifier
from langlift.tasks.task import Row, Task, TaskData, digest
from langlift.training.examples import Example, labelled_examples
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


class SentenceTask(Task[LabelledText]):
    """A head over the sentence vector, measured by macro-F1; ``form`` says how the data is written."""

    form: TableForm
    metric = "macro_f1"
    metric_title = "macro-F1"
    tag = "text-classification"
    unused = frozenset({"label_subwords", "decoding"})

    def read(self, data: str, train_data: Sequence[str] | None, strict: bool) -> TaskData[LabelledText]:
        """Read TSV folders or hub sets; a label that train lacks is an error, strict or not."""
        names = train_data or [data]
        sources, tested = [open_labelled(name, self.form) for name in names], open_labelled(data, self.form)
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
        """A sentence classifier."""
        return new_classifier(masked_model, labels, settings["pooling"])

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
        return ((row, row[TEXT]) for row in read_rows(source, quoted=self.form.quoted))

    def counted(self, labels: Sequence[str]) -> list[str]:
        """All labels."""
        return list(labels)

    def baselines(self, train: LabelledText, test: LabelledText) -> dict[str, float]:
        """TF-IDF with logistic regression, and the majority class."""
        return asdict(text_baseline(train, test))
