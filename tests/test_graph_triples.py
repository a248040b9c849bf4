"""Triples from TSV, CSV and JSON lines, and the words of relations."""

import csv
import io
import json
from pathlib import Path
from unicodedata import normalize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langlift.errors import InputError
from langlift.graph.sentence_templates import load_predicates, own_words
from langlift.graph.source_files import Edge, SourceFile, Tally
from langlift.graph.triples import column_names, read_triples

ROWS = [("Il-Belt Valletta", "locatedIn", "Malta", "2.5"), ("qattus", "IsA", 'annimal "domestiku", żgħir', "1")]
LISBON = Edge(2, "Il-Belt Valletta", "mt", "locatedIn", "Malta", "mt", 2.5)


def read(path: Path, content: bytes, columns: str | None = None, strict: bool = False) -> tuple[list[Edge], Tally]:
    path.write_bytes(content)
    tally = Tally(strict)
    with SourceFile(path) as file:
        return list(read_triples(file, "mt", column_names(columns), tally)), tally


def as_csv(rows: list[tuple[str, ...]], header: str = "head,relation,tail,weight") -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([tuple(header.split(",")), *rows])
    return text.getvalue().encode()


def as_json(rows: list[tuple[str, ...]]) -> bytes:
    names = ("head", "relation", "tail", "weight")
    return "".join(json.dumps(dict(zip(names, row, strict=False))) + "\n" for row in rows).encode()


def as_tsv(rows: list[tuple[str, ...]], header: str = "head\trelation\ttail\tweight") -> bytes:
    return "".join("\t".join(row) + "\n" for row in [tuple(header.split("\t")), *rows]).encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [("t.csv", as_csv(ROWS)), ("t.tsv", as_tsv(ROWS)), ("t.jsonl", b"\n" + as_json(ROWS))],
)
def test_the_three_kinds_of_file_say_the_same(name: str, content: bytes, tmp_path: Path) -> None:
    edges, tally = read(tmp_path / name, content)
    assert edges == [LISBON, Edge(3, ROWS[1][0], "mt", "IsA", ROWS[1][2], "mt", 1.0)]
    assert (tally.rows, tally.damaged) == (2, 0)


def test_a_quote_that_is_not_closed_costs_its_own_line_only(tmp_path: Path) -> None:
    rows = [f"qattus {i},IsA,annimal {i}" for i in range(9000)]
    rows[5] = '"qattus 5,IsA,annimal 5'
    edges, tally = read(tmp_path / "t.csv", "\n".join(["head,relation,tail", *rows]).encode())
    assert (len(edges), tally.damaged, tally.damaged_rows[0]["line"]) == (8999, 1, 7)


def test_a_record_over_two_lines_is_not_taken_for_two_triples(tmp_path: Path) -> None:
    edges, tally = read(tmp_path / "t.csv", b'head,relation,tail\nqattus,IsA,"annimal\nu,mhux,kelb"\nx,IsA,y\n')
    assert [edge.head for edge in edges] == ["x"]
    assert [row["line"] for row in tally.damaged_rows] == [2, 3]


def test_triples_are_read_as_nfc(tmp_path: Path) -> None:
    edges, _ = read(tmp_path / "t.tsv", "head\trelation\ttail\nz\u0307ejt\tIsA\tcafe\u0301\n".encode())
    assert (edges[0].head, edges[0].tail) == ("żejt", "café")


def test_other_column_names_and_further_columns(tmp_path: Path) -> None:
    content = "id,subj,pred,obj\n7,qattus_selvaġġ,/r/IsA,annimal\n".encode()
    edges, _ = read(tmp_path / "t.csv", content, "head=subj, relation=pred,tail=obj")
    assert edges == [Edge(2, "qattus selvaġġ", "mt", "IsA", "annimal", "mt", 1.0)]


TERM = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=15).filter(
    lambda text: text.replace("_", " ").strip() and text.strip().removeprefix("/r/")
)


@given(
    triples=st.lists(st.tuples(TERM, TERM, TERM), min_size=1, max_size=5), kind=st.sampled_from(["csv", "jsonl"])
)
@settings(max_examples=60, deadline=None)
def test_every_triple_that_was_written_is_read(
    triples: list[tuple[str, ...]], kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"written.{kind}"
    edges, tally = read(path, as_csv(triples, "head,relation,tail") if kind == "csv" else as_json(triples))
    assert not tally.damaged
    spaced = [
        tuple(" ".join(normalize("NFC", term.replace("_", " ")).split()) for term in (head, tail))
        for head, _, tail in triples
    ]
    assert [(edge.head, edge.tail) for edge in edges] == spaced


@given(content=st.binary(max_size=150), kind=st.sampled_from(["csv", "tsv", "jsonl"]), header=st.booleans())
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_are_an_error_or_counted(
    content: bytes, kind: str, header: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"bytes.{kind}"
    first = {"csv": b"head,relation,tail\n", "tsv": b"head\trelation\ttail\n", "jsonl": b""}[kind]
    try:
        edges, tally = read(path, first * header + content)
    except InputError as error:
        assert str(path) in error.message
    else:
        assert len(edges) + tally.damaged == tally.rows


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("t.csv", b"a,b\n", "2 columns, not 4"),
        ("t.tsv", b"a\tb\tc\td\te\n", "5 columns, not 4"),
        ("t.csv", b"a,b,\xff,1\n", "tail is not valid UTF-8"),
        ("t.tsv", b"a\tb\tc\0\t1\n", "a NUL byte in tail"),
        ("t.csv", b"a,b, ,1\n", "tail is empty"),
        ("t.csv", b"a,b,c,heavy\n", "the weight 'heavy' is not a number"),
        ("t.csv", b'a,b,"c\n', "not valid CSV (a quote is not closed on this line)"),
        ("t.csv", b'a,b,"c" d,1\n', "not valid CSV (',' expected after '\"')"),
        ("t.csv", b'a,b,"' + b"c" * 200_000 + b'",1\n', "not valid CSV (field larger than field limit (131072))"),
        ("t.tsv", b"a\tb\t" + b"c" * 1001 + b"\t1\n", "tail has 1001 characters"),
        ("t.jsonl", b'{"head": "a"\n', "not valid JSON"),
        ("t.jsonl", b'{"head": "a", "relation": "b"}\n', "no field 'tail' (found: head, relation)"),
        ("t.jsonl", b'{"head": "a", "relation": "b", "tail": 3}\n', "tail is not text"),
        ("t.jsonl", b'{"head": "a", "relation": "b", "tail": "\\ud800"}\n', "tail is not valid UTF-8"),
        ("t.jsonl", b'["a", "b", "c"]\n', "a JSON object is needed, not list"),
        ("t.jsonl", b"[" * 100_000 + b"\n", "not valid JSON"),
    ],
)
def test_a_damaged_row_is_counted_with_its_line(name: str, content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / name
    good = {"csv": as_csv, "tsv": as_tsv, "jsonl": as_json}[path.suffix[1:]](ROWS)
    line = good.count(b"\n") + 1
    edges, tally = read(path, good + content + good.splitlines(keepends=True)[-1])
    assert len(edges) == 3
    assert tally.damaged_rows == [{"source": str(path), "line": line, "reason": reason}]
    with pytest.raises(InputError) as caught:
        read(path, good + content, strict=True)
    assert caught.value.message == f"{path}:{line}: {reason}"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"subject,relation,tail\n", "t.csv:1: no column 'head' (found: subject, relation, tail)"),
        ("t.csv", b"head,relation,tail,tail\n", "t.csv:1: two columns are called 'tail'"),
        ("t.csv", b"\n\n", "t.csv: the file is empty"),
        ("t.tsv", b"/a/[/r/IsA/,/c/mt/x/]\t/r/IsA\t/c/mt/x\t/c/mt/y\t{}\n", "t.tsv:1: a row of ConceptNet's dump"),
        ("t.xml", b"<a/>", "t.xml: unknown file type"),
    ],
)
def test_a_file_of_another_form_is_one_error(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path / name, content)
    assert caught.value.message.endswith(message)


@pytest.mark.parametrize("columns", ["head", "subject=a", "head=", "head=a,,"])
def test_column_names_of_another_form_are_refused(columns: str) -> None:
    with pytest.raises(InputError, match="not of the form name=column"):
        column_names(columns)


@pytest.mark.parametrize(
    ("relation", "words"),
    [
        ("livesIn", "lives in"),
        ("born_in", "born in"),
        ("IsA", "is a"),
        ("dbpedia/genre", "genre"),
        ("http://example.org/ns#memberOf", "member of"),
        ("speaks", "speaks"),
        ("partOfEU", "part of EU"),
        ("#", "#"),
        ("_", "_"),
    ],
)
def test_a_relation_in_its_own_words(relation: str, words: str) -> None:
    assert own_words(relation) == words


@given(relation=TERM)
def test_own_words_are_never_empty(relation: str) -> None:
    assert own_words(relation).strip()


def test_predicates_of_the_table_and_of_a_file(tmp_path: Path) -> None:
    table = load_predicates()
    assert len(table) == 33
    assert (table["IsA"], table["Synonym"]) == ("is a type of", "is a synonym of")
    extra = tmp_path / "predicates.csv"
    extra.write_text('relation,predicate\n/r/IsA,"huwa tip ta\'"\n\nlivesIn,jgħix fi\n', encoding="utf-8")
    assert load_predicates(extra) == table | {"IsA": "huwa tip ta'", "livesIn": "jgħix fi"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "1: no column 'relation' (found: nothing)"),
        (b"IsA,is a\n", "1: no column 'relation' (found: IsA, is a)"),
        (b"relation,predicate\nIsA\n", "2: 1 fields, the header has 2"),
        (b"relation,predicate\nIsA, \n", "2: empty predicate"),
        (b"relation,predicate\nIsA,\xff\n", "2: not valid UTF-8 (byte 0xff)"),
    ],
)
def test_a_damaged_file_of_predicates_is_one_error(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "predicates.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_predicates(path)
    assert caught.value.message == f"{path}:{message}"
    with pytest.raises(InputError, match="no such file"):
        load_predicates(tmp_path / "absent.csv")
