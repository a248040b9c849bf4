"""Alpha sampling: its formula, its draws against that formula, and that they depend on the seed alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from langlift.corpus.sampling import draw_sources, sampling_shares
from langlift.errors import InputError

SIZES = [200, 9_000, 350, 1_000_000]


def test_shares_by_hand():
    assert sampling_shares([1, 16], 0.5) == pytest.approx([0.2, 0.8])
    assert sampling_shares([3, 9], 1) == pytest.approx([0.25, 0.75])
    assert sampling_shares([3, 9, 1], 0) == pytest.approx([1 / 3] * 3)
    assert sampling_shares([1e300, 1e300], 3) == pytest.approx([0.5, 0.5])


@settings(derandomize=True, deadline=None)
@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=9), st.floats(0, 1.5))
def test_shares_follow_the_formula(sizes, alpha):
    parts = [size**alpha for size in sizes]
    assert sampling_shares(sizes, alpha) == pytest.approx([part / sum(parts) for part in parts])


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.3, 0.4, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_draws_match_the_formula(alpha, seed):
    shares = sampling_shares(SIZES, alpha)
    drawn = np.bincount(draw_sources(shares, 100_000, seed), minlength=len(SIZES))
    assert chisquare(drawn, shares * drawn.sum()).pvalue > 1e-3


def test_the_check_would_see_another_alpha():
    drawn = np.bincount(draw_sources(sampling_shares(SIZES, 0.3), 100_000, seed=0), minlength=len(SIZES))
    assert chisquare(drawn, sampling_shares(SIZES, 0.32) * drawn.sum()).pvalue < 1e-6


def test_draws_depend_on_the_seed_alone_and_grow_at_the_end():
    shares = sampling_shares(SIZES, 0.3)
    long = draw_sources(shares, 1000, seed=5)
    assert (draw_sources(shares, 300, seed=5) == long[:300]).all()
    assert (draw_sources(shares, 1000, seed=6) != long).any()
    assert long.dtype == np.int64


@pytest.mark.parametrize(
    ("sizes", "alpha", "said"),
    [([1, 2], -0.1, "alpha"), ([1, 2], float("nan"), "alpha"), ([], 0.3, "none"), ([1, 0], 0.3, "0")],
)
def test_mistakes(sizes, alpha, said):
    with pytest.raises(InputError, match=said):
        sampling_shares(sizes, alpha)
