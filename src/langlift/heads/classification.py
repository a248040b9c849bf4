"""Classification of sentences, tokens and words on top of an encoder or a decoder."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from langlift.backbones.hidden_states import hidden_states, mean_states
from langlift.masking import IGNORED

CONTINUED = -101
"""The label of a token that continues the labelled token before it: the mean of both is classified."""

LINEAR_RANGE = 0.25
"""Standardised values times this pass through tanh almost unchanged."""
INVERSE_PENALTY = 0.003
"""scikit-learn's C, for standardised vectors; chosen on topics in Sundanese, Xhosa, Somali,
Javanese, Tibetan and Uzbek."""
MOST_FITTED = 20_000
"""Approximate maximum number of sentences or words on which a head is fitted."""
ABSENT = -10.0
"""The logit of a label that no fitted example has."""


class TaskModel(nn.Module):
    """An encoder body, with its adapters, and the head of a task."""

    body: PreTrainedModel
    head: nn.Module

    def __init__(self, body: PreTrainedModel, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, head


class ClassificationHead(nn.Module):
    """Pool, then dropout, dense, tanh, dropout, linear: the head of RoBERTa and of AdapterHub.

    ``pooling`` is ``first`` (the first token), ``last`` (the last that is not padding; in a decoder only this one
    has seen the whole sentence) or ``mean`` (over tokens that are not padding).
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

    def pool(self, hidden: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Hidden states [batch, length, d], mask int64 [batch, length] or None -> sentence vectors [batch, d].

        Padding is on the right.
        """
        if self.pooling == "first":
            return hidden[:, 0]
        if self.pooling == "last":
            if attention_mask is None:
                return hidden[:, -1]
            return hidden[torch.arange(hidden.shape[0], device=hidden.device), attention_mask.sum(dim=1) - 1]
        if attention_mask is None:
            return hidden.mean(dim=1)
        weights = attention_mask[:, :, None].to(hidden.dtype)
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1)

    @torch.no_grad()
    def fit(self, vectors: Tensor, labels: Tensor) -> None:
        """Start as ``logistic_regression``; the dense layer standardises, within the linear range of tanh."""
        scale, shift, weight, bias = logistic_regression(vectors, labels, self.output.out_features)
        self.dense.weight.copy_(torch.diag(LINEAR_RANGE * scale))
        self.dense.bias.copy_(LINEAR_RANGE * shift)
        self.output.weight.copy_(weight / LINEAR_RANGE)
        self.output.bias.copy_(bias)

    def forward(self, pooled: Tensor) -> Tensor:
        """Sentence vectors [batch, d] -> logits [batch, labels]."""
        logits: Tensor = self.output(self.dropout(torch.tanh(self.dense(self.dropout(pooled)))))
        return logits


class SentenceClassifier(TaskModel):
    """A model's body with a classification head."""

    head: ClassificationHead

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """A padded or a flat batch (see ``PadBatch``, ``FlatBatch``) -> logits [sentences, labels]."""
        if "lengths" not in batch:
            hidden = hidden_states(self.body, batch).view(*batch["input_ids"].shape, -1)
            pooled = self.head.pool(hidden, batch.get("attention_mask"))
        elif self.head.pooling == "mean":
            pooled = mean_states(hidden_states(self.body, batch), batch)
        else:
            ends = batch["lengths"].cumsum(0)
            chosen = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
            chosen[0, ends - batch["lengths"] if self.head.pooling == "first" else ends - 1] = True
            pooled = hidden_states(self.body, batch, chosen)
        logits: Tensor = self.head(pooled)
        return logits


class TokenHead(nn.Module):
    """Dropout and a linear layer: the tagging head of transformers and of AdapterHub."""

    def __init__(self, hidden_size: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden_size, labels)
        nn.init.normal_(self.output.weight, std=0.02)
        nn.init.zeros_(self.output.bias)

    @torch.no_grad()
    def fit(self, vectors: Tensor, labels: Tensor) -> None:
        """Start as ``logistic_regression``."""
        scale, shift, weight, bias = logistic_regression(vectors, labels, self.output.out_features)
        self.output.weight.copy_(weight * scale)
        self.output.bias.copy_(bias + weight @ shift)

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states [tokens, d] -> logits [tokens, labels]."""
        logits: Tensor = self.output(self.dropout(hidden))
        return logits


class TokenClassifier(TaskModel):
    """An encoder with a token head."""

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """A padded or a flat batch -> logits [tokens that have a label, labels], in the batch's order.

        ``labels`` int64 is shaped as ``input_ids``, with ``IGNORED`` or ``CONTINUED`` for tokens without a label.
        On the fast path the end of the last layer is computed only for tokens that are not ``IGNORED``.
        """
        used = batch["labels"] != IGNORED
        if "lengths" in batch:
            hidden = hidden_states(self.body, batch, used)
        else:
            hidden = hidden_states(self.body, batch)[used.reshape(-1)]
        logits: Tensor = self.head(means_over_words(hidden, batch["labels"][used]))
        return logits


def means_over_words(vectors: Tensor, labels: Tensor) -> Tensor:
    """[tokens, d], labels int64 [tokens] -> [words, d]: means of each labelled token and its continuations."""
    starts = labels != CONTINUED
    if bool(starts.all()):
        return vectors
    words = starts.cumsum(dim=0) - 1
    sums = vectors.new_zeros(int(words[-1]) + 1, vectors.shape[-1]).index_add(0, words, vectors)
    return sums / words.bincount()[:, None].to(vectors.dtype)


def summed_class_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The summed cross-entropy (nats) of logits [items, classes] against int64 [items], and their number."""
    return cross_entropy(logits.float(), labels, reduction="sum"), labels.new_tensor(len(logits))


def logistic_regression(vectors: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Multinomial logistic regression with an L2 penalty on standardised vectors.

    ``vectors`` float32 [items, d], ``labels`` int64 [items] with at least two classes. Returns float32 scale [d],
    shift [d], weight [classes, d] and bias [classes]: the logits of x are ``weight @ (scale * x + shift) + bias``.
    """
    from sklearn.linear_model import LogisticRegression

    scale = 1 / vectors.std(dim=0).clamp_min(1e-6)
    shift = -vectors.mean(dim=0) * scale
    fitted = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000)
    fitted.fit((vectors * scale + shift).numpy(), labels.numpy())
    weight, bias = torch.tensor(fitted.coef_).float(), torch.tensor(fitted.intercept_).float()
    if len(weight) == 1:  # for two labels scikit-learn returns only the difference
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    present = torch.tensor(fitted.classes_)
    all_weights, all_biases = weight.new_zeros(classes, weight.shape[1]), bias.new_full((classes,), ABSENT)
    all_weights[present], all_biases[present] = weight, bias
    return scale, shift, all_weights, all_biases


@torch.no_grad()
def fit_head(model: TaskModel, batches: Iterable[Mapping[str, Tensor]]) -> None:
    """Fit a classification or token head to the frozen body's vectors, before both train: LP-FT.

    A random head distorts good vectors in the first steps; one that fits them does not (arXiv 2202.10054).
    ``batches`` contain ``labels``; they are read until they contain ``MOST_FITTED`` items. No random numbers are
    drawn.
    """
    vectors: list[Tensor] = []
    labels: list[Tensor] = []
    training = model.training
    hook = model.head.register_forward_pre_hook(lambda _, inputs: vectors.append(inputs[0].float().cpu()))
    model.eval()
    try:
        for batch in batches:
            model(batch)
            labels.append(batch["labels"][batch["labels"] >= 0].cpu())
            if sum(map(len, labels)) >= MOST_FITTED:
                break
    finally:
        hook.remove()
        model.train(training)
    found = torch.cat(labels)
    if len(found.unique()) > 1:
        model.head.fit(torch.cat(vectors), found)  # type: ignore[operator]
