"""Tasks that give every word of a sentence a tag; what is read and measured is the subclass's business."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn
from transformers import PreTrainedModel

from langlift.backbones.registry import backbone_of
from langlift.errors import InputError
from langlift.heads.classification import TokenClassifier, TokenHead, summed_class_loss
from langlift.masking.masked_language_model import IGNORED
from langlift.tasks.inference import Probabilities, probabilities_of
from langlift.tasks.learner import Learner, Split
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.word_encoder import WordEncoder
from langlift.training.examples import Example
from langlift.training.trainer import Batch


@dataclass(frozen=True)
class WordShares:
    """The tags' probabilities in one sentence: a row for each labelled token, ``counts`` of them a word.

    ``at_end``: of several tokens the last one speaks for the word, else the first.
    """

    shares: Probabilities
    counts: list[int]
    at_end: bool = False

    @property
    def of_words(self) -> Probabilities:
        """Those of the token that speaks for each word; shape [words, tags]."""
        chosen: Probabilities = self.shares[speaking(self.counts, self.at_end)]
        return chosen


@dataclass(frozen=True)
class Tagged:
    """Predicted tags of one sentence's labelled tokens, ``counts`` of them a word; ``at_end`` as there."""

    tags: list[str]
    counts: list[int]
    at_end: bool = False

    @property
    def of_words(self) -> list[str]:
        """The tag of each word: that of the token that speaks for it."""
        return [self.tags[number] for number in speaking(self.counts, self.at_end)]


def speaking(counts: Sequence[int], at_end: bool) -> npt.NDArray[np.int64]:
    """The number of each word's first token (or last, which alone has seen the whole word in a decoder)."""
    lengths = np.asarray(counts, dtype=np.int64)
    ends = np.cumsum(lengths)
    return ends - 1 if at_end else ends - lengths


class TaggedSplit(Split, Protocol):
    """Sentences of words, with a tag for each word."""

    @property
    def words(self) -> list[list[str]]:
        """Those of each sentence."""

    @property
    def tags(self) -> list[list[str]]:
        """Their tags."""


Sentences = TypeVar("Sentences", bound=TaggedSplit)


class TaggingLearner(Learner[Sentences], Generic[Sentences]):
    """A linear head over the first or last token of each word, their mean, or every token as published."""

    def settings(self, recipe: TaskRecipe) -> dict[str, Any]:
        """Which tokens of a word carry its label, and what is classified.

        Raises:
            InputError: every token is to be labelled, and their mean.
        """
        if recipe.label_subwords == "every" and recipe.pooling == "mean":
            raise InputError(
                "label_subwords: every gives each token its own label, so that there is no mean to take",
                "with it, set pooling to first",
            )
        return {"label_subwords": recipe.label_subwords, "pooling": recipe.pooling}

    def new_model(
        self, masked_model: PreTrainedModel, labels: int, settings: Mapping[str, Any]
    ) -> TokenClassifier:
        """A token classifier."""
        config: Any = masked_model.config
        dropout: float = getattr(config, backbone_of(masked_model).dropout)
        return TokenClassifier(masked_model.base_model, TokenHead(config.hidden_size, labels, dropout))

    def encoder(
        self,
        tokenizer: Any,
        masked_model: PreTrainedModel,
        max_tokens: int,
        settings: Mapping[str, Any],
        path: str = "fast",
    ) -> WordEncoder:
        """Words as they stand in running text, in windows where there are too many."""
        pooling = settings.get("pooling", "first")
        every = settings["label_subwords"] == "every"
        return WordEncoder(
            tokenizer, masked_model, max_tokens, "every" if every else pooling, path, at_end=pooling == "last"
        )

    def examples(self, encoder: WordEncoder, split: Sentences, labels: Sequence[str]) -> list[Example]:
        """One for each window of each sentence; a tag that ``labels`` lacks is not looked at."""
        numbers = {label: number for number, label in enumerate(labels)}
        return encoder(split.words, [[numbers.get(tag, IGNORED) for tag in tags] for tags in split.tags]).examples

    def loss(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy (nats) over labelled tokens."""
        return summed_class_loss(output, batch["labels"][batch["labels"] >= 0])

    def predict(
        self, model: nn.Module, encoder: WordEncoder, split: Sentences, labels: Sequence[str], bf16: bool
    ) -> list[Tagged]:
        """The most probable tags of each sentence."""
        found = word_shares(model, encoder, split.words, bf16)
        return [Tagged([labels[best] for best in s.shares.argmax(axis=1)], s.counts, s.at_end) for s in found]

    def rows(self, split: Sentences, answers: Sequence[Tagged]) -> Iterable[dict[str, Any]]:
        """Words, gold tags and predicted tags."""
        for words, gold, answer in zip(split.words, split.tags, answers, strict=True):
            yield {"words": words, "gold": gold, "predicted": answer.of_words}

    def notes(self, encoder: WordEncoder, data: Sentences) -> dict[str, Any]:
        """How many test sentences were too long for one input."""
        windows = encoder(data.words, [[0] * len(words) for words in data.words]).windows
        return {"test_sentences_in_windows": sum(count > 1 for count in windows)}


def word_shares(
    model: nn.Module, encoder: WordEncoder, sentences: Sequence[Sequence[str]], bf16: bool = False
) -> Iterator[WordShares]:
    """The tags' probabilities in each sentence, its windows joined."""
    encoded = encoder(sentences, [[0] * len(words) for words in sentences])
    found = iter(probabilities_of(model, encoded.examples, encoder.collate, bf16))
    for windows, counts in zip(encoded.windows, encoded.counts, strict=True):
        yield WordShares(np.concatenate([next(found) for _ in range(windows)]), counts, encoder.at_end)
