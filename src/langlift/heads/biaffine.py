"""Deep biaffine dependency parsing: Dozat and Manning 2017 (arXiv 1611.01734), on top of an encoder."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, leaky_relu

from langlift.backbones.hidden_states import hidden_states
from langlift.heads.classification import TaskModel
from langlift.masking import IGNORED

ARC_SIZE, RELATION_SIZE, DROPOUT, SLOPE = 500, 100, 0.33, 0.1
"""As in the paper, section 3.2 and table 1."""
NO_ARC = -1e9
"""The score of an impossible arc; finite, so that divergences between scores are finite."""


class BiaffineHead(nn.Module):
    """Scores of every arc, and of the relations of chosen arcs.

    With r_i the vector of word i (r_0 a learned ROOT) and four perceptrons h(r), one hidden layer each,
    s_ij = h_dependent(r_i) U h_head(r_j) + u h_head(r_j) scores the arc from head j to word i (equation 6),
    and the relations of an arc have s = h_dependent V h_head + W [h_dependent, h_head] + b (equation 3).
    """

    def __init__(self, hidden_size: int, relations: int) -> None:
        super().__init__()
        self.root = nn.Parameter(0.02 * torch.randn(hidden_size))
        self.arc_dependent, self.arc_head = (nn.Linear(hidden_size, ARC_SIZE) for _ in range(2))
        self.relation_dependent, self.relation_head = (nn.Linear(hidden_size, RELATION_SIZE) for _ in range(2))
        self.arc = nn.Linear(ARC_SIZE, ARC_SIZE)  # weight: U, bias: u
        self.relation = nn.Parameter(torch.empty(relations, RELATION_SIZE, RELATION_SIZE))
        self.relation_linear = nn.Linear(2 * RELATION_SIZE, relations)
        self.dropout = nn.Dropout(DROPOUT)
        for linear in (self.arc_dependent, self.arc_head, self.relation_dependent, self.relation_head):
            nn.init.orthogonal_(linear.weight)
            nn.init.zeros_(linear.bias)
        # Small, because the scores are products of two long vectors; not zero, so that bf16 can be checked.
        for weight, size in ((self.arc.weight, ARC_SIZE), (self.relation, RELATION_SIZE)):
            nn.init.normal_(weight, std=1 / size)
        nn.init.normal_(self.relation_linear.weight, std=0.02)
        for linear in (self.arc, self.relation_linear):
            nn.init.zeros_(linear.bias)

    def placed(self, vectors: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Word vectors [words, d] -> [sentences, 1 + most words, d]: ROOT first, zeros after the last word."""
        sizes = batch["sizes"]
        out = vectors.new_zeros(len(sizes), 1 + int(sizes.max()), vectors.shape[-1])
        out[:, 0] = self.root.to(vectors.dtype)
        return out.index_put((batch["sentence"], batch["place"]), vectors)

    def arcs(self, placed: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Scores float32 [words, 1 + most words] of each head for each word, ``NO_ARC`` for impossible ones."""
        dependents, heads = self._perceptron(self.arc_dependent, placed), self._perceptron(self.arc_head, placed)
        scores = (self.arc(dependents) @ heads.transpose(1, 2))[batch["sentence"], batch["place"]].float()
        columns = torch.arange(scores.shape[1], device=scores.device)
        outside = columns > batch["sizes"][batch["sentence"]][:, None]
        return scores.masked_fill(outside | (columns == batch["place"][:, None]), NO_ARC)

    def relations(self, placed: Tensor, batch: Mapping[str, Tensor], heads: Tensor) -> Tensor:
        """Scores float32 [words, relations] of the arcs to these heads, int64 [words]."""
        dependent = self._perceptron(self.relation_dependent, placed)[batch["sentence"], batch["place"]]
        head = self._perceptron(self.relation_head, placed)[batch["sentence"], heads]
        # [words, k] x [relations, k, k] -> [relations, words, k], then the sum over k with the heads.
        both = ((dependent @ self.relation) * head).sum(dim=-1).T
        scores: Tensor = (both + self.relation_linear(torch.cat([dependent, head], dim=-1))).float()
        return scores

    def relations_of_all_arcs(self, placed: Tensor) -> Tensor:
        """The same for one sentence, [1 + words, d], of every arc: float32 [words, 1 + words, relations]."""
        dependents = self._perceptron(self.relation_dependent, placed[1:])
        heads = self._perceptron(self.relation_head, placed)
        of_dependent, of_head = self.relation_linear.weight.split(RELATION_SIZE, dim=1)
        # [words, k] x [relations, k, k] x [k, 1 + words] -> [relations, words, 1 + words]
        both = (dependents @ self.relation @ heads.T).permute(1, 2, 0)
        alone = (dependents @ of_dependent.T)[:, None] + heads @ of_head.T + self.relation_linear.bias
        return (both + alone).float()

    def _perceptron(self, linear: nn.Linear, vectors: Tensor) -> Tensor:
        hidden: Tensor = self.dropout(leaky_relu(linear(vectors), SLOPE))
        return hidden


class DependencyParser(TaskModel):
    """An encoder with a biaffine head.

    A batch is padded or flat and has, besides the encoder's inputs (its rows are windows of sentences): ``slots``
    int64, shaped as ``input_ids``, the number of the word in the batch for each token that represents a word, else
    ``IGNORED``; for each word int64 [words] its ``sentence``, its ``place`` in it from 1 on, ``heads`` and
    ``labels``; and ``sizes`` int64 [sentences], their numbers of words.
    """

    head: BiaffineHead

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Scores of arcs [words, 1 + most words], and of relations [words, relations] to the batch's heads."""
        placed = self.word_vectors(batch)
        return self.head.arcs(placed, batch), self.head.relations(placed, batch, batch["heads"])

    def word_vectors(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Word vectors as ``BiaffineHead.placed``; each is the mean over the tokens that represent the word."""
        chosen = batch["slots"] != IGNORED
        hidden = hidden_states(self.body, batch, chosen)
        slots, words = batch["slots"][chosen], len(batch["sentence"])
        if len(slots) > words:
            sums = hidden.new_zeros(words, hidden.shape[-1]).index_add(0, slots, hidden)
            hidden = sums / slots.bincount(minlength=words)[:, None].to(hidden.dtype)
        return self.head.placed(hidden, batch)


def summed_parsing_loss(output: tuple[Tensor, Tensor], batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Cross-entropy (nats) of the gold heads plus that of the relations, summed over words, and their number."""
    arcs, relations = output
    heads = cross_entropy(arcs, batch["heads"], reduction="sum")
    total = heads + cross_entropy(relations, batch["labels"], reduction="sum", ignore_index=IGNORED)
    return total, batch["labels"].new_tensor(len(arcs))
