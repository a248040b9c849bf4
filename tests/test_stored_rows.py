"""Training rows on disk: the same rows as in memory, in the same order, in memory that hardly grows with them."""

import json
import resource
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langlift.backbones.loading import load_tokenizer
from langlift.corpus.text_data import SPLITS
from langlift.errors import InputError, LangliftError
from langlift.masking import word_numbers
from langlift.progress import progress_to
from langlift.studies.cutting import cut_data
from langlift.training.encoding import EncodedRow, StoredRows, disk_of, encode
from langlift.training.language_model_training import example_order
from langlift.training.recipes import AdaptRecipe
from langlift.training.training_data import DEV_SEED, encode_sources, read_sources

WORDS = ("qattus", "xemx", "baħar,", "kien", "raqad.", "ħolom", "u", "fil-għodu", "missieru", "ⴰⵣⵓⵍ")
"""The last is in a script that the tokenizers have never seen."""
LONGEST = 12
texts = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=25).map(" ".join), min_size=1, max_size=30)
QUICK = AdaptRecipe(validation_examples=8, batch_size=4)


def built(folder: Path, **splits: Iterable[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for split in SPLITS:
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": text}) + "\n" for text in splits.get(split, ["Kien raqad."]))
    return folder


def peak_of(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("what", ["encode", "cut"])
def test_memory_grows_by_a_few_bytes_a_text(tmp_path: Path, tiny_bert: Path, what: str) -> None:
    tokenizer = load_tokenizer(str(tiny_bert))

    def encoded(data: Path) -> None:
        rows = encode_sources(read_sources([data], None, "mlm"), None, tokenizer, 64, QUICK, tmp_path)
        assert len(rows.train) == int(data.name) and len(rows.dev[data.name]) == 8
        example_order(rows, QUICK).epoch(1)

    def work(count: int) -> Callable[[], object]:
        every = (f"{WORDS[n % 9]} {WORDS[n % 7]} {WORDS[n % 5]} u ħolom {n % 10}" for n in range(count))
        data = built(tmp_path / str(count), train=every, dev=(WORDS[n % 9] for n in range(count // 8)))
        return lambda: encoded(data) if what == "encode" else cut_data(data, tmp_path / f"cut {count}", 10**4)

    small, large = 2_000, 8_000
    work(500)()  # what is loaded once is not counted
    with progress_to(lambda *report: None):
        grown = peak_of(work(large)) - peak_of(work(small))
    assert grown / (large - small) < 80


def in_memory(tokenizer, every: Iterable[str], with_words: bool) -> list[EncodedRow]:
    """Text by text, as one list."""
    special, rows = set(tokenizer.all_special_ids), []
    for text in every:
        found = tokenizer(text, truncation=True, max_length=LONGEST, return_overflowing_tokens=True)
        for encoding in found.encodings:
            if set(encoding.ids) - special:
                words = word_numbers(text, encoding.offsets, encoding.word_ids) if with_words else None
                rows.append(EncodedRow(np.asarray(encoding.ids), words))
    return rows


def plain(rows: Iterable[EncodedRow]) -> list[tuple[list[int], list[int] | None]]:
    for row in (rows := list(rows)):
        assert row.ids.dtype == np.int64 and (row.words is None or row.words.dtype == np.int64)
    return [(row.ids.tolist(), None if row.words is None else row.words.tolist()) for row in rows]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(train=texts, dev=texts, objective=st.sampled_from(["mlm", "full_word"]), kind=st.integers(0, 1))
def test_rows_are_those_encoded_in_memory(
    tmp_path, tiny_bert, tiny_xlm_roberta, capsys, train, dev, objective, kind
):
    tokenizer = load_tokenizer(str((tiny_bert, tiny_xlm_roberta)[kind]))
    data = built(tmp_path / "data", train=train, dev=dev)
    wanted, held_out = in_memory(tokenizer, train, objective == "full_word"), in_memory(tokenizer, dev, False)
    recipe = replace(QUICK, objective=objective)
    capsys.readouterr()

    def encoded():
        return encode_sources(read_sources([data], None, objective), None, tokenizer, LONGEST, recipe, tmp_path)

    if not wanted or not held_out:
        with pytest.raises(InputError, match="no text has a token that the base model knows"):
            encoded()
        return
    rows = encoded()
    assert plain(rows.train) == plain(wanted)
    assert rows.train.lengths.tolist() == [len(row.ids) for row in wanted] and rows.sizes == [len(wanted)]
    chosen = range(len(held_out))
    if len(held_out) > 8:
        chosen = np.random.default_rng(DEV_SEED).choice(len(held_out), 8, replace=False)
    by_length = sorted((held_out[number] for number in chosen), key=lambda row: len(row.ids))
    assert plain(rows.dev["data"]) == plain(by_length), "the dev rows used never change"
    said = capsys.readouterr().err
    for split, some, kept in (("train", train, wanted), ("dev", dev, held_out)):
        parts = [tokenizer(t, truncation=True, max_length=LONGEST, return_overflowing_tokens=True) for t in some]
        left_out = sum(len(part.encodings) for part in parts) - len(kept)
        place = f"{data} ({split} split): "
        assert (f"{place}{left_out} rows without a token that the model knows are left out" in said) == bool(
            left_out
        )
    assert [path.name for path in tmp_path.iterdir()] == ["data"], "the file of rows has no name"


@pytest.mark.parametrize("largest", [255, 256, 65_535, 65_536, 250_001])
def test_every_id_of_the_vocabulary_is_kept(largest: int, tmp_path: Path) -> None:
    rows = StoredRows(largest, with_words=True, folder=tmp_path)
    given_rows = [
        EncodedRow(np.array([0, largest, 1]), np.array([-1, 0, 70_000])),
        EncodedRow(*np.array([[5], [-1]])),
    ]
    rows.extend(given_rows[:1])
    rows.extend(given_rows[1:])
    assert plain(rows) == plain(given_rows)
    with pytest.raises(IndexError):
        rows[2]
    rows.close()
    with pytest.raises(ValueError, match="closed"):
        rows[0]


def test_arguments_are_kept(tmp_path: Path) -> None:
    spans = (np.array([1, 2]), np.array([4]))
    rows = StoredRows(9, folder=tmp_path)
    rows.extend([EncodedRow(np.arange(3)), EncodedRow(np.arange(6), arguments=spans)])
    assert not rows[0].arguments and [span.tolist() for span in rows[1].arguments] == [[1, 2], [4]]


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    rows = StoredRows(70_000, folder=tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(LangliftError, match=f"{tmp_path}: cannot be written") as failure:
            rows.extend(EncodedRow(np.arange(100)) for _ in range(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "free space" in failure.value.hint


def test_the_disk_is_that_of_the_run(tmp_path: Path) -> None:
    assert disk_of(tmp_path / "run") == tmp_path
    assert disk_of(tmp_path / "new" / "deeper" / "run") == tmp_path


def test_texts_are_encoded_alike_in_batches(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = load_tokenizer(str(tiny_bert))
    every = [" ".join(chain(WORDS[n % 9 :], WORDS[: n % 5])) for n in range(25)]
    at_once = plain(encode(tokenizer, every, LONGEST, "text", with_words=True))
    monkeypatch.setattr("langlift.training.encoding.BATCH_TEXTS", 4)
    assert plain(encode(tokenizer, every, LONGEST, "text", with_words=True)) == at_once
