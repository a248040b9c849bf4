"""The order of training examples, fixed by the seed alone, and their batches."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langlift.masking import IGNORED, MaskedLanguageModel
from langlift.training.examples import (
    LengthGroups,
    PadBatch,
    Schedule,
    Shuffled,
    masked_examples,
    one_pass,
)

PAD = 1
MASKING = MaskedLanguageModel(4, frozenset(range(5)), 60)
ROWS = [np.arange(5, 20 + i) for i in range(7)]


def traced(index, epoch):
    """An example that says which one it is."""
    return {"input_ids": np.array([index, epoch]), "labels": np.array([IGNORED, IGNORED])}


def order(schedule, positions):
    return [tuple(schedule[position]["input_ids"].tolist()) for position in positions]


def same(left, right):
    return left.keys() == right.keys() and all(np.array_equal(left[key], right[key]) for key in left)


@settings(derandomize=True, deadline=None)
@given(count=st.integers(1, 40), seed=st.integers(0, 2**40), total=st.integers(1, 200))
def test_every_epoch_shows_every_example_once(count, seed, total):
    schedule = Schedule(traced, Shuffled(count, seed), total)
    assert len(schedule) == total
    seen = order(schedule, range(total))
    for epoch in range(total // count):
        part = seen[epoch * count : (epoch + 1) * count]
        assert sorted(part) == [(index, epoch) for index in range(count)]
    rest = seen[total - total % count :]
    assert len(set(rest)) == len(rest)
    assert all(epoch == total // count for _, epoch in rest)


@settings(derandomize=True, deadline=None)
@given(seed=st.integers(0, 2**40), positions=st.lists(st.integers(0, 49), min_size=1, max_size=30))
def test_a_position_holds_the_same_example_whatever_was_seen_before(seed, positions):
    whole = Schedule(traced, Shuffled(9, seed), 50)
    straight = order(whole, range(50))
    assert order(whole, positions) == [straight[p] for p in positions]
    resumed = Schedule(traced, Shuffled(9, seed), 50)
    assert order(resumed, range(positions[0], 50)) == straight[positions[0] :]


def test_epochs_and_seeds_have_different_orders():
    schedules = [order(Schedule(traced, Shuffled(30, seed), 60), range(60)) for seed in (0, 1)]
    orders = {tuple(index for index, _ in seen[at : at + 30]) for seen in schedules for at in (0, 30)}
    assert len(orders) == 4
    assert tuple(range(30)) not in orders


def test_a_longer_run_starts_as_the_shorter_one():
    shorter, longer = (Schedule(traced, Shuffled(9, 3), total) for total in (20, 90))
    assert order(shorter, range(20)) == order(longer, range(20))


def test_a_schedule_ends_at_its_total():
    with pytest.raises(IndexError):
        Schedule(traced, Shuffled(9, 0), 20)[20]


def test_one_pass_is_in_order_as_in_epoch_zero():
    assert [tuple(example["input_ids"]) for example in one_pass(traced, 3)] == [(0, 0), (1, 0), (2, 0)]


def test_masked_examples_differ_by_epoch_and_not_by_order():
    example = masked_examples(ROWS, MASKING, seed=3)
    first = {(i, e): example(i, e) for e in range(3) for i in range(7)}
    again = {key: masked_examples(ROWS, MASKING, seed=3)(*key) for key in reversed(first)}
    assert all(same(first[key], again[key]) for key in first)
    for i in range(7):
        places = {tuple(first[i, e]["labels"]) for e in range(3)}
        assert len(places) == 3
        for e in range(3):
            labels = first[i, e]["labels"]
            assert (labels[labels != IGNORED] == ROWS[i][labels != IGNORED]).all()


def test_a_matrix_of_rows_is_masked_as_separate_rows_are():
    matrix = np.arange(5, 55, dtype=np.uint16).reshape(2, 25)
    from_matrix, from_rows = (
        masked_examples(rows, MASKING, seed=0) for rows in (matrix, [*matrix.astype(np.int64)])
    )
    for index in range(2):
        assert same(from_matrix(index, 1), from_rows(index, 1))


def test_unequal_examples_are_padded_to_the_longest():
    examples = [
        {"input_ids": np.array([0, 7, 2]), "labels": np.array([IGNORED, 9, IGNORED])},
        {"input_ids": np.array([0, 7, 8, 9, 2]), "labels": np.array([IGNORED, 7, IGNORED, 8, IGNORED])},
    ]
    batch = PadBatch(PAD)(examples)
    assert batch["input_ids"].tolist() == [[0, 7, 2, PAD, PAD], [0, 7, 8, 9, 2]]
    assert batch["labels"].tolist() == [[IGNORED, 9] + [IGNORED] * 3, [IGNORED, 7, IGNORED, 8, IGNORED]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert all(tensor.dtype == torch.int64 for tensor in batch.values())


def test_a_batch_without_padding_needs_no_attention_mask():
    assert set(PadBatch(PAD)([traced(0, 0), traced(1, 0)])) == {"input_ids", "labels"}


def test_class_labels_are_stacked():
    rows = ([0, 5, 2], 3), ([0, 2], 1)
    batch = PadBatch(PAD)([{"input_ids": np.array(row), "labels": np.array(label)} for row, label in rows])
    assert batch["labels"].tolist() == [3, 1]
    assert batch["input_ids"].tolist() == [[0, 5, 2], [0, 2, PAD]]


@given(count=st.integers(1, 200), batch=st.integers(1, 9), seed=st.integers(0, 99))
def test_grouping_by_length_keeps_every_epoch_a_permutation(count, batch, seed):
    lengths = np.random.default_rng(seed).integers(1, 100, count)
    seen = Schedule(lambda index, epoch: (index, epoch), LengthGroups(lengths, batch, seed), 3 * count)
    order = [seen[p] for p in range(3 * count)]
    for epoch in range(3):
        indices = [index for index, e in order if e == epoch]
        assert sorted(indices) == list(range(count))
    assert seen[count // 2] == order[count // 2], "a position always holds the same example"


def test_grouped_batches_are_of_similar_length_also_after_an_uneven_epoch():
    lengths = np.random.default_rng(0).integers(1, 100, 701)
    grouped = Schedule(lambda i, e: i, LengthGroups(lengths, 32, 0), 2 * 701)
    mixed = Schedule(lambda i, e: i, Shuffled(701, 0), 2 * 701)

    def padded(schedule):
        batches = [[lengths[schedule[p]] for p in range(s, s + 32)] for s in range(0, 2 * 701 - 32, 32)]
        return sum(32 * max(b) for b in batches) / sum(map(sum, batches))

    assert padded(grouped) < 1.15 < 1.6 < padded(mixed)
