"""Measures of sentence classification."""

from collections.abc import Sequence


def macro_f1(gold: Sequence[str], predicted: Sequence[str | None], classes: Sequence[str] | None = None) -> float:
    """The unweighted mean of the classes' F1, 0 to 100, over ``classes`` or those that occur in either list.

    None is an answer of no class: wrong, and no class of its own.
    """
    from sklearn.metrics import f1_score

    classes = classes or sorted({*gold, *(label for label in predicted if label is not None)})
    none = max(classes, key=len) + "?"  # a name that no class has
    named = [none if label is None else label for label in predicted]
    return 100.0 * float(f1_score(gold, named, labels=classes, average="macro", zero_division=0.0))
