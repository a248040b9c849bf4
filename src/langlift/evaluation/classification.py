"""Measures of sentence classification."""

from collections.abc import Sequence


def macro_f1(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """The unweighted mean of the classes' F1, 0 to 100, over the classes that occur in either list."""
    from sklearn.metrics import f1_score

    return 100.0 * float(f1_score(gold, predicted, average="macro", zero_division=0.0))
