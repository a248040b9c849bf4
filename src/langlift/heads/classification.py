"""Sentence classification on top of an encoder."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


class ClassificationHead(nn.Module):
    """Pool, then dropout, dense, tanh, dropout, linear: the head of RoBERTa and of AdapterHub.

    ``pooling`` is ``first`` (the first token) or ``mean`` (over tokens that are not padding).
    """

    def __init__(self, hidden_size: int, labels: int, dropout: float, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, labels)
        for linear in (self.dense, self.output):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, hidden: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Hidden states [batch, length, d], mask int64 [batch, length] or None -> logits [batch, labels]."""
        if self.pooling == "first":
            pooled = hidden[:, 0]
        elif attention_mask is None:
            pooled = hidden.mean(dim=1)
        else:
            weights = attention_mask[:, :, None].to(hidden.dtype)
            pooled = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
        logits: Tensor = self.output(self.dropout(torch.tanh(self.dense(self.dropout(pooled)))))
        return logits


class SentenceClassifier(nn.Module):
    """An encoder body (with whatever adapters are attached to it) and a classification head."""

    def __init__(self, body: nn.Module, head: ClassificationHead) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Token ids int64 [batch, length] -> logits [batch, labels]."""
        hidden = self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        logits: Tensor = self.head(hidden, attention_mask)
        return logits


def summed_classification_loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The summed cross-entropy (nats) over a batch with ``labels`` int64 [batch], and the number of examples."""
    logits = model(batch["input_ids"], batch.get("attention_mask")).float()
    return cross_entropy(logits, batch["labels"], reduction="sum"), batch["labels"].new_tensor(len(logits))
