"""Tasks that give every word of a sentence a tag; subclasses define the data, the metric and the answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic

import numpy as np
from torch import nn
from transformers import PreTrainedModel

from langlift.backbones.registry import backbone_of
from langlift.errors import InputError
from langlift.heads.classification import TokenClassifier, TokenHead
from langlift.tasks.inference import probabilities_of
from langlift.tasks.learner import Answer, Input, Learner, Settings
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.word_encoder import WordEncoder


@dataclass(frozen=True)
class Tagged(Answer):
    """A sentence, the tag predicted for each of its words, and the tags' probabilities.

    ``token_tags`` are the tags of all labelled tokens, ``counts`` of them per word: one, or as published all.
    """

    sentence: Any
    tags: list[str]
    probabilities: list[float]
    token_tags: list[str] = field(default_factory=list, repr=False)
    counts: list[int] = field(default_factory=list, repr=False)

    @property
    def gold(self) -> list[str]:
        """The tags."""
        return self.tags

    @property
    def counted(self) -> list[str]:
        """The tags."""
        return self.tags


class TaggingLearner(Learner[Input, list[str]], Generic[Input]):
    """A linear head on the first or last token of each word, on their mean, or on every token as published."""

    answer: ClassVar[type[Tagged]]

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

    def predict(
        self,
        model: nn.Module,
        encoder: WordEncoder,
        inputs: Sequence[Input],
        labels: Sequence[str],
        bf16: bool = False,
    ) -> list[Tagged]:
        """The most probable tags of each sentence."""
        encoded = encoder.encode(inputs)
        windows = iter(probabilities_of(model, encoded.examples, encoder.collate, bf16))
        answers = []
        for one, count, counts in zip(inputs, encoded.windows, encoded.counts, strict=True):
            shares = np.concatenate([next(windows) for _ in range(count)])
            best = [labels[number] for number in shares.argmax(axis=1)]
            deciding = encoder.deciding_tokens(counts)
            probabilities = [round(float(share), 6) for share in shares[deciding].max(axis=1)]
            answers.append(self.answer(one, [best[place] for place in deciding], probabilities, best, counts))
        return answers
