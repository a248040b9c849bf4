"""Sentences by template: places in either order, spans, files that are not as they should be, Maltese."""

import csv
import json
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from langlift.data_folder import SPLITS
from langlift.errors import InputError
from langlift.graph.building import build_graph
from langlift.graph.cldr import PREDICATES
from langlift.graph.sentence_templates import Template, load_predicates, load_templates
from langlift.languages import find_language

MALTESE = find_language("mlt")
KNOWN = set(load_predicates()) | set(PREDICATES)
WORDS = st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="{}\"'\\"), max_size=9)
TERM = st.text(st.sampled_from("aħ e\u0301qż𓀀日.{}\"'\\"), min_size=1, max_size=6).map(
    lambda text: " ".join(normalize("NFC", text).split())
)


def build(folder: Path, triples: list[tuple[str, str, str]], templates: str | None) -> list[dict[str, Any]]:
    keys = ("head", "relation", "tail")
    source = folder / "own.jsonl"
    source.write_text(
        "".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in triples), encoding="utf-8"
    )
    build_graph(MALTESE, [f"triples:{source}"], folder / "graph", strict=True, templates=templates, threads=1)
    return [
        json.loads(line)
        for split in SPLITS
        for line in (folder / "graph" / f"{split}.jsonl").read_text(encoding="utf-8").split("\n")
        if line
    ]


@given(
    pieces=st.lists(st.tuples(WORDS, WORDS, WORDS, st.booleans()), min_size=1, max_size=4),
    terms=st.lists(TERM.filter(bool), min_size=3, max_size=6, unique=True),
)
@settings(max_examples=10, deadline=None)
def test_spans_name_the_parts(
    pieces: list[tuple[str, str, str, bool]], terms: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("templates")
    relations, texts = sorted(load_predicates()), {}
    for relation, (before, between, after, head_first) in zip(relations, pieces, strict=False):
        first, second = ("{head}", "{tail}") if head_first else ("{tail}", "{head}")
        texts[relation] = f"{before}{first}{between}ta {second}{after}"
    (folder / "own.yaml").write_text(yaml.safe_dump(texts, allow_unicode=True), encoding="utf-8")
    triples = [(term, relation, f"x{number}") for number, term in enumerate(terms) for relation in texts]
    rows = build(folder, [*triples, *((f"y{n}", "IsA", "z") for n in range(30))], str(folder / "own.yaml"))
    found = {(row["head"]["text"], row["relation"]["name"], row["tail"]["text"]): row for row in rows}
    for head, relation, tail in triples:
        row = found[head, relation, tail]
        for part, words in (("head", head), ("tail", tail)):
            assert row["text"][row[part]["start"] : row[part]["end"]] == words
        template = normalize("NFC", " ".join(texts[relation].split()))
        filled = (
            " ".join(normalize("NFC", texts[relation]).split()).replace("{head}", "\0").replace("{tail}", "\1")
        )
        assert row["text"] == filled.replace("\0", head).replace("\1", tail), template
        words = row["text"][row["relation"]["start"] : row["relation"]["end"]]
        assert words and words == words.strip() and words in template
        spans = sorted((row[part]["start"], row[part]["end"]) for part in ("head", "relation", "tail"))
        assert all(one[1] <= other[0] for one, other in pairwise(spans))


def test_the_shipped_maltese_has_every_relation(tmp_path: Path) -> None:
    path, templates = load_templates("mt", KNOWN)
    assert path.name == "mlt_Latn.yaml"
    assert set(templates) == KNOWN
    rows = build(tmp_path, [("qattus", relation, f"ħaġa {n}") for n, relation in enumerate(load_predicates())]
                 + [(f"kelma {n}", "AtLocation", "dar") for n in range(30)], "mlt_Latn")  # fmt: skip
    texts = {row["relation"]["name"]: row for row in rows}
    assert texts["IsA"]["text"].startswith("qattus huwa tip ta' ħaġa")
    place = next(row for row in rows if row["head"]["text"] == "kelma 3")
    assert place["text"] == "dar huwa post tipiku għal kelma 3."
    assert (place["tail"]["start"], place["relation"]["start"]) == (0, 4)
    assert place["text"][place["relation"]["start"] : place["relation"]["end"]] == "huwa post tipiku għal"


def test_all_shipped_files_are_for_known_relations_and_languages() -> None:
    for path in Path(str(files("langlift.graph") / "templates")).glob("*.yaml"):
        load_templates(path.stem, KNOWN)
        assert str(find_language(path.stem)) == path.stem


def test_the_published_form_is_a_template() -> None:
    template = Template.of_predicate("is a type of")
    assert template == Template.parse("{head} is a type of {tail}.")
    assert template.words == (1, 1, 12)
    with Path(str(files("langlift.graph") / "predicates.csv")).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            piece, lead, width = Template.of_predicate(row["predicate"]).words
            assert (piece, lead, width) == (1, 1, len(row["predicate"]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'Isa: "{head} x {tail}."', "unknown relation 'Isa'"),
        (b'IsA: "{head} x."', "IsA: {tail} must occur exactly once"),
        (b'IsA: "{tail} x {tail} {head}"', "IsA: {tail} must occur exactly once"),
        (b'IsA: "{head} {tail}."', "IsA: there are no words for the relation"),
        (b'IsA: "{head} {what} {tail}"', "IsA: braces are only for {head} and {tail}"),
        (b"IsA: 5", "IsA: must be text"),
        (b"IsA: {head} x {tail}", "1: not valid YAML"),
        (b"- a", "no templates found"),
        (b"", "no templates found"),
        (b"IsA: \xff", "not valid UTF-8"),
        (b"1: x", "unknown relation '1'"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_one_error(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as refusal:
        load_templates(str(path), KNOWN)
    assert message in refusal.value.message and str(path) in refusal.value.message
    assert "\n" not in refusal.value.message


def test_names_and_files_that_there_are_not(tmp_path: Path, langlift) -> None:
    for name, message in (
        ("swh_Latn", "no such templates"),
        ("nonsense", "no such templates"),
        (str(tmp_path / "absent.yaml"), "absent.yaml: cannot be read"),
    ):
        with pytest.raises(InputError, match=message):
            load_templates(name, KNOWN)
    built = langlift(
        "graph",
        "build",
        "mt",
        "--source",
        "cldr",
        "--templates",
        "mlt_Latn",
        "--out",
        tmp_path / "graph",
        "--json",
    )
    assert built.code == 0, built.err
    assert built.json["settings"]["templates"]["name"] == "mlt_Latn.yaml"
    texts = "".join((tmp_path / "graph" / f"{split}.jsonl").read_text(encoding="utf-8") for split in SPLITS)
    assert "Malti huwa lsien uffiċjali ta' Malta." in texts
