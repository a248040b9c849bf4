"""Classification of tokens, or of words by the mean over their tokens, on top of an encoder."""

from collections.abc import Mapping

from torch import Tensor, nn

from langlift.backbones.hidden_states import hidden_states
from langlift.heads.task_model import TaskModel
from langlift.masking.masked_language_model import IGNORED

CONTINUED = -101
"""The label of a token that belongs to the labelled one before it, so that the mean of both is classified."""


class TokenHead(nn.Module):
    """Dropout and a linear: the tagging head of transformers and of AdapterHub."""

    def __init__(self, hidden_size: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden_size, labels)
        nn.init.normal_(self.output.weight, std=0.02)
        nn.init.zeros_(self.output.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states [tokens, d] -> logits [tokens, labels]."""
        logits: Tensor = self.output(self.dropout(hidden))
        return logits


class TokenClassifier(TaskModel):
    """An encoder body under a token head."""

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """A padded or a flat batch -> logits [tokens that have a label, labels], in the batch's order.

        ``labels`` int64 is shaped as ``input_ids``; tokens without one hold ``IGNORED``, or ``CONTINUED``. On the
        fast path the end of the last layer is computed for those two kinds of tokens only.
        """
        used = batch["labels"] != IGNORED
        if "lengths" in batch:
            hidden = hidden_states(self.body, batch, used)
        else:
            hidden = hidden_states(self.body, batch)[used.reshape(-1)]
        logits: Tensor = self.head(means_over_words(hidden, batch["labels"][used]))
        return logits


def means_over_words(vectors: Tensor, labels: Tensor) -> Tensor:
    """[tokens, d], labels int64 [tokens] -> [words, d]: each labelled token with those that continue it."""
    starts = labels != CONTINUED
    if bool(starts.all()):
        return vectors
    words = starts.cumsum(dim=0) - 1
    sums = vectors.new_zeros(int(words[-1]) + 1, vectors.shape[-1]).index_add(0, words, vectors)
    return sums / words.bincount()[:, None].to(vectors.dtype)
