"""Mean, standard deviation and confidence interval over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import mean, stdev


@dataclass(frozen=True)
class Spread:
    """Of ``count`` values: mean, sample standard deviation (n - 1), and a confidence interval of the mean.

    ``std``, ``low`` and ``high`` are None for a single value, of which nothing is known but itself.
    """

    count: int
    mean: float
    std: float | None
    low: float | None
    high: float | None


def spread(values: Sequence[float], confidence: float = 0.95) -> Spread:
    """Mean and spread, with Student's t interval: mean ± t(n - 1) · std / √n."""
    from scipy.stats import t

    count, middle = len(values), mean(values)
    if count < 2:
        return Spread(count, middle, None, None, None)
    std = stdev(values)
    half = float(t.ppf((1 + confidence) / 2, count - 1)) * std / sqrt(count)
    return Spread(count, middle, std, middle - half, middle + half)
