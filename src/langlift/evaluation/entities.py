"""Named entities: from BIO tags to spans, and their F1 by seqeval."""

from collections.abc import Sequence

Span = tuple[str, int, int]
"""(type, number of the first word, number of the word behind the last)."""


def entity_f1(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> float:
    """Entity-level F1 over all sentences, 0 to 100: type and both ends must agree (seqeval, micro average).

    As in conlleval, an ``I-`` that continues nothing begins an entity. Where neither side has an entity it is 0.
    """
    from seqeval.metrics import f1_score

    return 100.0 * float(f1_score([list(s) for s in gold], [list(s) for s in predicted], zero_division=0))


def entity_spans(tags: Sequence[str]) -> list[Span]:
    """The entities of one sentence's BIO tags, in order, read as ``entity_f1`` reads them."""
    from seqeval.metrics.sequence_labeling import get_entities

    return [(kind, first, last + 1) for kind, first, last in get_entities(list(tags))]
