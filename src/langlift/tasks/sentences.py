"""Tasks that give a whole text one label, read from TSV files or a data set in the hub's format."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from torch import nn
from transformers import PreTrainedModel

from langlift.backbones.loading import longest_input
from langlift.backbones.registry import backbone_of
from langlift.corpus.tables import read_table, table_rows
from langlift.corpus.text_files import read_raw_lines
from langlift.errors import InputError
from langlift.evaluation.metrics import macro_f1
from langlift.heads.classification import ClassificationHead, SentenceClassifier
from langlift.tasks.input_rows import TEXT, read_rows
from langlift.tasks.learner import Answer, Encoder, Item, Learner, Reading, Row, Settings, Split, probabilities_of
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.sources import SPLITS, HubSet, SingleFile, Source, open_source
from langlift.tasks.task import Columns
from langlift.training.examples import Example
from langlift.training.language_model_loss import collate_for

HUB_TEXTS = ("text", "sentence", "review", "tweet", "content")
"""Possible names of the text's field in hub data sets."""

SPLIT_SEED = 0
"""Seed of the split of a single file, the same in every run."""

LabelledText = Split[str, str]
"""Texts and their labels."""


@dataclass(frozen=True)
class Prediction(Answer):
    """The most probable label of a text, and the probability of every label."""

    text: str
    label: str
    probabilities: dict[str, float]

    @property
    def gold(self) -> str:
        """The label."""
        return self.label

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


class SentenceEncoder(Encoder):
    """Texts as examples, cut at the model's longest input; sets the model's attention for the path, in place."""

    def __init__(self, tokenizer: Any, model: PreTrainedModel, max_tokens: int, path: str = "fast") -> None:
        self._tokenizer = tokenizer
        self._max_tokens = min(max_tokens, longest_input(model, tokenizer))
        self.collate = collate_for(path, model, tokenizer.pad_token_id)

    def examples(
        self, inputs: Sequence[str], labels: Sequence[str] = (), gold: Sequence[str] | None = None
    ) -> list[Example]:
        """Token ids of each text, including special tokens, with the number of its label (default: 0)."""
        encoded = self._tokenizer(list(inputs), truncation=True, max_length=self._max_tokens)["input_ids"]
        numbers = [0] * len(inputs) if gold is None else [labels.index(label) for label in gold]
        return [
            {"input_ids": np.asarray(ids, dtype=np.int64), "labels": np.asarray(number, dtype=np.int64)}
            for ids, number in zip(encoded, numbers, strict=True)
        ]


class SentenceLearner(Learner[str, str]):
    """A head on the sentence vector, measured by macro-F1; the task's ``columns`` describe the data."""

    always_strict = True  # a label missing in train is an error

    @property
    def columns(self) -> Columns:
        """The columns of the data."""
        return cast(Columns, self.task.columns)

    def open(self, data: str) -> Source:
        """A single file, a folder of TSV files, or a data set in the hub's format."""
        fields = (HUB_TEXTS, self.columns.hub_labels)
        if Path(data).is_file():
            return SingleFile(Path(data), fields)
        return open_source(data, (".tsv",), "train.tsv, dev.tsv and test.tsv", fields)

    def items(self, source: Source, split: str, reading: Reading) -> Iterable[Item[str, str]]:
        """Rows with a text and a label; those of a single file are split here, which is remarked."""
        if not isinstance(source, SingleFile):
            return self._rows(source, split, reading)
        parts = split_by_label(list(self._rows(source.table, "train", reading)))
        sizes = ", ".join(f"{name} {len(part)}" for name, part in parts.items())
        name = source.folder.name
        reading.remark(f"{name} is one file, split 80/10/10 by label with seed {SPLIT_SEED} for all runs: {sizes}")
        return parts[split]

    def _rows(self, source: Source, split: str, reading: Reading) -> Iterator[Item[str, str]]:
        if isinstance(source, HubSet):
            for place, values in source.rows(split):
                text_column, column = source.columns
                self._remark_columns(column, text_column, reading)
                text, label = (" ".join(str(value).split()) for value in values)
                if not text or not label:
                    raise InputError(f"{place}: empty {'label' if text else 'text'}", "drop the row")
                yield Item(text, label, lambda _, place=place: place)  # type: ignore[misc]
            return
        (path,) = source.files(split)
        lines = read_raw_lines(path)
        _, header = next(table_rows(path, lines, self.columns.quoted))
        names = (self.columns.hub_labels, HUB_TEXTS)
        column, text_column = (next((name for name in some if name in header), some[0]) for some in names)
        self._remark_columns(column, text_column, reading)
        hint = f"the first line must name the columns, '{column}' and '{TEXT}' among them"
        for place, header, row in read_table(path, lines, (column, text_column), self.columns.quoted, hint):
            text, label = row[header.index(text_column)].strip(), row[header.index(column)].strip()
            yield Item(text, label, lambda _, place=place: place)  # type: ignore[misc]

    def _remark_columns(self, label: str, text: str, reading: Reading) -> None:
        if (label, text) != (self.columns.label, TEXT):
            reading.remark(f"labels are taken from column '{label}', texts from '{text}'")

    def labels(self, train: Sequence[str], where: str) -> list[str]:
        """At least two."""
        labels = sorted(set(train))
        if len(labels) < 2:
            raise InputError(f"{where}: only one label ('{labels[0]}')", "at least two are needed")
        return labels

    def input_of(self, text: str, words: Sequence[str] | None = None) -> str:
        """The text."""
        return text

    def read_inputs(self, source: Path, word_column: int = 0) -> Iterator[tuple[Row, str]]:
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

    def predict(
        self, model: nn.Module, encoder: Any, inputs: Sequence[str], labels: Sequence[str], bf16: bool = False
    ) -> list[Prediction]:
        """Each text's most probable label and the probability of every label."""
        found = class_probabilities(model, encoder, inputs, bf16)
        return [
            Prediction(text, labels[int(row.argmax())], dict(zip(labels, row.tolist(), strict=True)))
            for text, row in zip(inputs, found, strict=True)
        ]

    def scores(self, gold: Sequence[str], predicted: Sequence[str | None]) -> dict[str, float]:
        """Macro-F1."""
        return {self.task.metric.name: macro_f1(gold, predicted)}

    def baselines(self, train: LabelledText, test: LabelledText) -> dict[str, float]:
        """Logistic regression on TF-IDF, and the majority class; both trained on ``train`` alone, deterministic.

        TF-IDF over word 1- and 2-grams and character 2- to 5-grams within words. If ``train`` has a single label,
        as a small sample may, both answer with it.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline, make_union

        model = make_pipeline(
            make_union(
                TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", ngram_range=(1, 2), sublinear_tf=True),
                TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
            ),
            LogisticRegression(C=10.0, max_iter=2000, class_weight="balanced"),
        )
        counts = Counter(train.gold)
        majority = [counts.most_common(1)[0][0]] * len(test)
        tfidf = list(model.fit(train.inputs, train.gold).predict(test.inputs)) if len(counts) > 1 else majority
        return {"tfidf": macro_f1(test.gold, tfidf), "majority": macro_f1(test.gold, majority)}


def split_by_label(items: Sequence[Item[str, str]]) -> dict[str, list[Item[str, str]]]:
    """Items in three splits, always the same: of every ten texts of a label, in random order, the second is test
    and the third dev.

    Thus a label with a single text is trained on. Items with the same text are in the same split.
    """
    labels = {item.input: item.gold for item in items}
    texts, seen, home = list(labels), Counter[str](), dict[str, str]()
    for number in np.random.default_rng(SPLIT_SEED).permutation(len(texts)):
        label = labels[texts[number]]
        home[texts[number]] = {1: "test", 2: "dev"}.get(seen[label] % 10, "train")
        seen[label] += 1
    return {split: [item for item in items if home[item.input] == split] for split in SPLITS}


def class_probabilities(
    model: nn.Module, encode: SentenceEncoder, texts: Sequence[str], bf16: bool = False
) -> npt.NDArray[np.float32]:
    """The probability of every class for every text; shape [texts, classes]."""
    return np.concatenate(probabilities_of(model, encode.examples(texts), encode.collate, bf16))
