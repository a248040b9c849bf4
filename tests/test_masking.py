"""Masking: how many tokens, which ones, what replaces them, and that seed, epoch and example decide it all."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from langlift.masking import IGNORED, MaskedLanguageModel, word_numbers

SPECIAL = frozenset({0, 1, 2, 3, 4})
MASK = 4
VOCABULARY = 60
numbers = st.integers(0, 2**40)
token_rows = st.lists(st.integers(0, VOCABULARY - 1), max_size=80).map(lambda ids: np.array(ids, dtype=np.int64))


def masking(share=0.15, vocabulary=VOCABULARY, special=SPECIAL):
    return MaskedLanguageModel(MASK, special, vocabulary, share)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(row=token_rows, share=st.floats(0.01, 1.0), seed=numbers, epoch=numbers, example=numbers)
def test_an_exact_number_of_ordinary_tokens_is_chosen_and_all_else_is_untouched(row, share, seed, epoch, example):
    before = row.copy()
    seen, labels = masking(share)(row, seed=seed, epoch=epoch, example=example)
    ordinary = ~np.isin(before, list(SPECIAL))
    chosen = labels != IGNORED
    count = int(ordinary.sum())
    assert chosen.sum() == (max(1, round(share * count)) if count else 0)
    assert not (chosen & ~ordinary).any()
    assert (labels[chosen] == before[chosen]).all()
    assert (seen[~chosen] == before[~chosen]).all()
    assert not np.isin(seen[chosen], list(SPECIAL - {MASK})).any()
    assert seen.dtype == labels.dtype == np.int64
    assert (row == before).all()
    again = masking(share)(row, seed=seed, epoch=epoch, example=example)
    assert (again[0] == seen).all()
    assert (again[1] == labels).all()


def test_another_seed_epoch_or_example_masks_a_long_row_differently():
    row = np.arange(5, 55)
    places = {
        tuple(np.flatnonzero(masking()(row, seed=s, epoch=e, example=x)[1] != IGNORED))
        for s in range(4)
        for e in range(4)
        for x in range(4)
    }
    assert len(places) == 64


def test_rows_of_small_unsigned_ids_are_masked_alike():
    row = np.arange(5, 55)
    wide = masking()(row, seed=1, epoch=2, example=3)
    narrow = masking()(row.astype(np.uint16), seed=1, epoch=2, example=3)
    assert (wide[0] == narrow[0]).all()
    assert (wide[1] == narrow[1]).all()


def test_of_the_chosen_eighty_percent_are_masked_ten_replaced_and_ten_kept():
    row = np.random.default_rng(0).integers(5, 20_000, size=4000)
    fates = np.zeros(3)
    for example in range(25):
        seen, labels = masking(0.5, vocabulary=20_000)(row, seed=0, epoch=0, example=example)
        chosen = labels != IGNORED
        masked, kept = seen[chosen] == MASK, seen[chosen] == labels[chosen]
        fates += masked.sum(), (~masked & ~kept).sum(), kept.sum()
    assert fates.sum() == 50_000
    # Four standard deviations are 0.7 % and 0.5 %.
    np.testing.assert_allclose(fates / fates.sum(), [0.8, 0.1, 0.1], atol=0.007)


def test_every_token_is_chosen_about_equally_often():
    row = np.arange(5, 25)
    chosen = sum((masking(0.25)(row, seed=0, epoch=e, example=0)[1] != IGNORED).astype(int) for e in range(4000))
    assert chosen.sum() == 4000 * 5
    # One standard deviation is 27.
    assert np.abs(chosen - 1000).max() < 140


def test_random_replacements_are_ordinary_tokens_of_the_whole_vocabulary():
    special = frozenset({0, 1, 2, 3, 4, 17, 31})
    row = np.full(3000, 5)
    drawn = set()
    for example in range(4):
        seen, _ = masking(1.0, vocabulary=32, special=special)(row, seed=0, epoch=0, example=example)
        drawn |= set(seen.tolist())
    assert drawn - {MASK} == set(range(32)) - special


def test_a_special_token_in_the_text_separates_words():
    offsets, word_ids = [(0, 0), (0, 1), (1, 5), (5, 6), (0, 0)], [None, 0, None, 1, None]
    assert word_numbers("a</s>b", offsets, word_ids).tolist() == [-1, 0, -1, 1, -1]
