"""Duplicates: the first stays, near-duplicates go, memory does not grow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langlift.corpus.deduplication import FALSE_POSITIVES, Deduplication, document_bands, false_positive_rate
from langlift.corpus.fingerprints import as_arrays, fingerprint
from langlift.corpus.pipeline import DroppedText, Pipeline
from langlift.languages import find_language

fuzzing = settings(derandomize=True, deadline=None, max_examples=40)
MALTESE = find_language("mlt")


def words(rng: np.random.Generator, count: int) -> list[str]:
    return ["".join(rng.choice(list("abdefgħiklmnoprstuwżz"), 7)) for _ in range(count)]


def bands_of(documents: list[list[str]], script: str = "Latn") -> list[set[int]]:
    """The bands of documents of words, ten words a line."""
    lines = [(n, " ".join(d[i : i + 10])) for n, d in enumerate(documents) for i in range(0, len(d), 10)]
    prints = fingerprint(as_arrays([line for _, line in lines]), script)
    owner = np.array([n for n, _ in lines])[prints.unit_lines]
    return [set(bands) for bands in document_bands(prints.units, owner, prints.per_word, len(documents))]


@fuzzing
@given(seed=st.integers(0, 10**6), where=st.integers(0, 199))
def test_documents_share_a_band_when_they_are_much_the_same(seed: int, where: int) -> None:
    rng = np.random.default_rng(seed)
    document, other = words(rng, 200), words(rng, 200)
    changed = [*document[:where], "oħra", *document[where + 1 :]]  # Jaccard 191 / 201 of runs of five words
    bands = bands_of([document, changed, other, document])
    assert bands[0] == bands[3]
    assert bands[0] & bands[1]
    assert not bands[0] & bands[2]


def test_the_chance_of_a_shared_band_rises_about_where_it_should() -> None:
    rng = np.random.default_rng(1)
    hits = {0.5: 0, 0.9: 0}
    for similarity in hits:
        for _ in range(40):
            document = words(rng, 300)
            common = round(300 * 2 * similarity / (1 + similarity))  # s = c / (600 - c)
            first, second = bands_of([document, document[:common] + words(rng, 300 - common)])
            hits[similarity] += bool(first & second)
    assert hits[0.5] <= 4, "expected 1 %"
    assert hits[0.9] > 36, "expected 99 %"


def test_short_documents_have_no_bands() -> None:
    document = words(np.random.default_rng(0), 23)
    assert [len(bands) for bands in bands_of([document, [*document, "kelma"]])] == [0, 10]


def test_bands_in_a_script_without_spaces() -> None:
    rng = np.random.default_rng(0)
    document = ["".join(rng.choice(list("กขคงจฉชซญดตถทธนบปผพฟมยรลวสหอ"), 30)) for _ in range(40)]
    first, second, third = bands_of([document, [*document[:39], "นบปผพฟมยร"], document[:3]], "Thai")
    assert first & second
    assert not first & third


@fuzzing
@given(numbers=st.lists(st.integers(0, 50)))
def test_the_first_of_equal_lines_is_kept(numbers: list[int]) -> None:
    pipeline = Pipeline(MALTESE, 10**6, DroppedText(0))
    texts = [f"Din hija sentenza {n}." for n in numbers]
    kept = [line for document in pipeline.process(texts) for line in document]
    assert kept == list(dict.fromkeys(texts))
    assert pipeline.dropped.by("duplicate_line").lines == len(texts) - len(kept)


def test_lines_are_compared_without_case_and_punctuation_also_across_batches() -> None:
    pipeline = Pipeline(MALTESE, 10**6, DroppedText(0))
    assert list(pipeline.process(["Il-qattus raqad."])) == [["Il-qattus raqad."]]
    assert list(pipeline.process(["IL QATTUS  raqad\nIl-kelb raqad"])) == [["Il-kelb raqad"]]


def test_a_near_duplicate_is_dropped_as_a_whole() -> None:
    rng = np.random.default_rng(3)
    lines = [" ".join(words(rng, 12)) for _ in range(20)]
    pipeline = Pipeline(MALTESE, 10**6, DroppedText(0))
    first, second = "\n".join(lines), "\n".join([*lines[:19], "Tmiem differenti ħafna ta' dan it-test."])
    assert list(pipeline.process([first, second])) == [lines]
    dropped = pipeline.dropped.counts()["near_duplicate"]
    assert (dropped["documents"], dropped["lines"]) == (1, 20)


def test_filters_have_a_size_fixed_by_the_budget_and_say_how_full_they_are() -> None:
    seen = Deduplication(4_000_000).lines  # 100,000 lines
    size = seen.size_in_bits
    for key in range(100_000):
        seen.add(key * 7919)
    assert seen.size_in_bits == size
    assert false_positive_rate(seen) == pytest.approx(FALSE_POSITIVES, rel=0.5)
    assert all(key * 7919 in seen for key in range(0, 100_000, 97))
    assert sum(key * 7919 + 1 in seen for key in range(100_000)) <= 3
    assert Deduplication(10**9).state()["memory_bytes"] < 200e6
