"""ConceptNet's dump: nodes, languages, damaged rows with their place, damaged files."""

import csv
import gzip
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from langlift.errors import InputError
from langlift.graph import source_files
from langlift.graph.conceptnet import concept, conceptnet_codes, edge_of_row, language_of_code
from langlift.graph.conceptnet_dump import read_conceptnet
from langlift.graph.edge_store import open_store
from langlift.graph.plan import make_plan
from langlift.graph.source_files import Edge, SourceFile, Tally
from langlift.languages import find_language

METADATA = '{"dataset": "/d/test", "license": "cc:by/4.0", "sources": [], "weight": 2.0}'
SMALL_BLOCKS = 64


def row(start: str, relation: str = "/r/IsA", end: str = "/c/mt/annimal", metadata: str = METADATA) -> bytes:
    return f"/a/[{relation}/,{start}/,{end}/]\t{relation}\t{start}\t{end}\t{metadata}\n".encode()


def read(
    path: Path,
    content: bytes,
    codes: tuple[str, ...] | None = ("mt",),
    strict: bool = False,
    threads: int = 1,
    **options: Any,
) -> tuple[list[Edge], Tally]:
    """The edges that are stored of a dump, in the order of their lines, and what was counted."""
    path.write_bytes(content)
    tally, plan = Tally(strict), make_plan(["conceptnet:x"], None)
    with (
        TemporaryDirectory() as folder,
        SourceFile(path) as file,
        open_store(Path(folder), plan, path, threads) as store,
    ):
        read_conceptnet(file, 0, store, tally, codes, **options)
        query = f"SELECT {', '.join(Edge._fields)} FROM edges ORDER BY line"
        return [Edge(*row) for row in store.cursor().execute(query).fetchall()], tally


SEGMENT = st.text(st.characters(blacklist_characters="/", blacklist_categories=["Cs"]), max_size=20)


@given(language=st.sampled_from(["mt", "zh_tw", "roa-opt"]), term=SEGMENT, rest=st.lists(SEGMENT, max_size=3))
def test_the_term_is_the_third_segment_with_spaces(language: str, term: str, rest: list[str]) -> None:
    uri = "/".join(["", "c", language, term, *rest])
    expected = " ".join(normalize("NFC", term.replace("_", " ")).split())
    if not expected:
        with pytest.raises(ValueError, match="empty term"):
            concept(uri)
        return
    assert concept(uri) == (language, expected)
    last = " ".join(normalize("NFC", [term, *rest][-1].replace("_", " ")).split())
    if last:
        assert concept(uri, "last_segment") == (language, last)


@given(st.text(max_size=40))
def test_any_other_text_is_refused_with_a_reason(uri: str) -> None:
    try:
        language, term = concept(uri)
    except ValueError as error:
        assert str(error)
    else:
        assert uri.startswith(f"/c/{language}/")
        assert term.strip() == term != ""


def test_the_published_term_is_the_last_segment() -> None:
    assert concept("/c/mt/qattus/n") == ("mt", "qattus")
    assert concept("/c/mt/qattus/n", "last_segment") == ("mt", "n")
    assert concept("/c/en/hard_questions") == ("en", "hard questions")


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("Maltese", ("mt", "mlt")),
        ("swh", ("sw", "swh")),
        ("zsm", ("ms", "zsm")),
        ("ind", ("ms", "id", "ind")),
        ("nob", ("no", "nb", "nob")),
        ("nno", ("no", "nn", "nno")),
        ("hrv", ("sh", "hr", "hrv")),
        ("srp", ("sh", "sr", "srp")),
        ("bos", ("sh", "bs", "bos")),
        ("cmn", ("zh", "cmn", "zho")),
        ("ckb", ("ku", "ckb")),
        ("arb", ("ar", "arb")),
        ("lvs", ("lv", "lvs")),
        ("tgl", ("fil", "tl", "tgl")),
        ("npi", ("ne", "npi")),
        ("gaz", ("om", "gaz")),
        ("myv", ("myv",)),
    ],
)
def test_languages_as_conceptnet_names_them(name: str, codes: tuple[str, ...]) -> None:
    assert conceptnet_codes(find_language(name)) == codes


def test_every_language_of_the_published_study_has_its_code() -> None:
    """The studies' own codes (ku for Central Kurdish, ms for the row called Indonesian) are among ours."""
    table = Path(str(files("langlift") / "facts" / "seed_languages.csv"))
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            assert row["iso639_1"] == conceptnet_codes(find_language(row["flores_code"]))[0], row["name"]


def test_edges_of_the_language_and_the_counts_of_the_rest(tmp_path: Path) -> None:
    content = b"".join(
        [
            row("/c/mt/qattus/n"),
            row("/c/en/cat", end="/c/en/animal"),
            row("/c/en/cat", "/r/Synonym", "/c/mt/qattus"),
            row("/c/mtx/other"),
            row("/c/mt/qattus", "/r/Synonym", "/c/en/cat/n/wn/animal"),
            row("/c/mt/qattus", "/r/ExternalURL", "http://example.org/qattus"),
        ]
    )
    edges, tally = read(tmp_path / "dump.tsv", content)
    assert edges == [
        Edge(1, "qattus", "mt", "IsA", "annimal", "mt", 2.0, "cc:by/4.0"),
        Edge(5, "qattus", "mt", "Synonym", "cat", "en", 2.0, "cc:by/4.0"),
        Edge(6, "/c/mt/qattus", "mt", "ExternalURL", "http://example.org/qattus", "", 1.0),
    ]
    assert tally.rows == 6
    either, tally = read(tmp_path / "dump.tsv", content, either_end=True)
    assert [edge.line for edge in either] == [1, 3, 4, 5, 6]
    everything, _ = read(tmp_path / "dump.tsv", content, None)
    assert [edge.line for edge in everything] == [1, 2, 3, 4, 5, 6]


DAMAGED = {
    "4 columns, not 5": b"/a/x\t/r/IsA\t/c/mt/qattus\t/c/mt/annimal\n",
    "6 columns, not 5": row("/c/mt/qattus").replace(b"\n", b"\tmore\n"),
    "1 column, not 5": b"no tabs here\n",
    "not valid UTF-8": row("/c/mt/qattus").replace(b"qattus", b"qatt\xffus"),
    "a NUL byte": row("/c/mt/qattus").replace(b"qattus", b"qatt\0us"),
    "the metadata is not valid JSON": row("/c/mt/qattus", metadata='{"weight": '),
    "the metadata is not a JSON object": row("/c/mt/qattus", metadata="[1]"),
    "the weight 'heavy' is not a number": row("/c/mt/qattus", metadata='{"weight": "heavy"}'),
    "the weight 'nan' is not a number": row("/c/mt/qattus", metadata='{"weight": NaN}'),
    "'/c/mt/_' has an empty term": row("/c/mt/_"),
    "'/c/mt' has an empty term": row("/c/mt"),
    "'http://example.org' is not a concept (/c/<language>/<term>)": row("/c/mt/qattus", end="http://example.org"),
    "'/c//annimal' has no language code": row("/c/mt/qattus", end="/c//annimal"),
    "'IsA' is not a relation (/r/<name>)": row("/c/mt/qattus", relation="IsA"),
    "'x' is not an assertion (/a/[...])": b"x\t" + row("/c/mt/qattus").split(b"\t", 1)[1],
    "a term of 1001 characters": row("/c/mt/" + "q" * 1001),
}


@pytest.mark.parametrize(("reason", "damaged"), DAMAGED.items())
def test_a_damaged_row_is_counted_with_its_line(reason: str, damaged: bytes, tmp_path: Path) -> None:
    path = tmp_path / "dump.tsv"
    content = row("/c/mt/kelb") + row("/c/en/dog") + damaged + row("/c/mt/għasfur")
    edges, tally = read(path, content)
    assert [edge.head for edge in edges] == ["kelb", "għasfur"]
    assert tally.damaged_rows == [{"source": str(path), "line": 3, "reason": reason}]
    assert (tally.rows, tally.damaged) == (4, 1)
    with pytest.raises(InputError) as caught:
        read(path, content, strict=True)
    assert caught.value.message == f"{path}:3: {reason}"


def test_rows_of_other_languages_are_checked_for_their_form_too(tmp_path: Path) -> None:
    _, tally = read(tmp_path / "dump.tsv", row("/c/en/dog") + b"/a/x\t/r/IsA\t/c/en/dog\n" + row("/c/fr/chien"))
    assert (tally.damaged, tally.damaged_rows[0]["line"]) == (1, 2)


def test_only_the_first_damaged_rows_are_named(tmp_path: Path) -> None:
    _, tally = read(tmp_path / "dump.tsv", b"x\n" * 30)
    assert (tally.damaged, len(tally.damaged_rows), tally.damaged_rows[-1]["line"]) == (30, 20, 20)


@given(
    rows=st.lists(st.sampled_from([row("/c/mt/qattus"), row("/c/en/cat"), b"\n", *DAMAGED.values()]), max_size=12)
)
@example(rows=[row("/c/mt/qattus"), *DAMAGED.values(), b"\n", row("/c/en/cat"), row("/c/mt/qattus")])
@settings(max_examples=5, deadline=None)
def test_blocks_do_not_change_what_is_read(rows: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whole blocks are checked at once, and damaged ones row by row: both must see the same."""
    path = tmp_path_factory.getbasetemp() / "blocks.tsv"
    content = b"".join(rows)
    edges, tally = read(path, content)
    assert tally.rows == sum(1 for line in rows if line != b"\n")
    assert len(edges) == rows.count(row("/c/mt/qattus"))
    assert tally.damaged == sum(line in DAMAGED.values() for line in rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source_files, "BLOCK_BYTES", SMALL_BLOCKS)
        again, counted = read(path, content.removesuffix(b"\n"))
    assert again == edges
    assert (counted.rows, counted.damaged_rows) == (tally.rows, tally.damaged_rows)


@given(content=st.binary(max_size=400))
@settings(max_examples=10, deadline=None)
def test_arbitrary_bytes_are_an_error_or_counted(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.tsv"
    try:
        edges, tally = read(path, content)
    except InputError as error:
        assert str(path) in error.message
    else:
        assert len(edges) + tally.damaged <= tally.rows


FIELD = st.text(st.characters(exclude_characters="\t\n"), max_size=12)
"""Tabs and line ends would make other rows, in which another column may be the start's."""


@given(rows=st.lists(st.lists(FIELD, min_size=5, max_size=5), min_size=1, max_size=12))
@settings(max_examples=8, deadline=None)
def test_arbitrary_fields_never_crash(rows: list[list[str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "fields.tsv"
    for fields in rows:
        fields[2] = "/c/mt/" + fields[2]
    content = "".join("\t".join(fields) + "\n" for fields in rows)
    edges, tally = read(path, content.encode("utf-8", "surrogatepass"))
    assert len(edges) + tally.damaged == tally.rows


def test_gzip_carriage_returns_and_a_byte_order_mark(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + (row("/c/mt/qattus") + row("/c/mt/kelb")).replace(b"\n", b"\r\n")
    plain, _ = read(tmp_path / "dump.tsv", content)
    assert [edge.head for edge in plain] == ["qattus", "kelb"]
    # Two members, as tools that compress in parallel write them, and a name that does not tell.
    packed, _ = read(tmp_path / "dump", gzip.compress(content[:50]) + gzip.compress(content[50:]))
    assert packed == plain


def test_a_damaged_gzip_file_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "dump.tsv.gz"
    packed = gzip.compress(b"".join(row(f"/c/mt/kelma_{i}") for i in range(5000)))
    for damaged in (packed[: len(packed) // 2], packed[:300] + b"\0" * 50 + packed[350:], packed + b"junk"):
        with pytest.raises(InputError, match=r"dump\.tsv\.gz:\d+: damaged gzip file"):
            read(path, damaged)


def test_a_file_without_line_ends_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_files, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(source_files, "LONGEST_LINE_BYTES", 5000)
    with pytest.raises(InputError, match=r"dump\.tsv:2: a line of more than"):
        read(tmp_path / "dump.tsv", row("/c/mt/qattus") + b"x" * 10_000)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        SourceFile(tmp_path / "absent.tsv")
    with pytest.raises(InputError, match="is a folder"):
        SourceFile(tmp_path)


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "dump.tsv.gz"
    path.write_bytes(gzip.compress(row("/c/mt/qattus")))
    with SourceFile(path) as file:
        assert b"".join(block for _, block in file.blocks()) == row("/c/mt/qattus")
        assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert file.bytes_read == file.size


def reference(content: bytes) -> tuple[list[Edge], list[int]]:
    """Edges and the lines of damaged rows, by ``edge_of_row`` alone: what the columnar reading must come to."""
    edges, damaged = [], []
    for line, text in enumerate(content.removesuffix(b"\n").split(b"\n"), start=1):
        row = text.rstrip(b"\r")
        if row:
            try:
                fields = row.decode("utf-8").split("\t")
                if len(fields) != 5 or "\0" in row.decode():
                    raise ValueError
                edges.append(edge_of_row(line, fields))
            except ValueError:
                damaged.append(line)
    return edges, damaged


NODE = st.builds(
    "/c/{}/{}{}".format,
    st.sampled_from(["mt", "en", "zh_tw", "", "MT"]),
    st.text(st.sampled_from("qaħ_ \u0301\u00a0\u2003/\r\"'{"), max_size=6),
    st.sampled_from(["", "/n", "/n/wn/animal"]),
)
ROW = st.builds(
    "{}\t{}\t{}\t{}\t{}".format,
    st.sampled_from(["/a/x", "/a/", "x", '"/a/x']),
    st.sampled_from(["/r/IsA", "/r/", "IsA", "/r/ExternalURL", "/r/dbpedia/genre"]),
    NODE,
    st.one_of(NODE, st.just("http://example.org")),
    st.one_of(
        st.builds('{{"license": {}, "weight": {}}}'.format,
                  st.sampled_from(['"cc"', "null", "[1]", '"\\ud800"', '"ż\\u0017"']),
                  st.sampled_from(["1", "2.5", '"3"', "NaN", "true", "1e999", "-0.1", "null", "[]", "1,"])),
        st.sampled_from(["{}", "[]", "", "{", '{"weight": 1} x', "nul", '{"weight":\t1}', ' {"weight": 2}']),
    ),
)  # fmt: skip


@given(rows=st.lists(st.one_of(ROW, st.text(max_size=8)), max_size=40), end=st.sampled_from(["\n", "\r\n"]))
@settings(max_examples=12, deadline=None)
def test_columns_are_read_as_rows_are(rows: list[str], end: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """DuckDB may only be trusted with rows that it reads as Python does."""
    path = tmp_path_factory.getbasetemp() / "columns.tsv"
    content = "".join(row + end for row in rows).encode("utf-8", "surrogatepass")
    edges, tally = read(path, content, None)
    expected, damaged = reference(content)
    assert edges == expected
    assert [row["line"] for row in tally.damaged_rows] == damaged[:20]
    assert tally.damaged == len(damaged)


def test_one_thread_and_several_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_files, "BLOCK_BYTES", 2000)
    content = b"".join(row(f"/c/mt/kelma_{i}") + (b"x\n" if i % 50 == 7 else b"") for i in range(300))
    one, several = (read(tmp_path / "dump.tsv", content, threads=threads) for threads in (1, 3))
    assert len(one[0]) == 300
    assert several[0] == one[0]
    assert (several[1].rows, several[1].damaged_rows) == (one[1].rows, one[1].damaged_rows)
    with pytest.raises(InputError, match=r"dump\.tsv:9: 1 column"):
        read(tmp_path / "dump.tsv", content, threads=3, strict=True)


@pytest.mark.parametrize("column", range(5))
def test_bad_bytes_in_any_column_are_seen(column: int, tmp_path: Path) -> None:
    for bad, reason in ((b"\xff", "not valid UTF-8"), (b"\0", "a NUL byte"), (b"\xc3", "not valid UTF-8")):
        fields = row("/c/mt/qattus").rstrip(b"\n").split(b"\t")
        fields[column] = fields[column][:4] + bad + fields[column][4:]
        content = row("/c/mt/kelb") * 3 + b"\t".join(fields) + b"\n" + row("/c/en/dog")
        edges, tally = read(tmp_path / "dump.tsv", content)
        assert len(edges) == 3
        assert tally.damaged_rows == [{"source": str(tmp_path / "dump.tsv"), "line": 4, "reason": reason}]
        with pytest.raises(InputError, match=rf"dump\.tsv:4: {reason}"):
            read(tmp_path / "dump.tsv", content, strict=True)


def test_codes_of_the_dump_as_languages() -> None:
    known = {"mt": "mlt_Latn", "no": "nob_Latn", "sh": "srp_Cyrl", "zh": "zho_Hans", "fa": "pes_Arab"}
    assert {code: str(language_of_code(code)) for code in known} == known
    for code in ("roa-opt", "zh_tw", "", "Maltese", "../etc", "x"):
        assert language_of_code(code) is None
