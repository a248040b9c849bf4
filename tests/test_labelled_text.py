"""Labelled sentences: read as they stand, or refused by file and line."""

import csv
import io
import json
import re
from collections import Counter

import datasets
import pytest
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langlift.errors import InputError
from langlift.tasks.learner import Item
from langlift.tasks.sentences import LabelledText, split_by_label
from langlift.tasks.sources import SPLITS
from langlift.tasks.task import TASKS

fuzzing = settings(
    derandomize=True, deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LABELS = ("politika", "спорт", "ጉዞ", "صحة 🩺")
GOOD = "index_id\tcategory\ttext\n" + "".join(f"{i}\t{label}\tsentenza {i}\n" for i, label in enumerate(LABELS))


def task_folder(folder, **contents):
    """Three good splits, some replaced."""
    folder.mkdir(exist_ok=True)
    for split in SPLITS:
        content = contents.get(split, GOOD)
        (folder / f"{split}.tsv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def read_labelled_text(folder):
    data = TASKS["topic"].learner.read(str(folder), None, strict=False)
    return {split: getattr(data, split) for split in SPLITS}


def remarks_of(data):
    return TASKS["topic"].learner.read(str(data), None, strict=False).remarks


def refusal_of(folder):
    with pytest.raises(InputError) as refusal:
        read_labelled_text(folder)
    return refusal.value


def test_rows_are_read_in_file_order_by_the_names_of_the_columns(tmp_path):
    folder = task_folder(
        tmp_path / "task",
        train="\ufefftext\tother\tcategory\r\nwieħed\tx\ta\r\n\r\n tnejn \ty\tb\r\n",
        dev="category\ttext\nb\tтри\n",
        test="category\ttext\na\tأربعة",
    )
    assert read_labelled_text(folder) == {
        "train": LabelledText(["wieħed", "tnejn"], ["a", "b"]),
        "dev": LabelledText(["три"], ["b"]),
        "test": LabelledText(["أربعة"], ["a"]),
    }


# Text that survives stripping and the ends of lines, so that what is written is what must be read.
words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=8)
sentences = st.lists(words, min_size=1, max_size=4).flatmap(
    lambda parts: st.sampled_from([" ", "\t", '"', ' "']).map(lambda gap: gap.join(parts))
)


@fuzzing
@given(
    rows=st.lists(st.tuples(st.sampled_from(LABELS), sentences), min_size=1, max_size=8),
    split=st.sampled_from(SPLITS),
)
def test_what_a_csv_writer_wrote_is_read_back(tmp_path, rows, split):
    file = io.StringIO()
    writer = csv.writer(file, delimiter="\t", lineterminator="\n")
    writer.writerows([("category", "text"), *((label, label) for label in LABELS), *rows])
    data = read_labelled_text(task_folder(tmp_path / "task", **{split: file.getvalue()}))
    assert data[split].gold == [*LABELS, *(label for label, _ in rows)]
    assert data[split].inputs == [*LABELS, *(text for _, text in rows)]


@fuzzing
@given(
    raw=st.one_of(
        st.binary(max_size=80),
        st.lists(
            st.sampled_from([*LABELS, "\t", "\t", "\n", "\n", '"', " ", "new", "\r", "\x00"]), max_size=30
        ).map(lambda parts: ("category\ttext\n" + "".join(parts)).encode()),
    ),
    damaged=st.sampled_from(SPLITS),
)
def test_any_bytes_are_labelled_text_or_a_refusal_that_names_the_place(tmp_path, raw, damaged):
    folder = task_folder(tmp_path / "task", **{damaged: raw})
    try:
        data = read_labelled_text(folder)
    except InputError as refusal:
        # Labels that train lacks are refused where they occur, which may be in dev.
        files = [str(folder / f"{split}.tsv") for split in {damaged, "dev", "train"}]
        names = "|".join(map(re.escape, [*files, f"{folder} (train)"]))
        assert re.match(rf"({names})(:\d+)?: ", refusal.message)
        assert refusal.hint
        return
    read = data[damaged]
    assert len(read.inputs) == len(read.gold) > 0
    assert all(text and text == text.strip() for text in read.inputs + read.gold)
    for split in SPLITS:
        assert set(data[split].gold) <= set(data["train"].gold)
    assert data == read_labelled_text(folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("index_id\tkind\ttext\n", r":1: no column 'category' \(found: index_id, kind, text\)"),
        ("category\tphrase\n", r":1: no column 'text'"),
        ("", r":1: no column 'category' \(found: nothing\)"),
        ("category\ttext\n\n", r": no examples"),
        ("category\ttext\nспорт\tx\nспорт\n", r":3: 1 fields, the header has 2"),
        ("category\ttext\nспорт\tx\ty\n", r":2: 3 fields, the header has 2"),
        ('category\ttext\nспорт\t" "\n', r":2: empty text"),
        ('text\tcategory\nsport\t" "\n', r":2: empty category"),
        ("category\ttext\nспорт\tx\nsport\ty\n", r":3: the label 'sport' never occurs in the training data"),
        ('category\ttext\nспорт\t"x\ny"\nsport\tz\n', r":3: 1 fields, the header has 2"),
        ("category\ttext\nспорт\tx\n\n".encode() + b"\xff", r":4: not valid UTF-8"),
    ],
)
def test_a_damaged_split_is_refused_by_file_and_line(tmp_path, content, said):
    folder = task_folder(tmp_path / "task", dev=content)
    refusal = refusal_of(folder)
    assert re.match(re.escape(str(folder / "dev.tsv")) + f"({said})", refusal.message)
    assert "\n" not in refusal.message


def test_a_line_is_a_row_whatever_its_quotation_marks(tmp_path):
    rows = {
        '"x" y': '"x" y',
        '"left open': '"left open',
        'closed here"': 'closed here"',
        '"said ""no"" twice"': 'said "no" twice',
        '"quoted"': "quoted",
        'an inch: 1"': 'an inch: 1"',
    }
    lines = "".join(f"{label}\t{text}\n" for label, text in zip("ab" * 4, rows, strict=False))
    folder = task_folder(tmp_path / "task", **dict.fromkeys(SPLITS, f"category\ttext\n{lines}"))
    assert read_labelled_text(folder)["train"].inputs == list(rows.values())


@pytest.mark.parametrize("header", ["label\tsentence", "topic\ttext", "class\treview"])
def test_columns_may_have_their_usual_names(tmp_path, header):
    folder = task_folder(tmp_path / "task", **dict.fromkeys(SPLITS, f"{header}\na\tx\nb\ty\n"))
    assert read_labelled_text(folder)["dev"] == LabelledText(["x", "y"], ["a", "b"])
    label, text = header.split("\t")
    assert remarks_of(folder) == [f"labels are taken from column '{label}', texts from '{text}'"]


def test_a_folder_of_csv_files_is_read(tmp_path):
    for split in SPLITS:
        (tmp_path / f"{split}.csv").write_text('label,text\na,"x, ""y"""\nb,z\n', encoding="utf-8")
    assert read_labelled_text(tmp_path)["dev"] == LabelledText(['x, "y"', "z"], ["a", "b"])


@pytest.mark.parametrize("delimiter", [";", "\t", ","])
def test_the_header_shows_what_separates_the_fields_of_csv(tmp_path, delimiter):
    for split in SPLITS:
        with (tmp_path / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            rows = ["category", "text"], ["a", "wieħed, tnejn; tlieta"], ["b", "x"]
            csv.writer(file, delimiter=delimiter).writerows(rows)
    assert read_labelled_text(tmp_path)["dev"] == LabelledText(["wieħed, tnejn; tlieta", "x"], ["a", "b"])


def hub_csv(folder, content, readme=""):
    """A folder in the hub's format."""
    folder.mkdir()
    for name in ("train", "validation", "test"):
        (folder / f"{name}.csv").write_text(content, encoding="utf-8")
    if readme:
        (folder / "README.md").write_text(f"---\n{readme}---\n", encoding="utf-8")
    return folder


def test_labels_and_texts_in_csv_of_the_hub_s_format_stay_as_they_are(tmp_path, own_cache):
    folder = hub_csv(tmp_path / "data", "text,label,category\n12,x,01\nNA,y,007\n")
    assert read_labelled_text(folder)["dev"] == LabelledText(["12", "NA"], ["01", "007"])
    (folder / "test.csv").write_text("text,label\none,01\ntwo,\n", encoding="utf-8")
    assert str(refusal_of(folder)) == f"{folder / 'test.csv'}:3: field 'label' is empty"


def test_class_names_declared_for_csv_are_used(tmp_path, own_cache):
    readme = """dataset_info:
  features:
  - name: text
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': sport
          '1': health
"""
    folder = hub_csv(tmp_path / "data", "text,label\nwieħed,1\ntnejn,0\n", readme)
    assert read_labelled_text(folder)["dev"] == LabelledText(["wieħed", "tnejn"], ["health", "sport"])
    assert remarks_of(folder) == ["labels are taken from column 'label', texts from 'text'"]


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ("text,label\nHello, world,a\nGood, day,b\n", 2, "3 fields, the header has 2"),
        ('text,label\nHello,a\n"Good day,b\nlost,b\nlost2,a\n"again,b\nok,b\n', 3, "not valid CSV"),
        ("text,label\nHello\0,a\n", 2, "a NUL byte"),
    ],
)
def test_damaged_csv_of_the_hub_s_format_is_refused_by_file_and_line(tmp_path, own_cache, content, line, said):
    folder = hub_csv(tmp_path / "data", content)
    assert str(refusal_of(folder)).startswith(f"{folder / 'train.csv'}:{line}: {said}")


def test_json_lines_keep_dates_and_numbers_as_written(tmp_path, own_cache):
    lines = [{"text": f"2020-01-0{i}", "label": label} for i, label in enumerate((1, 2.5, 1, 2.5, 1), start=1)]
    for name in ("train", "validation", "test"):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert read_labelled_text(tmp_path)["dev"].inputs == [line["text"] for line in lines]
    assert read_labelled_text(tmp_path)["dev"].gold == ["1", "2.5", "1", "2.5", "1"]


def test_a_missing_split_a_missing_folder_and_a_single_label_are_refused(tmp_path):
    assert refusal_of(tmp_path / "none").message == f"{tmp_path / 'none'}: no such folder"
    one = "category\ttext\na\tx\n"
    folder = task_folder(tmp_path / "task", train=one, dev=one, test=one)
    assert refusal_of(folder).message == f"{folder} (train): only one label ('a')"
    (folder / "test.tsv").unlink()
    assert "the test split is missing (found: train, dev)" in refusal_of(folder).message


@pytest.mark.parametrize(
    "train",
    [
        "category\ttext\tnote\na\tx\t\nb\ty\tz\n",
        "\tcategory\ttext\n0\ta\tx\n1\tb\ty\n",
        "note\tcategory\ttext\n\ta\tx\n\tb\ty\n",
    ],
)
def test_columns_that_are_passed_over_may_be_empty_or_unnamed(tmp_path, train):
    rest = "category\ttext\na\tx\n"
    folder = task_folder(tmp_path / "task", train=train, dev=rest, test=rest)
    assert read_labelled_text(folder)["train"] == LabelledText(["x", "y"], ["a", "b"])


def test_an_empty_last_field_is_called_empty(tmp_path):
    folder = task_folder(tmp_path / "task", dev="category\ttext\nспорт\t\n")
    assert refusal_of(folder).message == f"{folder / 'dev.tsv'}:2: empty text"


@pytest.mark.parametrize("dev", ['category\ttext\n"q\nr"\tx\n', '"cat\negory"\ttext\n'])
def test_a_refusal_is_one_line_whatever_the_file_holds(tmp_path, dev):
    assert "\n" not in refusal_of(task_folder(tmp_path / "task", dev=dev)).message


ROWS = [(f"{'Il-gvern' if i % 3 else 'Il-logħba'} {i}", "politika" if i % 3 else "sport") for i in range(60)]


def write_rows(path, rows=ROWS):
    if path.suffix == ".jsonl":
        lines = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
        path.write_text(lines, encoding="utf-8")
    elif path.suffix == ".parquet":
        Dataset.from_dict({"text": [t for t, _ in rows], "label": [c for _, c in rows]}).to_parquet(path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            table.writerows([("text", "label"), *rows])
    return path


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl", ".parquet"])
def test_a_single_file_is_split_and_said_to_be(tmp_path, own_cache, suffix):
    data = TASKS["topic"].learner.read(str(write_rows(tmp_path / f"all [1]{suffix}")), None, strict=False)
    splits = [getattr(data, split) for split in SPLITS]
    assert [len(one) for one in splits] == [48, 6, 6]
    assert sorted(row for one in splits for row in zip(one.inputs, one.gold, strict=True)) == sorted(ROWS)
    assert splits[2].inputs == sorted(splits[2].inputs, key=[text for text, _ in ROWS].index)
    assert splits[2].gold.count("sport") == 2
    said = (
        f"all [1]{suffix} is one file, split 80/10/10 by label with seed 0 for all runs: train 48, dev 6, test 6"
    )
    assert data.remarks == ["labels are taken from column 'label', texts from 'text'", said]
    same = TASKS["topic"].learner.read(str(write_rows(tmp_path / "other.tsv")), None, strict=False)
    assert same.test == data.test, "in every format"


@fuzzing
@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from("abc")), max_size=90))
def test_every_row_of_a_single_file_is_in_one_split(rows):
    items = [Item(f"text {number}", label, str) for number, label in rows]
    parts = split_by_label(items)
    assert list(parts) == list(SPLITS)
    assert sorted(map(id, items)) == sorted(id(item) for part in parts.values() for item in part)
    homes = {item.input: split for split, part in parts.items() for item in part}
    assert all(homes[item.input] == split for split, part in parts.items() for item in part)
    label_of = {item.input: item.gold for item in items}
    for label in set(label_of.values()):
        counts = Counter(homes[text] for text, its in label_of.items() if its == label)
        total = counts.total()
        assert (counts["test"], counts["dev"]) == ((total + 8) // 10, (total + 7) // 10)


X = '"x"'
OBJECT = f'{{"text": {X}, "label": "a"}}\n'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", 'text,label\nx,a\n"y,b\nz,c\n', "a.csv:3: not valid CSV (unexpected end of data)"),
        ("a.csv", 'text,label\n"x\nx",a\ny\n', "a.csv:4: 1 fields, the header has 2"),
        ("a.csv", 'text,label\n"x\nx",a\n,b\n', "a.csv:4: empty text"),
        ("a.csv", "", "a.csv:1: no column 'category' (found: nothing)"),
        ("a.jsonl", f"{OBJECT}{OBJECT.replace(X, 'null')}", "a.jsonl:2: field 'text' is empty"),
        ("a.jsonl", f'{OBJECT}{{"text"', "a.jsonl:2: not valid JSON"),
        ("a.parquet", "PAR1", "a.parquet: "),
        ("a.txt", "x a\n", "a.txt: not a table of labelled texts"),
    ],
)  # fmt: skip
def test_a_damaged_single_file_is_refused(tmp_path, own_cache, name, content, message):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as refusal:
        TASKS["topic"].learner.read(str(tmp_path / name), None, strict=False)
    assert refusal.value.message.startswith(f"{tmp_path}/{message}")


def test_all_seeds_are_tested_on_the_same_part_of_a_single_file(tmp_path, tiny_bert, langlift):
    run = tmp_path / "run"
    where = ("--base", tiny_bert, "--data", write_rows(tmp_path / "all.csv"), "--out", run)
    result = langlift("task", "sentiment", *where, "--seeds", "1,2", "--epochs", 1)
    assert result.code == 0, result.err
    assert "split 80/10/10" in result.err and "split 80/10/10" in result.out
    seeds = [(run / f"seed-{seed}" / "test_predictions.jsonl").read_text("utf-8") for seed in (1, 2)]
    texts = [[json.loads(line)["text"] for line in lines.splitlines()] for lines in seeds]
    assert texts[0] == texts[1] and len(texts[0]) == 6
    assert "split 80/10/10" in json.loads((run / "metrics.json").read_text("utf-8"))["remarks"][0]


def test_a_test_set_of_one_label_is_remarked_on(tmp_path):
    """The first rows of a table sorted by label: the most frequent label would score 100."""
    good = task_folder(tmp_path / "good")
    bad = task_folder(tmp_path / "bad", test="category\ttext\npolitika\tx\npolitika\ty\n")
    assert remarks_of(good) == []
    assert remarks_of(bad) == ["all test examples have the same label, so the scores mean little: mix the rows"]
