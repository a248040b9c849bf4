"""Multinomial sampling over several languages that favours small ones."""

from collections.abc import Sequence
from math import isfinite

import numpy as np
import numpy.typing as npt

from langlift.errors import InputError


def sampling_shares(sizes: Sequence[float], alpha: float) -> npt.NDArray[np.float64]:
    """The share ``p_i = n_i^alpha / sum_j n_j^alpha`` of each source, float64 [sources]; they sum to 1.

    ``sizes`` are the n_i in any unit (sentences, tokens, bytes). ``alpha`` 1 keeps the proportions of the sizes, 0
    gives every source the same share. Conneau and Lample 2019, equation 1; arXiv 2405.12413 uses 0.1 to 0.4.
    InputError if alpha is negative or not finite, there is no source, or one is empty.
    """
    if not (isfinite(alpha) and alpha >= 0):
        raise InputError(
            f"alpha {alpha:g}: must be 0 or above", "1 keeps the proportions of the sizes, 0 equalises them"
        )
    if not len(sizes) or not all(isfinite(size) and size > 0 for size in sizes):
        listed = ", ".join(f"{size:g}" for size in sizes) or "none"
        raise InputError(f"sizes to sample from ({listed}): each must be above 0", "leave out empty sources")
    # In logarithms: n^alpha of a large corpus may be beyond a float's range.
    logarithms = alpha * np.log(np.asarray(sizes, dtype=np.float64))
    parts = np.exp(logarithms - logarithms.max())
    shares: npt.NDArray[np.float64] = parts / parts.sum()
    return shares


def draw_sources(
    shares: Sequence[float] | npt.NDArray[np.float64], count: int, seed: int
) -> npt.NDArray[np.int64]:
    """The source of each of ``count`` draws, independently with the probabilities ``shares``; int64 [count].

    The result depends only on the seed, and a longer draw begins with the shorter one, so a resumed or longer run
    sees the same sources at the same positions.
    """
    return np.random.default_rng(seed).choice(len(shares), count, p=shares)
