"""A sentence classifier over any backbone: sentences to numbers, numbers to class probabilities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from langlift.backbones.loading import longest_input
from langlift.backbones.registry import backbone_of
from langlift.heads.classification import ClassificationHead, SentenceClassifier
from langlift.training.examples import OnePass, labelled_examples
from langlift.training.paths import collate_for
from langlift.training.precision import autocast
from langlift.training.trainer import on_device

PREDICTION_BATCH = 32


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


@torch.inference_mode()
def class_probabilities(
    model: SentenceClassifier, encode: SentenceEncoder, texts: Sequence[str], bf16: bool = False
) -> npt.NDArray[np.float32]:
    """The probability of every class for every text, in order; shape [texts, classes].

    ``bf16``: the model was trained so, and its frozen weights are.
    """
    model.eval()
    device = next(model.parameters()).device
    rows = encode(texts)
    by_length = np.argsort([len(row) for row in rows], kind="stable")
    unlabelled = labelled_examples([rows[i] for i in by_length], [0] * len(rows))
    batches = DataLoader(OnePass(unlabelled, len(rows)), batch_size=PREDICTION_BATCH, collate_fn=encode.collate)
    found = np.empty((len(rows), model.head.output.out_features), dtype=np.float32)
    done = 0
    for batch in batches:
        with autocast(device, bf16):
            logits = model(on_device(batch, device))
        found[by_length[done : done + len(logits)]] = logits.float().softmax(dim=-1).cpu().numpy()
        done += len(logits)
    return found
