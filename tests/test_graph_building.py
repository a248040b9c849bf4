"""Built graph folders: splits that share nothing, spans, counts, the command, real graphs, memory."""

import gzip
import hashlib
import json
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langlift.bundled_models import DEFAULT_BASE
from langlift.corpus.text_data import load_text_data
from langlift.data_folder import MEGABYTE, SPLITS
from langlift.errors import InputError
from langlift.graph.building import build_graph
from langlift.graph.conceptnet import conceptnet_codes
from langlift.graph.conceptnet_dump import read_conceptnet
from langlift.graph.edge_store import open_store
from langlift.graph.plan import make_plan
from langlift.graph.recipe import GraphRecipe
from langlift.graph.sentence_templates import load_predicates
from langlift.graph.source_files import Edge, SourceFile, Tally
from langlift.languages import find_language
from langlift.progress import ProgressBar

MALTESE = find_language("mlt")
RELATIONS = sorted(load_predicates())


def dump(path: Path, triples: list[tuple[str, str, str]], language: str = "mt") -> str:
    """A dump of those (start, relation, end), each term in the language unless it is a whole URI."""
    lines = []
    for triple in triples:
        start, end = (f"/c/{language}/{term}" if term[0] != "/" else term for term in (triple[0], triple[2]))
        metadata = '{"license": "cc:by/4.0", "weight": 1.0}'
        lines.append(f"/a/[/r/{triple[1]}/,{start}/,{end}/]\t/r/{triple[1]}\t{start}\t{end}\t{metadata}\n")
    path.write_text("".join(lines), encoding="utf-8")
    return f"conceptnet:{path}"


def rows(folder: Path, split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def stored_sentences(edges: list[Edge], folder: Path, recipe: GraphRecipe) -> list[tuple[str, str, str, str, str]]:
    """(split, text, head, relation, tail) of what the store makes of edges."""
    with open_store(folder, make_plan(["triples:x"], recipe), folder, 1) as store:
        store.add_edges(0, edges)
        store.prepare({"mlt_Latn": ["mt"]})
        found = []
        for language, split, lines in store.lines():
            assert language == "mlt_Latn"
            for line in bytes(lines).decode("utf-8").removesuffix("\n").split("\n"):
                row = json.loads(line)
                for part in ("head", "tail"):
                    assert row["text"][row[part]["start"] : row[part]["end"]] == row[part]["text"]
                found.append(
                    (split, row["text"], row["head"]["text"], row["relation"]["name"], row["tail"]["text"])
                )
    return found


def reciprocal(rows: list[tuple[str, str, str, str]]) -> bool:
    """Whether any two concepts are linked both ways."""
    ways = {(head, tail) for _, head, _, tail in rows}
    return any((tail, head) in ways for head, tail in ways)


MANY = [(f"kelma_{i}/n", RELATIONS[i % 33], f"ħaġa_{i % 7}") for i in range(99)]


@given(
    links=st.lists(
        st.tuples(*[st.sampled_from("abcdefghij")] * 2, st.sampled_from(["IsA", "PartOf"])), max_size=40
    ),
    seed=st.integers(0, 3),
)
@settings(max_examples=20, deadline=None)
def test_splits_share_no_start_and_no_pair_of_concepts(
    links: list[tuple[str, str, str]], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    edges = [
        Edge(i, head, "mt", name, tail, "mt", 1.0) for i, (head, tail, name) in enumerate(links) if head != tail
    ]
    folder = tmp_path_factory.mktemp("store")
    stored = stored_sentences(edges, folder, GraphRecipe(seed=seed))
    given_back = [(split, *triple) for split, _, *triple in stored]
    assert {(edge.head, edge.relation, edge.tail) for edge in edges} == {row[1:] for row in given_back}
    left = len({row[1:] for row in given_back})
    assert len(given_back) == left
    starts = {split: {row[1] for row in given_back if row[0] == split} for split in SPLITS}
    pairs = {split: {frozenset((row[1], row[3])) for row in given_back if row[0] == split} for split in SPLITS}
    for one, other in combinations(SPLITS, 2):
        assert not starts[one] & starts[other]
        assert not pairs[one] & pairs[other]
    sizes = Counter(row[0] for row in given_back)
    share = max(1, round(left / 10))
    links_of = Counter(row[1] for row in given_back)
    largest = max(links_of.values(), default=0) if not reciprocal(given_back) else left
    assert sizes["dev"] <= share
    assert sizes["test"] <= 2 * share
    if left and len(starts["train"] | starts["dev"] | starts["test"]) > 3 and largest <= share:
        assert all(sizes[split] for split in SPLITS)


def test_shares_are_80_10_10_and_depend_on_the_seed(tmp_path: Path) -> None:
    source = dump(tmp_path / "dump.tsv", [(f"kelma_{i % 400}", "IsA", f"ħaġa_{i}") for i in range(2000)])
    first = build_graph(MALTESE, [source], tmp_path / "a")
    again = build_graph(MALTESE, [source], tmp_path / "b")
    other = build_graph(MALTESE, [source], tmp_path / "c", GraphRecipe(seed=1))
    assert [first.splits[split]["sentences"] for split in SPLITS] == [1600, 200, 200]
    assert again.splits == first.splits
    assert other.splits["test"]["sha256"] != first.splits["test"]["sha256"]


def test_the_folder_and_its_manifest(tmp_path: Path) -> None:
    """Every relation of the table, spans that name the arguments, counts that add up, hashes of what is there."""
    extra = [
        ("kelma_0/v", RELATIONS[0], "ħaġa_0"),
        ("qattus/n", "Synonym", "/c/en/qattus"),
        ("qattus", "Synonym", "/c/en/cat"),
        ("qattus", "NotDesires", "ilma"),
        ("qattus", "ExternalURL", "http://example.org"),
        ("/c/en/cat", "IsA", "annimal"),
    ]
    source = dump(tmp_path / "dump.tsv", MANY + extra)
    with (tmp_path / "dump.tsv").open("a") as file:
        file.write("damaged\n")
    out = tmp_path / "graph"
    result = build_graph(MALTESE, [source], out)
    everything = [row for split in SPLITS for row in rows(out, split)]
    assert {row["relation"]["name"] for row in everything} == set(RELATIONS)
    table = load_predicates()
    for row in everything:
        text, head, relation, tail = (row[name] for name in ("text", "head", "relation", "tail"))
        assert text[head["start"] : head["end"]] == head["text"]
        assert text[tail["start"] : tail["end"]] == tail["text"]
        assert text[relation["start"] : relation["end"]] == table[relation["name"]]
    assert result.rows == 99 + len(extra) + 1
    assert result.kept == len(everything) == sum(result.relations.values()) == 100
    assert result.dropped == {
        "duplicate": 1, "self_loop": 1, "unknown_relation": 1, "external_url": 1, "other_language": 1
    }  # fmt: skip
    assert result.unknown_relations == {"NotDesires": 1}
    assert (result.damaged, result.damaged_rows[0]["line"]) == (1, 106)
    assert result.rows == result.kept + sum(result.dropped.values()) + result.damaged
    assert (result.foreign_tails, result.languages["tail"]) == (1, {"mt": 99, "en": 1})
    assert json.loads((out / "manifest.json").read_text(encoding="utf-8")) == vars(result)
    assert {path.name for path in out.iterdir()} == {
        "train.jsonl", "dev.jsonl", "test.jsonl", "dropped.jsonl", "manifest.json"
    }  # fmt: skip
    for split in SPLITS:
        content = (out / f"{split}.jsonl").read_bytes()
        assert result.splits[split]["sha256"] == hashlib.sha256(content).hexdigest()
        assert result.splits[split]["bytes"] == len(content)
    assert result.sources[0]["sha256"] == hashlib.sha256((tmp_path / "dump.tsv").read_bytes()).hexdigest()
    dropped = [json.loads(line) for line in (out / "dropped.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["reason"] for row in dropped} == set(result.dropped) - {"other_language"}
    assert [row["line"] for row in dropped if row["reason"] == "duplicate"] == [100]
    texts = load_text_data(out)
    assert list(texts.test) == [row["text"] for row in rows(out, "test")]


def test_the_heaviest_of_duplicates_stays_and_sources_are_joined(tmp_path: Path) -> None:
    light = dump(tmp_path / "dump.tsv", [*MANY, ("qattus", "IsA", "annimal")])
    heavy = tmp_path / "own.csv"
    heavy.write_text("head,relation,tail,weight\nqattus,IsA,annimal,3\nPinu,jgħixFi,Għawdex,1\n", encoding="utf-8")
    result = build_graph(MALTESE, [light, f"triples:{heavy}"], tmp_path / "graph")
    everything = [row for split in SPLITS for row in rows(tmp_path / "graph", split)]
    assert [row["weight"] for row in everything if row["head"]["text"] == "qattus"] == [3.0]
    assert "Pinu jgħix fi Għawdex." in [row["text"] for row in everything]
    assert result.own_words == {"jgħixFi": "jgħix fi"}
    assert [source["rows"] for source in result.sources] == [100, 2]


def test_a_file_of_predicates_speaks_for_unknown_relations(tmp_path: Path) -> None:
    extra = tmp_path / "predicates.csv"
    extra.write_text("relation,predicate\nNotDesires,ma jridx\n", encoding="utf-8")
    source = dump(tmp_path / "dump.tsv", [*MANY, ("qattus", "NotDesires", "ilma")])
    result = build_graph(MALTESE, [source], tmp_path / "graph", predicates=extra)
    assert result.unknown_relations == {}
    everything = [row["text"] for split in SPLITS for row in rows(tmp_path / "graph", split)]
    assert "qattus ma jridx ilma." in everything


def test_damaged_characters_do_not_reach_the_manifest(tmp_path: Path) -> None:
    source = dump(tmp_path / "dump.tsv", MANY)
    text = (tmp_path / "dump.tsv").read_text(encoding="utf-8")
    (tmp_path / "dump.tsv").write_text(text.replace("cc:by/4.0", "\\ud800"), encoding="utf-8")
    (tmp_path / "own.jsonl").write_text('{"\\ud800": "a"}\n{"\\u001b[2J": "a"}\n', encoding="utf-8")
    result = build_graph(MALTESE, [source, f"triples:{tmp_path / 'own.jsonl'}"], tmp_path / "graph")
    assert result.licences == {"\ufffd": 99}
    assert [row["reason"] for row in result.damaged_rows] == [
        "no field 'head' (found: \ufffd)", "no field 'head' (found: \ufffd[2J)"
    ]  # fmt: skip


def test_as_published(tmp_path: Path) -> None:
    """The last segment as the term, duplicates kept, a split by sentence that leaks: each by its setting."""
    source = dump(tmp_path / "dump.tsv", [*MANY, *MANY])
    recipe = GraphRecipe(term="last_segment", split="by_sentence", duplicates="keep")
    result = build_graph(MALTESE, [source], tmp_path / "graph", recipe)
    assert (result.kept, result.dropped) == (198, {})
    assert [result.splits[split]["sentences"] for split in SPLITS] == [158, 20, 20]
    assert all(row["head"]["text"] == "n" for row in rows(tmp_path / "graph", "test"))
    assert {row["text"] for row in rows(tmp_path / "graph", "train")} & {
        row["text"] for row in rows(tmp_path / "graph", "test")
    }


@given(
    words=st.lists(
        st.text(
            st.characters(blacklist_categories=["Cs"], blacklist_characters="/\t\n\r\0"), min_size=1, max_size=12
        ),
        min_size=40,
        max_size=50,
        unique=True,
    )
)
@settings(max_examples=8, deadline=None)
def test_any_term_comes_through_the_store_unchanged(
    words: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("terms")
    terms = sorted({" ".join(normalize("NFC", word.replace("_", " ")).split()) for word in words} - {""})
    (folder / "own.jsonl").write_text(
        "".join(json.dumps({"head": term, "relation": "IsA", "tail": f"x {term}"}) + "\n" for term in terms)
    )
    result = build_graph(MALTESE, [f"triples:{folder / 'own.jsonl'}"], folder / "graph", strict=True)
    found = [row["head"]["text"] for split in SPLITS for row in rows(folder / "graph", split)]
    assert sorted(found) == terms
    assert result.damaged == 0


@pytest.mark.parametrize(
    ("triples", "message"),
    [
        ([("/c/en/cat", "IsA", "annimal")] * 3, "no sentence in Maltese .* 3 other language"),
        ([("qattus", "Synonym", "qattus")], "no sentence in Maltese .* 1 self loop"),
        ([("qattus", "IsA", "annimal"), ("qattus", "IsA", "ħaġa")], "are too few for three splits"),
        (
            [("a", "IsA", "b"), ("b", "PartOf", "a"), ("b", "IsA", "ċ"), ("ċ", "PartOf", "b")],
            "4 of them inseparable",
        ),
    ],
)
def test_too_little_is_an_error_that_says_what_was_lost(
    triples: list[tuple[str, str, str]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        build_graph(MALTESE, [dump(tmp_path / "dump.tsv", triples)], tmp_path / "graph")
    assert [path.name for path in tmp_path.iterdir()] == ["dump.tsv"], "nothing half-written stays"


def test_the_command_from_dump_to_adapter(langlift, tiny_bert: Path, tmp_path: Path) -> None:
    packed = tmp_path / "dump.tsv.gz"
    dump(tmp_path / "dump.tsv", [*MANY, ("qattus", "Synonym", "qattus")])
    packed.write_bytes(gzip.compress((tmp_path / "dump.tsv").read_bytes() + b"damaged\n"))
    out = tmp_path / "graph"
    arguments = ["graph", "build", "Maltese", "--source", f"conceptnet:{packed}", "--out"]
    built = langlift(*arguments, out, "--seed", 5, "--json")
    assert built.code == 0, built.err
    assert built.json == json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert (built.json["kept"], built.json["settings"]["seed"]) == (99, 5)
    assert f"1 damaged rows skipped, the first: {packed}:101: 1 column, not 5" in built.err
    shown = langlift(*arguments, tmp_path / "again", "--show-dropped")
    assert shown.code == 0, shown.err
    assert "self loop: qattus | Synonym | qattus" in shown.err
    assert f"langlift adapt mlt_Latn --base {DEFAULT_BASE} --data {tmp_path / 'again'}" in shown.err
    for words in ("sentences kept", "dropped: self loop", "train 79", *RELATIONS[:20], "and 13 more relations"):
        assert words in shown.out
    adapted = langlift(
        "adapt", "mt", "--base", tiny_bert, "--data", out, "--out", tmp_path / "run",
        "--steps", 3, "--batch-size", 4, "--json",
    )  # fmt: skip
    assert adapted.code == 0, adapted.err
    assert adapted.json["steps"] == 3


def test_mistakes_on_the_command_line(langlift, tmp_path: Path) -> None:
    source = dump(tmp_path / "dump.tsv", MANY)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    (tmp_path / "bad.tsv.gz").write_bytes(gzip.compress((tmp_path / "dump.tsv").read_bytes())[:-20])
    (tmp_path / "row.tsv").write_text(
        (tmp_path / "dump.tsv").read_text(encoding="utf-8") + "x\n", encoding="utf-8"
    )
    out = tmp_path / "graph"
    (tmp_path / "own.tsv").write_text("head\trelation\ttail\na\tIsA\tb\n", encoding="utf-8")
    own = f"triples:{tmp_path / 'own.tsv'}"
    for arguments, message in (
        (["--source", source, "--out", tmp_path / "full"], "the folder is not empty"),
        (["--source", "wiki:x", "--out", out], "--source wiki:x: unknown kind of source"),
        (["--source", f"conceptnet:{tmp_path / 'absent'}", "--out", out], "absent: no such file"),
        (["--source", f"conceptnet:{tmp_path / 'bad.tsv.gz'}", "--out", out], "damaged gzip file"),
        (
            ["--source", f"conceptnet:{tmp_path / 'row.tsv'}", "--out", out, "--strict"],
            "row.tsv:100: 1 column, not 5",
        ),
        (["--source", source, "--out", out, "--columns", "head=x"], "--columns needs a source triples:PATH"),
        (["--source", own, "--out", out, "--columns", "x=y"], "--columns x=y"),
        (["--source", own, "--out", out, "--either-end"], "--either-end needs a source conceptnet:PATH"),
        (["--source", own, "--out", out, "--set", "term=last_segment"], "term=last_segment needs a source"),
        (["--source", source, "--out", out, "--set", "split=by_word"], "must be one of by_concept, by_sentence"),
        (["--out", out], "--source"),
    ):
        result = langlift("graph", "build", "mt", *arguments, "--json")
        assert result.code == 2
        assert message in result.error["error"]
        assert not out.exists()
    assert not list(tmp_path.glob(".*"))
    assert (tmp_path / "full" / "mine.txt").exists()


def own_triples(path: Path, relation: str = "IsA", count: int = 30) -> str:
    """A table of triples; ``{}`` in the relation's name is its number."""
    lines = [f"qattus {i}\t{relation.format(i)}\tannimal {i}\n" for i in range(count)]
    path.write_text("".join(["head\trelation\ttail\n", *lines]), encoding="utf-8")
    return f"triples:{path}"


def test_names_with_brackets_and_controls_are_shown_as_they_are(langlift, tmp_path: Path) -> None:
    source = own_triples(tmp_path / "own.tsv", "rel[/b]:cat:\x1b[2J")
    with (tmp_path / "own.tsv").open("a", encoding="utf-8") as file:
        file.write("\x1b[2J\tIsA\t\x1b[2J\n" + "q" * 900 + "\tIsA\t" + "q" * 900 + "\n")
    built = langlift("graph", "build", "mt", "--source", source, "--out", tmp_path / "my graph", "--show-dropped")
    assert built.code == 0, built.err
    assert "rel[/b]:cat:\ufffd[2J" in built.out
    assert "\x1b" not in built.out + built.err
    assert max(map(len, built.err.splitlines())) < 600
    assert f"--data '{tmp_path / 'my graph'}' --out '{tmp_path / 'my graph'}-adapter'" in built.err


def test_free_text_for_relations_does_not_fill_manifest_and_screen(langlift, tmp_path: Path) -> None:
    source = own_triples(tmp_path / "own.tsv", "relation number {}", 1200)
    built = langlift("graph", "build", "mt", "--source", source, "--out", tmp_path / "graph")
    assert "and 981 more relations" in built.out
    assert len(built.out.splitlines()) < 40
    manifest = json.loads((tmp_path / "graph" / "manifest.json").read_text(encoding="utf-8"))
    assert (len(manifest["relations"]), manifest["relations"]["(others)"]) == (1001, 200)
    assert len(manifest["own_words"]) == 1000


def test_the_manifest_says_what_decided_the_sentences(langlift, tmp_path: Path) -> None:
    words = tmp_path / "words.csv"
    words.write_text("relation,predicate\nIsA,huwa\n", encoding="utf-8")
    (tmp_path / "own.csv").write_text(
        "\n".join(["h,relation,tail", *(f"qattus {i},IsA,x" for i in range(20))]), encoding="utf-8"
    )
    built = langlift(
        "graph", "build", "mt", "--source", f"triples:{tmp_path / 'own.csv'}", "--out", tmp_path / "graph",
        "--predicates", words, "--columns", "head=h", "--strict", "--json",
    )  # fmt: skip
    assert built.code == 0, built.err
    settings = {name: built.json["settings"][name] for name in ("columns", "strict", "predicates", "split")}
    assert settings == {
        "columns": "head=h", "strict": True, "split": "by_concept",
        "predicates": {"name": "words.csv", "sha256": hashlib.sha256(words.read_bytes()).hexdigest()},
    }  # fmt: skip


def test_own_triples_are_in_the_language_asked_for(tmp_path: Path) -> None:
    """Not in the one that ConceptNet merges it with: Croatian is no ``sh``."""
    result = build_graph(find_language("hrv"), [own_triples(tmp_path / "own.tsv")], tmp_path / "graph")
    assert result.languages == {"head": {"hrv_Latn": 30}, "tail": {"hrv_Latn": 30}}
    assert result.foreign_tails == 0


def test_the_wrong_kind_of_source_is_told(langlift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_triples(tmp_path / "own.tsv")
    table = langlift(
        "graph", "build", "mt", "--source", f"conceptnet:{tmp_path / 'own.tsv'}", "--out", tmp_path / "x", "--json"
    )
    assert f"31 damaged (the first: {tmp_path / 'own.tsv'}:1: 3 columns, not 5)" in table.error["error"]
    assert "triples:PATH" in table.error["hint"]
    bare = langlift("graph", "build", "mt", "--source", tmp_path / "own.tsv", "--out", tmp_path / "x", "--json")
    assert f"triples:{tmp_path / 'own.tsv'}" in bare.error["hint"]
    few = own_triples(tmp_path / "few.tsv", count=2)
    with pytest.raises(InputError) as refusal:
        build_graph(MALTESE, [few], tmp_path / "x", GraphRecipe(split="by_sentence"))
    assert "by_sentence" not in refusal.value.hint
    monkeypatch.setenv("HOME", str(tmp_path))
    assert build_graph(MALTESE, ["triples:~/own.tsv"], tmp_path / "graph").kept == 30


def test_progress_is_that_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dump in which nothing is about the language still moves on."""
    shown: list[int] = []
    monkeypatch.setattr(ProgressBar, "advance", lambda self, units=1, note=None: shown.append(units))
    dump(tmp_path / "dump.tsv", [("/c/en/cat", "IsA", "/c/en/animal")])
    line = (tmp_path / "dump.tsv").read_bytes()
    (tmp_path / "dump.tsv").write_bytes(line * (5 * MEGABYTE // len(line) + 1))
    plan = make_plan(["conceptnet:x"], None)
    with SourceFile(tmp_path / "dump.tsv") as file, open_store(tmp_path, plan, tmp_path) as store:
        read_conceptnet(file, 0, store, Tally(), ("mt",))
    assert sum(shown) == 5


def relations_of(path: Path, codes: tuple[str, ...], either_end: bool = False) -> set[str]:
    """What a reader that knows nothing of ours finds: relations of edges whose sentence would not be a loop."""
    found = set()
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            relation, *nodes = line.split("\t")[1:4]
            inside = [node.split("/")[2] in codes for node in nodes]
            if relation != "/r/ExternalURL" and (inside[0] or (either_end and inside[1])):
                start, end = (node.split("/")[3] for node in nodes)
                found |= {relation.split("/")[2]} if start != end else set()
    return found


@pytest.mark.data
@pytest.mark.parametrize("language", ["Uyghur", "Maltese"])
def test_real_graphs_keep_every_relation(language: str, data_folder: Path, tmp_path: Path) -> None:
    found = find_language(language)
    path = data_folder / "kg" / "conceptnet" / f"{conceptnet_codes(found)[0]}.tsv.gz"
    result = build_graph(found, [f"conceptnet:{path}"], tmp_path / "graph", strict=True)
    assert set(result.relations) == relations_of(path, conceptnet_codes(found))
    assert result.rows == result.kept + sum(result.dropped.values())
    assert result.kept > 2000
    sizes = [result.splits[split]["sentences"] for split in SPLITS]
    assert sizes[0] == pytest.approx(0.8 * result.kept, rel=0.02)
    assert sizes[2] == pytest.approx(0.1 * result.kept, rel=0.05)


@pytest.mark.data
@pytest.mark.parametrize("language", ["eng", "jpn", "fra", "hun", "zho", "nld"])
def test_the_official_sample_keeps_every_relation(language: str, data_folder: Path, tmp_path: Path) -> None:
    found = find_language(language)
    path = data_folder / "kg" / "sample" / "assertions.tsv.gz"
    recipe = GraphRecipe(ends="either")
    result = build_graph(found, [f"conceptnet:{path}"], tmp_path / "graph", recipe, strict=True)
    assert set(result.relations) == relations_of(path, conceptnet_codes(found), either_end=True)
    assert result.rows == 759


GENERATE_AND_BUILD = """
import random, sys
from pathlib import Path
from langlift.graph.building import build_graph
from langlift.languages import find_language
path, rows = Path(sys.argv[1]), int(sys.argv[2])
draw = random.Random(0).randrange
metadata = '{"dataset": "/d/test", "license": "cc:by/4.0", "weight": 1.0, "filler": "%s"}' % ("x" * 120)
with path.open("w", encoding="utf-8") as file:
    for i in range(rows):
        start = f"/c/{'mt' if i % 2 else 'en'}/kelma_{draw(rows // 3)}/n"
        end = f"/c/mt/kelma_{draw(rows // 3)}"
        file.write(f"/a/[/r/IsA/,{start}/,{end}/]\\t/r/IsA\\t{start}\\t{end}\\t{metadata}\\n")
result = build_graph(find_language("mlt"), [f"conceptnet:{path}"], path.with_suffix(".graph"))
print(result.kept, result.peak_memory_bytes)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_dump(tmp_path: Path) -> None:
    peaks = []
    for count in (100_000, 4_000_000):
        run = subprocess.run(
            [sys.executable, "-c", GENERATE_AND_BUILD, str(tmp_path / f"{count}.tsv"), str(count)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        kept, peak = map(int, run.stdout.split())
        assert kept > 0.45 * count
        peaks.append(peak)
    # 512 MB for the database, and what Python and its libraries take: under 1 GB together, as promised.
    assert max(peaks) < 1e9, peaks
