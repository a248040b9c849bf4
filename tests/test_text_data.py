"""A text file or a built folder becomes train, dev and test, always in the same way."""

import hashlib
import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langlift.backbones.loading import load_tokenizer
from langlift.corpus.text_data import SPLITS, load_text_data, texts_to_score
from langlift.errors import InputError
from langlift.training.encoding import encode

fuzzing = settings(
    derandomize=True, deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SENTENCES = ("Il-qattus raqad fix-xemx u ħolom.", "Кіт спить на даху.", "نام القط على السطح.", "ድመቷ ተኛች። 🐈")


def built_folder(folder, **contents):
    """Three good splits, some replaced."""
    folder.mkdir(exist_ok=True)
    for split in SPLITS:
        default = "".join(json.dumps({"text": f"{text} {split}"}) + "\n" for text in SENTENCES).encode()
        (folder / f"{split}.jsonl").write_bytes(contents.get(split, default))
    return folder


def splits_of(data):
    return [data.train, data.dev, data.test]


def assert_names_place_in_one_line(refusal, path):
    assert re.match(re.escape(str(path)) + r"(:\d+)?: ", refusal.message)
    assert not set("\r\n") & set(refusal.message + refusal.hint)


@fuzzing
@given(sizes=st.lists(st.integers(1, 6), min_size=10, max_size=40), gap=st.sampled_from(["\n\n", "\r\n \r\n"]))
def test_documents_of_a_file_are_never_cut_and_each_is_in_one_split(tmp_path, sizes, gap):
    blocks = [[f"{SENTENCES[d % 4]} hawn u hemm {d}/{i}" for i in range(size)] for d, size in enumerate(sizes)]
    path = tmp_path / "text.txt"
    path.write_bytes(gap.join("\n".join(block) for block in blocks).encode())
    data = load_text_data(path)
    assert sorted(line for split in splits_of(data) for line in split) == sorted(
        line for block in blocks for line in block
    )
    assert all(splits_of(data))
    for block in blocks:
        (home,) = [split for split in splits_of(data) if block[0] in split]
        start = home.index(block[0])
        assert home[start : start + len(block)] == block
    assert data == load_text_data(path)
    assert data.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@fuzzing
@given(raw=st.one_of(st.binary(max_size=300), st.text(max_size=100).map(lambda text: (text + "\n").encode() * 12)))
def test_any_bytes_are_split_data_or_a_refusal(tmp_path, raw):
    path = tmp_path / "text.txt"
    path.write_bytes(raw)
    try:
        data = load_text_data(path)
    except InputError as refusal:
        assert_names_place_in_one_line(refusal, path)
        return
    assert all(splits_of(data))
    assert all(line and line == line.strip() for split in splits_of(data) for line in split)


rows = st.one_of(
    st.fixed_dictionaries({"text": st.text(max_size=20)}, optional={"head": st.integers()}),
    st.dictionaries(st.sampled_from(["Text", "sentence", "id"]), st.none() | st.floats() | st.text(max_size=5)),
    st.fixed_dictionaries({"text": st.none() | st.integers() | st.lists(st.text(max_size=3))}),
    st.lists(st.booleans(), max_size=2),
    st.text(max_size=5),
)
json_lines = st.one_of(
    st.binary(max_size=60),
    st.lists(st.one_of(rows.map(json.dumps), st.just(""), st.text("{}[]:,\"' 1", max_size=8)), max_size=6).map(
        lambda lines: "\n".join(lines).encode()
    ),
)


@fuzzing
@given(raw=json_lines, damaged=st.sampled_from(SPLITS))
def test_any_split_of_a_built_folder_is_read_whole_or_refused_by_its_first_bad_line(tmp_path, raw, damaged):
    folder = built_folder(tmp_path / "built", **{damaged: raw})
    path = folder / f"{damaged}.jsonl"
    try:
        data = load_text_data(folder)
    except InputError as refusal:
        assert_names_place_in_one_line(refusal, path)
        if place := re.match(re.escape(str(path)) + r":(\d+): (not valid JSON|no field)", refusal.message):
            lines = re.split(r"\r\n|\r|\n", raw.decode("utf-8-sig"))
            for line in lines[: int(place[1]) - 1]:
                assert not line.strip() or isinstance(json.loads(line.strip())["text"], str)
        return
    texts = [json.loads(line)["text"].strip() for line in raw.decode("utf-8-sig").splitlines() if line.strip()]
    assert list(getattr(data, damaged)) == [text for text in texts if text]
    assert len(getattr(data, damaged)) == len(list(getattr(data, damaged))) > 0
    other = next(split for split in SPLITS if split != damaged)
    assert list(getattr(data, other)) == [f"{text} {other}" for text in SENTENCES]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"text": "miftuħ', ":3: not valid JSON"),
        ('{"sentence": "x", "id": 1}', r":3: no field 'text' \(found: sentence, id\)"),
        ('{"text": 5}', ":3: no field 'text'"),
        ('["text"]', r":3: .*found: list"),
        ("9" * 5000, ":3: not valid JSON"),
    ],
)
def test_a_damaged_row_is_named_by_file_and_line(tmp_path, row, said):
    content = f'{{"text": "tajjeb"}}\n\n{row}\n'.encode()
    folder = built_folder(tmp_path / "built", dev=content)
    with pytest.raises(InputError, match=said) as refusal:
        load_text_data(folder)
    assert_names_place_in_one_line(refusal.value, folder / "dev.jsonl")


def test_a_deeply_nested_row_is_refused(tmp_path):
    folder = built_folder(tmp_path / "built", train=b"[" * 100_000)
    with pytest.raises(InputError, match=r"train\.jsonl:1: "):
        load_text_data(folder)


def test_text_that_is_not_unicode_is_refused(tmp_path):
    folder = built_folder(tmp_path / "built", train=b'{"text": "ok"}\n{"text": "\\ud800"}\n')
    with pytest.raises(InputError, match=r"train\.jsonl:2: "):
        load_text_data(folder)


def test_a_refusal_is_one_line_whatever_the_fields_are_called(tmp_path):
    folder = built_folder(tmp_path / "built", train=b'{"a\\nb": 1}\n')
    with pytest.raises(InputError) as refusal:
        load_text_data(folder)
    assert_names_place_in_one_line(refusal.value, folder / "train.jsonl")


@pytest.mark.parametrize("split", SPLITS)
def test_a_missing_or_empty_split_is_refused_by_name(tmp_path, split):
    folder = built_folder(tmp_path / "built", **{split: b'\n{"text": "  "}\n'})
    with pytest.raises(InputError, match=rf"{split}\.jsonl: the split is empty"):
        load_text_data(folder)
    (folder / f"{split}.jsonl").unlink()
    with pytest.raises(InputError, match=f"the {split} split is missing"):
        load_text_data(folder)


def test_the_fingerprint_of_a_folder_changes_with_any_split(tmp_path):
    seen = {load_text_data(built_folder(tmp_path / "built")).sha256}
    for split in SPLITS:
        seen.add(load_text_data(built_folder(tmp_path / "built", **{split: b'{"text": "iehor"}'})).sha256)
    assert len(seen) == 4


def test_a_pipe_is_no_text_to_train_on(tmp_path, langlift):
    """What is read second, for the hash that a resumed run must have again, would be empty."""
    os.mkfifo(tmp_path / "pipe")
    for place in ("-", tmp_path / "pipe"):
        adapt = ("adapt", "mlt", "--base", "langlift-nano", "--data", place)
        for command in (adapt, ("pretrain", "--corpus", place)):
            refused = langlift(*command, "--out", tmp_path / "run")
            assert (refused.code, f"{place}: a pipe can be read only once" in refused.err) == (2, True)
    assert "a pipe" in langlift("score", "--base", "langlift-nano", "--text", "-", "--split", "test").err


def test_all_lines_of_a_file_or_one_split_of_it_are_scored(tmp_path):
    lines = [f"{SENTENCES[i % 4]} waħda tnejn {i}" for i in range(40)]
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(lines), encoding="utf-8")
    assert texts_to_score(path) == lines
    assert texts_to_score(path, "dev") == load_text_data(path).dev
    assert len(texts_to_score(path, "dev")) == 4


def test_the_test_split_of_a_folder_is_scored_unless_another_is_asked_for(tmp_path):
    folder = built_folder(tmp_path / "built")
    assert texts_to_score(folder) == [f"{text} test" for text in SENTENCES]
    assert texts_to_score(folder, "train") == [f"{text} train" for text in SENTENCES]


def test_nothing_to_score_and_an_unknown_split_are_refused(tmp_path):
    path = tmp_path / "blank.txt"
    path.write_text("\n \n", encoding="utf-8")
    with pytest.raises(InputError, match=r"blank\.txt: no sentence to score"):
        texts_to_score(path)
    with pytest.raises(InputError, match="unknown split 'valid'") as refusal:
        texts_to_score(path, "valid")
    assert refusal.value.hint == "one of train, dev, test"


def test_rows_without_text_or_known_tokens_are_counted(tmp_path: Path, tiny_bert: Path, capsys) -> None:
    rows = [{"text": text} for text in ("Iva.", " ", "ⴰⵣⵓⵍ", "Le.")]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    texts = texts_to_score(tmp_path)
    assert texts == ["Iva.", "ⴰⵣⵓⵍ", "Le."]
    assert f"{tmp_path / 'test.jsonl'}: 1 rows without text are left out" in capsys.readouterr().err
    assert len(encode(load_tokenizer(str(tiny_bert)), texts, 16, "mine")) == 2
    assert "mine: 1 rows without a token that the model knows are left out" in capsys.readouterr().err
