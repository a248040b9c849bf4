"""Tasks that give every word of a sentence a tag; subclasses define the data, the metric and the predictions."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn
from transformers import PreTrainedModel

from langlift.backbones.registry import backbone_of
from langlift.errors import InputError
from langlift.heads.classification import TokenClassifier, TokenHead, summed_class_loss
from langlift.masking.masked_language_model import IGNORED
from langlift.tasks.inference import Probabilities, probabilities_of
from langlift.tasks.learner import Input, Label, Learner, Settings, words_in
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.word_encoder import WordEncoder
from langlift.training.examples import Example
from langlift.training.trainer import Batch


@dataclass(frozen=True)
class Tagged:
    """Predicted tags of a sentence's labelled tokens, ``counts`` of them per word.

    The first token's tag is the word's, or the last token's with ``at_end``.
    """

    tags: list[str]
    counts: list[int]
    at_end: bool = False

    @property
    def of_words(self) -> list[str]:
        """The tag of each word."""
        return [self.tags[number] for number in deciding_tokens(self.counts, self.at_end)]


def deciding_tokens(counts: Sequence[int], at_end: bool) -> npt.NDArray[np.int64]:
    """The index of each word's first token, or of its last: in a decoder only the last has seen the whole word."""
    lengths = np.asarray(counts, dtype=np.int64)
    ends = np.cumsum(lengths)
    return ends - 1 if at_end else ends - lengths


class TaggingLearner(Learner[Input, list[str]], Generic[Input]):
    """A linear head on the first or last token of each word, on their mean, or on every token as published."""

    def settings(self, recipe: TaskRecipe) -> dict[str, Any]:
        """Which tokens of a word carry its label, and what is classified.

        Raises:
            InputError: every token is labelled, but pooling is ``mean``.
        """
        if recipe.label_subwords == "every" and recipe.pooling == "mean":
            raise InputError(
                "label_subwords: with every, each token has its own label and there is no mean to classify",
                "set pooling to first",
            )
        return {"label_subwords": recipe.label_subwords, "pooling": recipe.pooling}

    def new_model(self, model: PreTrainedModel, labels: int, settings: Settings) -> TokenClassifier:
        """A token classifier."""
        config: Any = model.config
        dropout: float = getattr(config, backbone_of(model).dropout)
        return TokenClassifier(model.base_model, TokenHead(config.hidden_size, labels, dropout))

    def encoder(
        self, tokenizer: Any, model: PreTrainedModel, max_tokens: int, settings: Settings, path: str = "fast"
    ) -> WordEncoder:
        """Words as in running text; long sentences are split into windows."""
        pooling = settings.get("pooling", "first")
        labelled = "every" if settings["label_subwords"] == "every" else pooling
        return WordEncoder(tokenizer, model, max_tokens, labelled, path, at_end=pooling == "last")

    def examples(
        self,
        encoder: WordEncoder,
        inputs: Sequence[Input],
        labels: Sequence[str],
        gold: Sequence[list[str]] | None = None,
    ) -> list[Example]:
        """One for each window of each sentence; tags that are not among ``labels`` are ignored."""
        numbers = {label: number for number, label in enumerate(labels)}
        of_words = None if gold is None else [[numbers.get(tag, IGNORED) for tag in tags] for tags in gold]
        return encoder([words_in(one) for one in inputs], of_words).examples

    def loss(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy (nats) over labelled tokens."""
        return summed_class_loss(output, batch["labels"][batch["labels"] >= 0])

    def predict(
        self, model: nn.Module, encoder: WordEncoder, inputs: Sequence[Input], labels: Sequence[str], bf16: bool
    ) -> list[Tagged]:
        """The most probable tags of each sentence."""
        found = token_probabilities(model, encoder, inputs, bf16)
        return [
            Tagged([labels[best] for best in shares.argmax(axis=1)], counts, encoder.at_end)
            for shares, counts in found
        ]

    def predicted(self, answer: Tagged) -> list[str]:
        """The tag of each word."""
        return answer.of_words

    def label(
        self, model: nn.Module, encoder: WordEncoder, inputs: Sequence[Input], labels: Sequence[str]
    ) -> list[Label]:
        """Each word's most probable tag."""
        found = []
        for one, (shares, counts) in zip(inputs, token_probabilities(model, encoder, inputs), strict=True):
            of_words = shares[deciding_tokens(counts, encoder.at_end)]
            tags = [labels[number] for number in of_words.argmax(axis=1)]
            found.append(self.labelled(one, tags, [round(float(p), 6) for p in of_words.max(axis=1)]))
        return found

    @abstractmethod
    def labelled(self, item: Input, tags: list[str], probabilities: list[float]) -> Label:
        """The prediction for one input, with the tag of each word and the tag's probability."""


def token_probabilities(
    model: nn.Module, encoder: WordEncoder, inputs: Sequence[Any], bf16: bool = False
) -> Iterator[tuple[Probabilities, list[int]]]:
    """Each sentence's tag probabilities, [labelled tokens, tags], and the number of these tokens per word."""
    encoded = encoder([words_in(one) for one in inputs])
    found = iter(probabilities_of(model, encoded.examples, encoder.collate, bf16))
    for windows, counts in zip(encoded.windows, encoded.counts, strict=True):
        yield np.concatenate([next(found) for _ in range(windows)]), counts
