"""Text files: read strictly, cut into documents, split without cutting a document."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langlift.corpus.text_files import read_documents, read_lines, split_documents
from langlift.errors import InputError

fuzzing = settings(
    derandomize=True, deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WORDS = ("qattus", "ħobż", "żejt", "кіт", "хліб", "قط", "خبز", "ድመት", "ዳቦ", "🐈")
SHARES = (0.8, 0.1, 0.1)
content = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(lambda text: text.encode()),
    st.lists(st.sampled_from([*WORDS, "", " ", "\t", "\u2028", "\x0c"]), max_size=200).map(
        lambda words: "\n".join(f"{word} ok ok ok ok ok" if word.strip() else word for word in words).encode()
    ),
)


def line(number):
    return " ".join([*WORDS[:5], str(number)])


def is_utf8(raw):
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def assert_names_path_in_one_line(refusal, path):
    assert re.match(re.escape(str(path)) + r"(:\d+)?: ", refusal.message)
    assert not set("\r\n") & set(refusal.message + refusal.hint)
    assert refusal.hint


@fuzzing
@given(raw=content)
def test_any_bytes_are_lines_or_a_refusal_that_names_the_place(tmp_path, raw):
    path = tmp_path / "text.txt"
    path.write_bytes(raw)
    try:
        lines = read_lines(path)
    except InputError as refusal:
        assert_names_path_in_one_line(refusal, path)
        assert b"\x00" in raw or not is_utf8(raw)
        return
    kept = re.split(r"\r\n|\r|\n", raw.decode("utf-8").removeprefix("\ufeff"))
    assert lines == [text.strip() for text in kept]


@fuzzing
@given(raw=content)
def test_any_bytes_are_documents_in_order_without_blank_lines_or_a_refusal(tmp_path, raw):
    path = tmp_path / "text.txt"
    path.write_bytes(raw)
    try:
        documents = read_documents(path)
    except InputError as refusal:
        assert_names_path_in_one_line(refusal, path)
        return
    assert len(documents) >= 10
    assert all(documents)
    assert [line for document in documents for line in document] == [line for line in read_lines(path) if line]
    assert documents == read_documents(path)


def test_blank_lines_bound_documents_however_many_they_are(tmp_path):
    blocks = [[line(10 * block + i) for i in range(block % 3 + 1)] for block in range(12)]
    path = tmp_path / "blocks.txt"
    path.write_text("\n\n" + "\n \n\t\n".join("\n".join(block) for block in blocks) + "\n\n", encoding="utf-8")
    assert read_documents(path) == blocks


@pytest.mark.parametrize(("lines", "size"), [(10, 1), (19, 1), (100, 10), (499, 49), (500, 50), (1234, 50)])
def test_a_file_without_blank_lines_is_cut_into_runs_of_at_most_fifty_lines(tmp_path, lines, size):
    path = tmp_path / "dense.txt"
    path.write_text("\n".join(line(i) for i in range(lines)), encoding="utf-8")
    documents = read_documents(path)
    assert {len(document) for document in documents[:-1]} == {size}
    assert 1 <= len(documents[-1]) <= size
    assert [text for document in documents for text in document] == [line(i) for i in range(lines)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("\n \n\t\n", "empty"),
        ("\ufeff", "empty"),
        ("\n".join(["ħobż u żejt u tadam u qattus " * 5] * 9), "too little text .*9 lines"),
        ("\n".join(["ħobż u żejt"] * 12), "too little text .*36 words"),
    ],
)
def test_too_little_text_is_refused(tmp_path, text, said):
    path = tmp_path / "small.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said) as refusal:
        read_documents(path)
    assert_names_path_in_one_line(refusal.value, path)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(("bad", "said"), [(b"\xff", "0xff"), (b"caf\xe9 x", "0xe9"), (b"a\x00b", "NUL")])
def test_a_damaged_line_is_named_by_its_number(tmp_path, end, bad, said):
    path = tmp_path / "damaged.txt"
    path.write_bytes(f"ħobż{end}ድመት{end}{end}".encode() + bad + end.encode() + b"\xfe")
    with pytest.raises(InputError, match=f":4: .*{said}"):
        read_lines(path)


def test_a_damaged_line_is_named_rightly_after_a_byte_order_mark(tmp_path):
    path = tmp_path / "marked.txt"
    path.write_bytes(b"\xef\xbb\xbfgood\nab\xff\ncd")
    with pytest.raises(InputError, match=r":2: .*0xff"):
        read_lines(path)


@pytest.mark.parametrize("bad", [b"\xff", b"\x00"])
def test_a_damaged_line_is_named_rightly_among_old_line_ends(tmp_path, bad):
    path = tmp_path / "old.txt"
    path.write_bytes(b"ab\rcd\r" + bad)
    with pytest.raises(InputError, match=":3: "):
        read_lines(path)


def test_a_byte_order_mark_is_no_text_and_only_line_ends_end_lines(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes("\ufeffa\u2028b\x0cc\x85d \r\n\re\n".encode())
    assert read_lines(path) == ["a\u2028b\x0cc\x85d", "", "e", ""]


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file") as missing:
        read_lines(tmp_path / "none.txt")
    with pytest.raises(InputError, match="folder") as folder:
        read_lines(tmp_path)
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(InputError) as through_file:
        read_lines(tmp_path / "file" / "text.txt")
    assert_names_path_in_one_line(missing.value, tmp_path / "none.txt")
    assert_names_path_in_one_line(folder.value, tmp_path)
    assert_names_path_in_one_line(through_file.value, tmp_path / "file" / "text.txt")


@settings(derandomize=True, deadline=None)
@given(count=st.integers(3, 300), seed=st.integers(0, 2**32), shares=st.sampled_from([SHARES, (0.9, 0.1)]))
def test_parts_are_disjoint_cover_everything_and_have_their_shares(count, seed, shares):
    documents = [[f"{i}a", f"{i}b"] for i in range(count)]
    parts = split_documents(documents, shares, seed)
    assert len(parts) == len(shares)
    assert sorted(document for part in parts for document in part) == sorted(documents)
    for part, share in zip(parts[1:], shares[1:], strict=True):
        assert len(part) == max(1, round(share * count))
    assert parts == split_documents(documents, shares, seed)


def test_another_seed_splits_differently_and_parts_are_shuffled():
    documents = [[str(i)] for i in range(100)]
    first, second = split_documents(documents, SHARES, 0), split_documents(documents, SHARES, 1)
    assert first != second
    assert first[0] != sorted(first[0], key=lambda document: int(document[0]))


def test_parts_of_few_documents_are_disjoint_too():
    documents = [[str(i)] for i in range(5)]
    parts = split_documents(documents, (0.1, 0.3, 0.3, 0.3), 0)
    assert sorted(document for part in parts for document in part) == documents
    assert all(parts[1:])
