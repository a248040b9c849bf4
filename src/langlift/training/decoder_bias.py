"""Fitting an MLM head's bias to the token frequencies of a language, in closed form."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers import PreTrainedModel, TrainerCallback, TrainerState

from langlift.backbones.hidden_states import hidden_states
from langlift.masking import IGNORED
from langlift.training.language_model_loss import before_decoder, decoder_of, logit_cap
from langlift.training.precision import autocast
from langlift.training.trainer import Batch, on_device

PRIOR_COUNT = 0.1
"""Weight of the model's own mean prediction, as a pseudo-count per vocabulary entry."""
BATCH_ROWS = 256
ROWS_COUNTED_AT_ONCE = 1000


class FitBias(TrainerCallback):
    """Fits the decoder's bias after the validation before training, so that checkpoints contain it."""

    def __init__(
        self, model: PreTrainedModel, batches: Iterable[Batch], counts: npt.NDArray[np.int64], bf16: bool
    ) -> None:
        self._model, self._batches, self._counts, self._bf16 = model, batches, counts, bf16

    def on_evaluate(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Fit before the first step."""
        if state.global_step == 0:
            with autocast(args.device, self._bf16):
                fit_decoder_bias(self._model, self._batches, self._counts)


@torch.no_grad()
def fit_decoder_bias(model: PreTrainedModel, batches: Iterable[Batch], counts: npt.NDArray[np.int64]) -> None:
    """Shift the decoder's bias, in place, so that the model's mean prediction follows a language's frequencies.

    With q the mean predicted distribution over the labelled tokens of ``batches``, and p the share of each token
    among ``counts`` (int64 [vocabulary], smoothed by ``PRIOR_COUNT`` times the vocabulary size occurrences drawn
    from q), log p - log q is added to the bias. This adjusts a classifier to class frequencies p instead of q
    (Saerens et al. 2002; "logit adjustment", Menon et al., arXiv 2007.07314).
    """
    decoder, cap = decoder_of(model), logit_cap(model)
    training = model.training
    model.eval()
    total = torch.zeros(decoder.out_features, dtype=torch.float64, device=decoder.weight.device)
    places = 0
    for batch in batches:
        batch = on_device(batch, decoder.weight.device)
        hidden = before_decoder(model, hidden_states(model, batch, batch["labels"] != IGNORED))
        for rows in hidden.split(BATCH_ROWS):
            logits = linear(rows, decoder.weight, decoder.bias).float()
            if cap is not None:
                logits = (logits / cap).tanh() * cap
            total += logits.softmax(dim=1).sum(dim=0)
        places += len(hidden)
    model.train(training)
    if places:
        decoder.bias.add_(_shift(total / places, torch.from_numpy(counts).to(total)))


def _shift(mean: Tensor, counts: Tensor) -> Tensor:
    """log p - log q, float64 [vocabulary]; 0 for entries that the model never predicts."""
    prior = PRIOR_COUNT * len(mean)
    share = (counts + prior * mean) / (counts.sum() + prior)
    tiny = torch.finfo(torch.float32).tiny
    return share.clamp(min=tiny).log() - mean.clamp(min=tiny).log()


def piece_counts(
    rows: Iterable[npt.NDArray[np.integer]], model: PreTrainedModel, tokenizer: Any
) -> npt.NDArray[np.int64]:
    """The frequency of each token in rows of token ids, int64 [entries of the decoder].

    Special tokens, which are never predicted, count 0.
    """
    counts = np.zeros(decoder_of(model).out_features, dtype=np.int64)
    remaining = iter(rows)
    while some := list(islice(remaining, ROWS_COUNTED_AT_ONCE)):
        counts += np.bincount(np.concatenate(some), minlength=len(counts))
    counts[tokenizer.all_special_ids] = 0
    return counts
