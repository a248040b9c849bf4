"""The baselines without a language model."""

import pytest

from langlift.tasks.sentences import LabelledText
from langlift.tasks.task import TASKS

text_baseline = TASKS["topic"].learner.baselines
TRAIN = LabelledText(
    [
        "il-futbol u l-gowl",
        "it-tim u l-plejer",
        "gowl ieħor tat-tim",
        "футбол та гол",
        "il-vapur u l-biljett",
        "квиток",
    ],
    ["sport", "sport", "sport", "sport", "safar", "safar"],
)
TEST = LabelledText(
    ["il-gowl tat-tim", "гол", "biljett tal-vapur", "квитки"], ["sport", "sport", "safar", "safar"]
)


def test_words_and_parts_of_words_tell_the_classes_apart():
    assert text_baseline(TRAIN, TEST)["tfidf"] == 100.0


def test_the_majority_is_the_training_sets_and_scored_over_all_classes():
    # All "sport": F1 is 2/3 for sport, 0 for safar.
    assert text_baseline(TRAIN, TEST)["majority"] == pytest.approx(100 / 3)
    mostly_safar = LabelledText(["kelma oħra"] * 4, ["safar", "safar", "safar", "sport"])
    assert text_baseline(TRAIN, mostly_safar)["majority"] == pytest.approx(100 * (0 + 2 / 5) / 2)


def test_a_class_that_only_the_test_split_lacks_does_not_count():
    only_sport = LabelledText(["gowl"], ["sport"])
    assert text_baseline(TRAIN, only_sport)["majority"] == 100.0


def test_the_same_texts_give_the_same_scores():
    noisy = LabelledText(TRAIN.inputs[::-1], TRAIN.gold)
    first = text_baseline(noisy, TEST)
    assert first["tfidf"] < 100.0
    assert first == text_baseline(noisy, TEST)


@pytest.mark.parametrize("texts", [["🐈 🐈", "🐕"], ["a b", "ç d"]])
def test_texts_without_longer_words_are_told_apart_by_their_characters(texts):
    assert text_baseline(LabelledText(texts, ["x", "y"]), LabelledText(texts, ["x", "y"]))["tfidf"] == 100.0


def test_a_training_sample_with_a_single_label_is_answered_with_it():
    found = text_baseline(LabelledText(["it-tim"], ["sport"]), TEST)
    assert found["tfidf"] == found["majority"] == pytest.approx(100 / 3)
