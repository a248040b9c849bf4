"""A sentence classifier over any backbone: sentences to numbers, numbers to class probabilities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn
from transformers import PreTrainedModel

from langlift.backbones.loading import longest_input
from langlift.backbones.registry import backbone_of
from langlift.heads.classification import ClassificationHead, SentenceClassifier
from langlift.tasks.inference import probabilities_of
from langlift.training.examples import labelled_examples
from langlift.training.paths import collate_for


def new_classifier(masked_model: PreTrainedModel, labels: int, pooling: str) -> SentenceClassifier:
    """A model's body, with the adapters attached to it, under a fresh classification head."""
    config: Any = masked_model.config
    dropout: float = getattr(config, backbone_of(masked_model).dropout)
    head = ClassificationHead(config.hidden_size, labels, dropout, pooling)
    body: PreTrainedModel = masked_model.base_model
    return SentenceClassifier(body, head)


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


def class_probabilities(
    model: nn.Module, encode: SentenceEncoder, texts: Sequence[str], bf16: bool = False
) -> npt.NDArray[np.float32]:
    """The probability of every class for every text, in order; shape [texts, classes]."""
    rows = encode(texts)
    unlabelled = labelled_examples(rows, [0] * len(rows))
    examples = [unlabelled(number, 0) for number in range(len(rows))]
    return np.concatenate(probabilities_of(model, examples, encode.collate, bf16))
