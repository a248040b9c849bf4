"""Classification of tokens on top of an encoder: one label for each labelled token."""

from collections.abc import Mapping

from torch import Tensor, nn

from langlift.backbones.hidden_states import hidden_states
from langlift.heads.task_model import TaskModel
from langlift.masking.masked_language_model import IGNORED


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

        ``labels`` int64 is shaped as ``input_ids``; tokens without one hold ``IGNORED``. On the fast path
        the end of the last layer is computed for labelled tokens only.
        """
        labelled = batch["labels"] != IGNORED
        if "lengths" in batch:
            hidden = hidden_states(self.body, batch, labelled)
        else:
            hidden = hidden_states(self.body, batch)[labelled.reshape(-1)]
        logits: Tensor = self.head(hidden)
        return logits
