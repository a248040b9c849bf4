"""Sources: how they are written, local folders in the hub's format, streamed text files, and what goes wrong."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langlift.corpus.byte_size import parse_bytes
from langlift.corpus.language_names import names_with_script, wiki_code
from langlift.corpus.sources import SourceSpec, open_source, parse_source
from langlift.corpus.text_files import read_documents, stream_documents
from langlift.errors import InputError, LangliftError
from langlift.languages import find_language

fuzzing = settings(
    derandomize=True, deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MALTESE = find_language("mlt")
TEXTS = [f"Dan hu test numru {i}.\nU din sentenza oħra." for i in range(150)]


def hub_folder(folder: Path, configs: dict[str, dict[str, list[dict]]], kind: str = "parquet") -> Path:
    """A data set as the hub holds it: README.md with ``configs`` -> split -> rows, and a file for each."""
    import pyarrow
    import pyarrow.parquet

    header = ["---", "license: cc-by-4.0", "configs:"]
    for config, splits in configs.items():
        header += [f"- config_name: {config}", "  data_files:"]
        for split, rows in splits.items():
            path = folder / config / f"{split}-00000.{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            header += [f"  - split: {split}", f"    path: {path.relative_to(folder)}"]
            if kind == "parquet":
                pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
            else:
                path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "README.md").write_text("\n".join([*header, "---", "# A set", ""]), encoding="utf-8")
    return folder


def rows(field: str, texts: list[str] = TEXTS) -> list[dict]:
    return [{"url": "x", field: text} for text in texts]


OTHERS = rows("text", ["not this one"])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("glotcc", SourceSpec("glotcc", "cis-lmu/GlotCC-V1")),
        ("glotcc=/d/x", SourceSpec("glotcc", "/d/x")),
        ("wikipedia", SourceSpec("wikipedia", "wikimedia/wikipedia")),
        ("wikipedia:20240520=my/wiki", SourceSpec("wikipedia", "my/wiki", "20240520")),
        ("flores=facebook/flores", SourceSpec("flores", "facebook/flores")),
        ("hub:a/b", SourceSpec("hub", "a/b")),
        ("hub:a/b:c@d#e", SourceSpec("hub", "a/b", "c", "d", "e")),
        ("hub:./x#e", SourceSpec("hub", "./x", field="e")),
        ("file:a=b:c@*.txt", SourceSpec("file", "a=b:c@*.txt")),
    ],
)
def test_sources_are_taken_apart(text: str, name: SourceSpec) -> None:
    assert parse_source(text) == name


@fuzzing
@given(
    text=st.text(max_size=12)
    | st.lists(
        st.sampled_from(["glotcc", "hub", "file", "wikipedia", "flores", ":", "=", "@", "#", "a/b", "20231101"]),
        max_size=6,
    ).map("".join)
)
def test_any_text_is_a_source_or_a_refusal(text: str) -> None:
    try:
        assert parse_source(text).id
    except InputError as refusal:
        assert refusal.message.startswith("--source ")
        assert refusal.hint


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize(
    ("source", "configs", "field", "config"),
    [
        (
            "glotcc={}",
            {"mlt-Latn": {"train": rows("content")}, "eng-Latn": {"train": OTHERS}},
            "content",
            "mlt-Latn",
        ),
        (
            "wikipedia={}",
            {"20220301.mt": {"train": OTHERS}, "20231101.mt": {"train": rows("text")}, "20240101.x": {}},
            "text",
            "20231101.mt",
        ),
        (
            "wikipedia:20220301={}",
            {"20220301.mt": {"train": rows("text")}, "20231101.mt": {"train": OTHERS}},
            "text",
            "20220301.mt",
        ),
        ("flores={}", {"mlt_Latn": {"dev": OTHERS, "devtest": rows("text")}}, "text", "mlt_Latn"),
        ("flores={}", {"mlt_Latn": {"devtest": rows("sentence")}}, "sentence", "mlt_Latn"),
        ("hub:{}", {"only": {"train": rows("text")}}, "text", "only"),
        ("hub:{}", {"mlt": {"train": rows("text")}, "ita": {"train": OTHERS}}, "text", "mlt"),
        ("hub:{}:b@dev#body", {"a": {"train": OTHERS}, "b": {"dev": rows("body")}}, "body", "b"),
    ],
)  # fmt: skip
def test_local_folders_in_the_format_of_the_hub(
    tmp_path: Path, kind: str, source: str, configs: dict, field: str, config: str
) -> None:
    opened = open_source(parse_source(source.format(hub_folder(tmp_path, configs, kind))), MALTESE)
    assert (opened.spec.field, opened.spec.config) == (field, config)
    assert list(opened.documents) == TEXTS
    if opened.spec.kind == "hub":
        assert opened.licence == "cc-by-4.0"


def test_empty_and_missing_texts_are_empty_documents(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path, {"mlt-Latn": {"train": [{"content": text} for text in ("a", None, "", "b")]}})
    assert list(open_source(parse_source(f"glotcc={folder}"), MALTESE).documents) == ["a", "", "", "b"]


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        ("glotcc={}", "no configuration mlt-Latn for Maltese (2 others)", "nearest: mlt-Arab"),
        ("wikipedia={}", "no configuration mt for Maltese", "nearest"),
        ("hub:{}", "no configuration mlt_Latn or mlt-Latn or mlt", "nearest: mlt-Arab"),
        ("hub:{}:ita-Latn", "no field 'text' or 'content' or 'sentence' (found: body)", "ita-Latn@train#FIELD"),
        ("hub:{}:ita-Latn#nope", "no field 'nope' (found: body)", "FIELD"),
        ("hub:{}:ita-Latn@dev", "Bad split: dev. Available splits: ['train']", "check"),
        ("hub:{}:mlt-Arab#n", "row 1, field 'n': int, not text", "another field"),
        ("hub:{}/nope", "no such folder", "check the path"),
        ("file:{}/*.txt", "no such file", "quote it"),
        ("file:{}", "is a folder", "/*.txt"),
        ("file:{}/*/*.parquet", "not plain text", "hub:FOLDER#FIELD"),
        ("{}/README.md", "not understood", "plain text is given as file:"),
        ("{}", "not understood", "/*.txt'"),
    ],
)
def test_what_is_not_there_is_told(tmp_path: Path, source: str, message: str, hint: str) -> None:
    folder = hub_folder(tmp_path, {"ita-Latn": {"train": [{"body": "x"}]}, "mlt-Arab": {"train": [{"n": 5}]}})
    with pytest.raises(InputError) as refusal:
        list(open_source(parse_source(source.format(folder)), MALTESE).documents)
    assert message in refusal.value.message
    assert hint in refusal.value.hint
    assert "\n" not in refusal.value.message


@pytest.mark.parametrize("name", ["a.jsonl", "a.JSON", "a.csv", "a.tsv", "a.txt.gz"])
def test_files_that_are_no_plain_text_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(InputError, match=f"{name}: not plain text"):
        open_source(parse_source(f"file:{tmp_path}/*"), MALTESE)


def test_the_home_folder_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.txt").write_text("Dan test.\n", encoding="utf-8")
    assert open_source(parse_source("file:~/*.txt"), MALTESE).files == [str(tmp_path / "a.txt")]
    hub_folder(tmp_path / "set", {"mlt-Latn": {"train": rows("content")}})
    assert list(open_source(parse_source("glotcc=~/set"), MALTESE).documents) == TEXTS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("README.md", "---\nconfigs: [: bad\n---\n", "README.md: the header is not valid YAML (while parsing"),
        ("train.jsonl", '{"text": "x"}\n{"text": \n', "train.jsonl:2: not valid JSON"),
    ],
)
def test_a_damaged_folder_names_the_file_and_is_quiet(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, content: str, message: str
) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "x"}\n', encoding="utf-8")
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as refusal:
        list(open_source(parse_source(f"hub:{tmp_path}"), MALTESE).documents)
    assert refusal.value.message.startswith(f"{tmp_path}/{message}")
    assert "Failed to load" not in capfd.readouterr().err


def test_csv_is_read_as_it_stands_or_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text('text,label\n12,a\n"Iva, le",b\nNA,c\n', encoding="utf-8")
    source = parse_source(f"hub:{tmp_path}")
    assert list(open_source(source, MALTESE).documents) == ["12", "Iva, le", "NA"]
    (tmp_path / "train.csv").write_text("text,label\nIva, le,b\n", encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'train.csv'}:2: 3 fields, the header has 2")):
        list(open_source(source, MALTESE).documents)


def test_a_damaged_file_is_one_error(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path, {"mlt-Latn": {"train": rows("content")}})
    (folder / "mlt-Latn" / "train-00000.parquet").write_bytes(b"PAR1 not parquet PAR1")
    with pytest.raises(InputError, match=re.escape(str(folder))):
        list(open_source(parse_source(f"glotcc={folder}"), MALTESE).documents)


def test_without_the_hub_the_error_names_the_way_round() -> None:
    with pytest.raises(LangliftError, match="cis-lmu/GlotCC-V1: the hub cannot be reached") as failure:
        open_source(parse_source("glotcc"), MALTESE)
    assert "glotcc=FOLDER" in failure.value.hint


def test_a_gated_set_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    def gated(*_: object) -> None:
        raise DatasetNotFoundError("Dataset 'x' is a gated dataset on the Hub. You must be authenticated.")

    monkeypatch.setattr(datasets, "get_dataset_config_names", gated)
    with pytest.raises(InputError, match="accept their terms") as refusal:
        open_source(parse_source("flores"), MALTESE)
    assert "huggingface.co/datasets/openlanguagedata/flores_plus" in refusal.value.hint
    assert "hf auth login" in refusal.value.hint


@pytest.mark.parametrize(
    ("language", "wiki", "first"),
    [("mlt", "mt", "mlt-Latn"), ("swh", "sw", "swh-Latn"), ("nob", "no", "nob-Latn"), ("arb", "ar", "arb-Arab"),
     ("als", "sq", "als-Latn"), ("sco", "sco", "sco-Latn"), ("yue", "zh-yue", "yue-Hant"),
     ("tgl", "tl", "tgl-Latn"), ("cmn", "zh", "zho-Hans"), ("gug", "gn", "gug-Latn"), ("prs", "fa", "prs-Arab"),
     ("dik", "din", "dik-Latn"), ("din", "din", "dik-Latn"), ("bho", "bh", "bho-Deva")],
)  # fmt: skip
def test_names_of_languages(language: str, wiki: str, first: str) -> None:
    found = find_language(language)
    assert wiki_code(found) == wiki
    assert names_with_script(found, "-")[0] == first


content = st.one_of(
    st.binary(max_size=80),
    st.lists(st.sampled_from(["Il-qattus raqad.", "", " ", "ħobż", "кіт\r", "\ufeff"]), max_size=80).map(
        lambda lines: "\n".join(lines).encode()
    ),
)


@fuzzing
@given(raw=content)
def test_streamed_documents_are_those_read_at_once(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(raw + b"\n" + b"Dan test.\n" * 10 + b"kelma " * 50)
    try:
        expected = ["\n".join(document) for document in read_documents(path)]
    except InputError as refusal:
        with pytest.raises(InputError) as again:
            list(stream_documents(path))
        assert again.value.message == refusal.message
        return
    assert list(stream_documents(path)) == expected


def test_a_huge_block_is_cut_at_a_line_end(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    lines = [f"{i} " + "kelma " * 2000 for i in range(300)]
    path.write_text("\n".join(lines) + "\n\n" + "\n\n".join(["qasir hafna"] * 12), encoding="utf-8")
    documents = list(stream_documents(path))
    assert max(map(len, documents)) < 1.1 * 2**20
    assert [line for document in documents for line in document.split("\n")][:300] == [
        line.strip() for line in lines
    ]


@pytest.mark.parametrize(
    ("text", "size"),
    [("1GB", 10**9), ("500KB", 500_000), ("1.5gb", 1_500_000_000), ("1GiB", 2**30), ("10 MiB", 10 * 2**20),
     ("7", 7), ("2T", 2 * 10**12)],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@fuzzing
@given(text=st.text(max_size=10) | st.from_regex(r"-?[0-9.]{0,4}[KMGTiBx]{0,3}"))
def test_any_text_is_a_size_or_a_refusal(text: str) -> None:
    try:
        assert parse_bytes(text) >= 1
    except InputError as refusal:
        assert "is not a size" in refusal.message


FLORES_PLUS = dict.fromkeys(
    (
        "iso_639_3",
        "iso_15924",
        "glottocode",
        "url",
        "domain",
        "topic",
        "has_image",
        "has_hyperlink",
        "last_updated",
    ),
    "x",
)
GLOTCC = dict.fromkeys(("warc-target-uri", "warc-date", "warc-record-id", "warc-identified-content-language"), "x")


def test_the_sets_of_the_papers_are_read_in_their_own_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configurations, splits and columns of the hub's sets, as of 2025, with sentences of our own."""
    import datasets

    from langlift.tasks.task import TASKS

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    splits, lines = ("train", "validation", "test"), [text.replace("\n", " ") for text in TEXTS]
    topics = [
        {"index_id": i, "category": ("sports", "health")[i % 2], "text": text} for i, text in enumerate(TEXTS)
    ]
    sib = hub_folder(
        tmp_path / "sib200", {code: dict.fromkeys(splits, topics) for code in ("mlt_Latn", "swh_Latn")}
    )
    read = TASKS["topic"].learner.read(f"{sib}:mlt_Latn", [], False, ())
    assert (read.test.inputs, set(read.test.gold)) == (lines, {"sports", "health"})

    opinions = [{"text": text, "label": i % 2} for i, text in enumerate(TEXTS)]
    sentiment = hub_folder(tmp_path / "maltese_sa", {"default": dict.fromkeys(splits, opinions)})
    read = TASKS["sentiment"].learner.read(str(sentiment), [], False, ())
    assert (read.train.inputs, set(read.train.gold)) == (lines, {"0", "1"})

    names = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"]
    features = datasets.Features(
        tokens=datasets.List(datasets.Value("string")),
        ner_tags=datasets.List(datasets.ClassLabel(names=names)),
        langs=datasets.List(datasets.Value("string")),
        spans=datasets.List(datasets.Value("string")),
    )
    row = {
        "tokens": ["Toni", "Borg", "telaq"],
        "ner_tags": [1, 2, 0],
        "langs": ["mt"] * 3,
        "spans": ["PER: Toni Borg"],
    }
    wikiann = hub_folder(tmp_path / "wikiann", {code: {split: [row] for split in splits} for code in ("mt", "sw")})
    for file in wikiann.rglob("*.parquet"):
        datasets.Dataset.from_list([row], features=features).to_parquet(file)
    read = TASKS["ner"].learner.read(f"{wikiann}:mt", [], True, ())
    assert (read.test.inputs, read.test.gold) == ([["Toni", "Borg", "telaq"]], [["B-PER", "I-PER", "O"]])

    flores = [{"id": i, **FLORES_PLUS, "text": text} for i, text in enumerate(TEXTS)]
    folder = hub_folder(
        tmp_path / "flores_plus", {"mlt_Latn": {"dev": flores[:1], "devtest": flores}, "swh_Latn": {}}
    )
    assert list(open_source(parse_source(f"flores={folder}"), MALTESE).documents) == TEXTS
    crawled = [{**GLOTCC, "content": text} for text in TEXTS]
    folder = hub_folder(tmp_path / "glotcc", {"mlt-Latn": {"train": crawled}, "swh-Latn": {"train": OTHERS}})
    assert list(open_source(parse_source(f"glotcc={folder}"), MALTESE).documents) == TEXTS
