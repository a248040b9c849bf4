"""The metrics of tasks, 0 to 100: macro-F1, entity F1 (also strict), accuracy, LAS and UAS."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A metric: its key in metrics and results, its title, and its id among the hub's metrics."""

    name: str
    title: str
    hub: str


MACRO_F1 = Metric("macro_f1", "macro-F1", "f1")
ENTITY_F1 = Metric("entity_f1", "entity F1", "f1")
STRICT_F1 = Metric("strict_entity_f1", "strict entity F1", "f1")
ACCURACY = Metric("accuracy", "accuracy", "accuracy")
LAS, UAS = Metric("las", "LAS", "las"), Metric("uas", "UAS", "uas")

Span = tuple[str, int, int]
"""(type, number of the first word, number of the word after the last)."""
Tree = Sequence[tuple[int, str]]
"""Head (0: the root, words count from 1) and relation of each word of a sentence."""


def macro_f1(gold: Sequence[str], predicted: Sequence[str | None], classes: Sequence[str] | None = None) -> float:
    """The unweighted mean of the classes' F1, 0 to 100, over ``classes`` or those that occur in either list.

    A prediction of None is wrong, and does not count as a class.
    """
    from sklearn.metrics import f1_score

    classes = classes or sorted({*gold, *(label for label in predicted if label is not None)})
    none = max(classes, key=len) + "?"  # a name that no class has
    named = [none if label is None else label for label in predicted]
    return 100.0 * float(f1_score(gold, named, labels=classes, average="macro", zero_division=0.0))


def entity_f1(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], strict: bool = False) -> float:
    """F1 of the entities in BIO tags, 0 to 100: type and both ends must agree (seqeval, micro average).

    As in conlleval, an ``I-`` that does not continue an entity begins one; if ``strict`` (seqeval's mode of that
    name with IOB2), it is outside. Without any entity the F1 is 0.
    """
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    how = {"mode": "strict", "scheme": IOB2} if strict else {}
    return 100.0 * float(f1_score([list(s) for s in gold], [list(s) for s in predicted], zero_division=0, **how))


def entity_spans(tags: Sequence[str], strict: bool = False) -> list[Span]:
    """The entities of one sentence's BIO tags, in order, read as ``entity_f1`` reads them."""
    from seqeval.metrics.sequence_labeling import get_entities
    from seqeval.scheme import IOB2, Entities

    if strict:
        return [(entity.tag, entity.start, entity.end) for entity in Entities([list(tags)], IOB2).entities[0]]
    return [(kind, first, last + 1) for kind, first, last in get_entities(list(tags))]


def accuracy(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> float:
    """The share of words, over all sentences, with the right tag; 0 to 100."""
    right = [a == b for tags, other in zip(gold, predicted, strict=True) for a, b in zip(tags, other, strict=True)]
    return 100.0 * sum(right) / len(right)


def universal(relation: str) -> str:
    """The universal part of a relation, which is scored: ``nsubj`` of ``nsubj:pass``."""
    return relation.partition(":")[0]


def attachment_scores(gold: Sequence[Tree], predicted: Sequence[Tree]) -> tuple[float, float]:
    """UAS and LAS by the rules of the CoNLL 2018 shared task, over all syntactic words, punctuation included.

    The shares of words, 0 to 100, with the right head, and with the right head and relation.
    Multiword tokens and empty nodes do not count, and subtypes of relations are ignored. With the gold words
    the official scorer's precision, recall and F1 are all equal to these shares.
    """
    words = heads = both = 0
    for gold_tree, tree in zip(gold, predicted, strict=True):
        for (gold_head, gold_relation), (head, relation) in zip(gold_tree, tree, strict=True):
            words += 1
            heads += head == gold_head
            both += head == gold_head and universal(relation) == universal(gold_relation)
    return 100.0 * heads / words, 100.0 * both / words
