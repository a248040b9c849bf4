"""UAS and LAS by the rules of the CoNLL 2018 shared task, for words that gold and system share."""

from collections.abc import Sequence
from dataclasses import dataclass

Tree = Sequence[tuple[int, str]]
"""Head (0: the root, words count from 1) and relation of each word of a sentence."""


@dataclass(frozen=True)
class AttachmentScores:
    """Shares of all words, 0 to 100: with the right head (``uas``), and also the right relation (``las``)."""

    uas: float
    las: float


def universal(relation: str) -> str:
    """The part of a relation that is compared: ``nsubj`` of ``nsubj:pass``."""
    return relation.partition(":")[0]


def attachment_scores(gold: Sequence[Tree], predicted: Sequence[Tree]) -> AttachmentScores:
    """Over all syntactic words of all sentences, punctuation included.

    Multiword tokens and empty nodes do not count, and subtypes of relations are ignored. With the gold words
    the official scorer's precision, recall and F1 are all equal to these shares.
    """
    words = heads = both = 0
    for gold_tree, tree in zip(gold, predicted, strict=True):
        for (gold_head, gold_relation), (head, relation) in zip(gold_tree, tree, strict=True):
            words += 1
            heads += head == gold_head
            both += head == gold_head and universal(relation) == universal(gold_relation)
    return AttachmentScores(uas=100.0 * heads / words, las=100.0 * both / words)
