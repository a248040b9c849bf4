"""Graphs of many languages from one pass: equal to those built one by one, resumable, damage told."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import graph_plain
from benchmarks.graph_dump import write_dump
from benchmarks.graph_running import _digest
from langlift.data_folder import SPLITS
from langlift.errors import InputError, LangliftError
from langlift.graph import building, conceptnet_dump, source_files
from langlift.graph.building import build_graph, build_graphs
from langlift.graph.sentence_templates import load_predicates
from langlift.languages import find_language

LANGUAGES = ("eng_Latn", "deu_Latn", "zho_Hans", "srp_Cyrl", "mlt_Latn", "swh_Latn", "kat_Geor", "yor_Latn")
SOME_CODES = re.compile(rb"\t/c/(?:en|de|zh|sh|mt|sw|ka|yo|roa-opt|zh_tw)/[^\t]*\t(?:/c/|http)")


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The edges of eight languages from a generated dump, and two damaged rows: the 500th and the last."""
    path = tmp_path_factory.mktemp("dump") / "dump.tsv"
    write_dump(path, 9_000, seed=3)
    rows = [row for row in path.read_bytes().splitlines(keepends=True) if SOME_CODES.search(row)]
    rows[499] = b"/a/x\t/r/IsA\tcat\t/c/en/animal\t{}\n"
    rows.append(b"/a/x\t/r/IsA\t/c/en/\xff\t/c/en/cat\t{}\n")
    path.write_bytes(b"".join(rows))
    return path


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_files, "BLOCK_BYTES", 150_000)


def contents(folder: Path) -> dict[str, bytes]:
    names = [f"{split}.jsonl" for split in SPLITS] + ["dropped.jsonl"]
    return {name: (folder / name).read_bytes() for name in names}


def test_every_language_is_as_if_built_alone(dump: Path, tmp_path: Path) -> None:
    result = build_graphs(None, [f"conceptnet:{dump}"], tmp_path / "all", threads=2)
    rows = dump.read_bytes().count(b"\n")
    assert (result.rows, result.damaged) == (rows, 2)
    assert [row["line"] for row in result.damaged_rows] == [500, rows]
    assert set(result.unknown_codes) == {"roa-opt", "zh_tw"}
    assert set(result.languages) == set(LANGUAGES)
    assert result.sentences == sum(result.languages.values())
    folders = {path.name for path in (tmp_path / "all").iterdir()}
    assert folders == set(result.languages) | {"manifest.json"}
    assert json.loads((tmp_path / "all" / "manifest.json").read_text(encoding="utf-8")) == vars(result)
    for name in ("mlt_Latn", "srp_Cyrl", "eng_Latn"):
        alone = build_graph(find_language(name), [f"conceptnet:{dump}"], tmp_path / name, threads=1)
        assert contents(tmp_path / "all" / name) == contents(tmp_path / name)
        manifest = json.loads((tmp_path / "all" / name / "manifest.json").read_text(encoding="utf-8"))
        for key in (
            "relations",
            "languages",
            "licences",
            "splits",
            "largest_group",
            "kept",
            "foreign_tails",
            "settings",
        ):
            assert manifest[key] == vars(alone)[key], key
        assert manifest["rows"] == manifest["kept"] + sum(manifest["dropped"].values()) + manifest["damaged"]


def test_several_languages_and_both_ends(dump: Path, tmp_path: Path) -> None:
    from langlift.graph.recipe import GraphRecipe

    languages = [find_language("mlt"), find_language("hrv"), find_language("srp")]
    either = GraphRecipe(ends="either")
    twice = [*languages, languages[0]]
    result = build_graphs(twice, [f"conceptnet:{dump}"], tmp_path / "some", either)
    assert set(result.languages) == {"mlt_Latn", "hrv_Latn", "srp_Cyrl"}
    for language in languages:
        build_graph(language, [f"conceptnet:{dump}"], tmp_path / str(language), either)
        assert contents(tmp_path / "some" / str(language)) == contents(tmp_path / str(language))


def test_what_is_finished_stays_and_nothing_is_parsed_twice(
    dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_blocks: None
) -> None:
    whole = build_graphs(None, [f"conceptnet:{dump}"], tmp_path / "whole", threads=1)
    parsed: list[int] = []
    read = conceptnet_dump._read_block
    stop_at = 4

    def counted(first, *arguments):
        parsed.append(first)
        if len(parsed) == stop_at:
            raise KeyboardInterrupt
        return read(first, *arguments)

    monkeypatch.setattr(conceptnet_dump, "_read_block", counted)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        build_graphs(None, [f"conceptnet:{dump}"], out, threads=1)
    first, stop_at = list(parsed), -1
    parsed.clear()

    written: list[str] = []
    write = building.Build.write

    def interrupted(self, folder, out, name, *arguments):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(name)
        return write(self, folder, out, name, *arguments)

    monkeypatch.setattr(building.Build, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_graphs(None, [f"conceptnet:{dump}"], out, threads=1)
    assert not set(parsed) & set(first[:-1]), "a block that was stored is not parsed again"
    parsed.clear()
    monkeypatch.setattr(building.Build, "write", write)
    times = {name: (out / name / "train.jsonl").stat().st_mtime_ns for name in written}

    (out / ".mlt_Latn.killed.writing").mkdir()
    result = build_graphs(None, [f"conceptnet:{dump}"], out, threads=1)
    assert parsed == []
    assert result.already_built == sorted(written)
    assert {name: (out / name / "train.jsonl").stat().st_mtime_ns for name in written} == times
    assert (result.languages, result.rows, result.damaged_rows) == (
        whole.languages,
        whole.rows,
        whole.damaged_rows,
    )
    for name in result.languages:
        assert contents(out / name) == contents(tmp_path / "whole" / name)
    assert not list(out.glob(".*"))
    (out / ".building").mkdir()  # as if killed between the last two steps
    again = build_graphs(None, [f"conceptnet:{dump}"], out)
    assert again.already_built == sorted(result.languages)
    assert not list(out.glob(".*"))
    with pytest.raises(InputError, match="finished build with other settings"):
        build_graphs(None, [f"conceptnet:{dump}"], out, strict=True)


def test_a_second_build_leaves_the_first_alone(
    dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, write = tmp_path / "out", building.Build.write

    def started_again(self, *arguments):
        with pytest.raises(LangliftError, match="another process is building it"):
            build_graphs([find_language("mlt")], [f"conceptnet:{dump}"], out)
        return write(self, *arguments)

    monkeypatch.setattr(building.Build, "write", started_again)
    assert list(build_graphs([find_language("mlt")], [f"conceptnet:{dump}"], out).languages) == ["mlt_Latn"]


@pytest.mark.slow
def test_a_killed_build_goes_on(tmp_path: Path) -> None:
    dump, out = tmp_path / "dump.tsv", tmp_path / "out"
    write_dump(dump, 12_000, seed=3)
    command = [
        sys.executable, "-c", "from langlift.cli.main import main; main()",
        "graph", "build", "all", "--source", f"conceptnet:{dump}", "--out", str(out), "--threads", "1", "--json",
    ]  # fmt: skip
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(out.glob("[a-z]*_*")) and started.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(started.pid, signal.SIGKILL)
    started.communicate()
    finished = {path.parent.name: path.stat().st_mtime_ns for path in out.glob("[a-z]*_*/manifest.json")}
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    answer = json.loads(result.stdout.splitlines()[-1])
    assert len(answer["languages"]) > 40
    assert finished, "it was killed after the first language"
    assert answer["already_built"] == sorted(finished)
    assert {name: (out / name / "manifest.json").stat().st_mtime_ns for name in finished} == finished
    assert {path.name for path in out.iterdir()} == set(answer["languages"]) | {"manifest.json"}


def test_damage_is_reported_or_fatal(dump: Path, tmp_path: Path, langlift) -> None:
    arguments = ["graph", "build", "all", "--source", f"conceptnet:{dump}", "--out"]
    shown = langlift(*arguments, tmp_path / "out")
    assert shown.code == 0, shown.err
    assert f"2 damaged rows skipped, the first: {dump}:500: " in shown.err
    assert "Codes of no known language: " in shown.err and "roa-opt (" in shown.err
    strict = langlift(*arguments, tmp_path / "strict", "--strict", "--json")
    assert strict.code == 2 and f"{dump}:500: " in strict.error["error"]
    packed = tmp_path / "dump.gz"
    packed.write_bytes(gzip.compress(dump.read_bytes())[:-30])
    cut = langlift(*arguments[:-2], f"conceptnet:{packed}", "--out", tmp_path / "cut", "--json")
    assert cut.code == 2 and "damaged gzip file" in cut.error["error"]
    packed.write_bytes(gzip.compress(dump.read_bytes()))
    other = langlift(*arguments[:-2], f"conceptnet:{packed}", "--out", tmp_path / "cut", "--json")
    assert other.code == 2 and "unfinished build with other settings or sources" in other.error["error"]
    for wrong, message in (
        (["--columns", "head=x"], "--columns is for a graph of one language"),
        (["--templates", "mlt_Latn"], "--templates is for a graph of one language"),
        (["--source", "triples:x.tsv"], "triples sources have one language"),
        (["--source", "cldr:mt"], "a CLDR locale has one language"),
    ):
        refused = langlift(*arguments, tmp_path / "refused", *wrong, "--json")
        assert refused.code == 2 and message in refused.error["error"]
    none = langlift("graph", "build", " ,", *arguments[3:-1], "--out", tmp_path / "none", "--json")
    assert none.code == 2 and "no language is named" in none.error["error"]
    named = langlift("graph", "build", "mlt,swh", *arguments[3:-1], "--out", tmp_path / "two", "--json")
    assert set(named.json["languages"]) == {"mlt_Latn", "swh_Latn"}


def test_a_language_named_twice_is_read_once(tmp_path: Path) -> None:
    from langlift.graph.recipe import GraphRecipe

    maltese = find_language("mlt")
    result = build_graphs([maltese, maltese], ["cldr"], tmp_path / "out", GraphRecipe(duplicates="keep"))
    alone = build_graph(maltese, ["cldr"], tmp_path / "alone", GraphRecipe(duplicates="keep"))
    assert (result.rows, result.sentences) == (alone.rows, alone.kept)


def test_a_language_has_its_cldr_names_by_whichever_code(tmp_path: Path) -> None:
    result = build_graphs([find_language("no")], ["cldr"], tmp_path / "out")
    alone = build_graph(find_language("nob"), ["cldr"], tmp_path / "alone")
    assert (result.languages, result.rows) == ({"nob_Latn": alone.kept}, alone.rows)


def test_sources_without_any_language_are_an_error(tmp_path: Path, langlift) -> None:
    table = tmp_path / "table.tsv"
    table.write_text("head\trelation\ttail\na\tIsA\tb\n", encoding="utf-8")
    for languages, message in (
        (
            "all",
            f"no language has enough for a graph in 2 rows, 2 damaged (the first: {table}:1: 3 columns, not 5)",
        ),
        ("mlt,swh", "no language has enough"),
        ("mlt,", "no sentence in Maltese"),
    ):
        out = tmp_path / "out"
        result = langlift("graph", "build", languages, "--source", f"conceptnet:{table}", "--out", out, "--json")
        assert result.code == 2 and message in result.error["error"]
        assert not list(out.iterdir()), "and the same --out can be taken again"


def test_bad_bytes_in_any_column_of_any_language_are_told(tmp_path: Path) -> None:
    good = b"".join(
        b"/a/x\t/r/IsA\t/c/mt/kelma_%d\t/c/mt/annimal\t{}\n/a/x\t/r/IsA\t/c/en/word\t/c/en/thing\t{}\n" % i
        for i in range(40)
    )
    path = tmp_path / "dump.tsv"
    damaged = []
    for column in range(5):
        fields = b"/a/x\t/r/IsA\t/c/en/dog\t/c/en/animal\t{}\n".split(b"\t")
        fields[column] = b"\xfe" + fields[column]
        damaged.append(b"\t".join(fields))
        path.write_bytes(good + damaged[-1] + good)
        with pytest.raises(InputError, match=r"dump\.tsv:81: not valid UTF-8"):
            build_graphs(None, [f"conceptnet:{path}"], tmp_path / f"strict{column}", strict=True)
    path.write_bytes(good.join(damaged))
    result = build_graphs(None, [f"conceptnet:{path}"], tmp_path / "out")
    lines = [1, 82, 163, 244, 325]
    assert [(row["line"], row["reason"]) for row in result.damaged_rows] == [(n, "not valid UTF-8") for n in lines]


def test_the_plain_loop_of_the_bench_writes_the_same_sentences(dump: Path, tmp_path: Path) -> None:
    valid = tmp_path / "valid.tsv"
    valid.write_bytes(b"".join(dump.read_bytes().splitlines(keepends=True)[:-1]))
    predicates = load_predicates()
    counts = graph_plain.convert(valid, predicates, tmp_path / "plain")
    result = build_graphs(None, [f"conceptnet:{valid}"], tmp_path / "ours")
    assert (counts["rows"], counts["damaged"]) == (result.rows, result.damaged)
    plain = [path for path in (tmp_path / "plain").iterdir() if path.stem not in result.unknown_codes]
    ours = [path for split in SPLITS for path in (tmp_path / "ours").glob(f"*/{split}.jsonl")]
    assert _digest(plain) == _digest(ours)
    assert _digest(ours)[0] == result.sentences


@pytest.mark.slow
def test_the_bench_compares_both_sides(langlift) -> None:
    result = langlift("bench", "graph", "--rows", "3000", "--json")
    assert result.code == 0, result.err
    assert (result.json["rows"], result.json["sentences"] > 2000) == (3000, True)
    assert result.json["ratio"] == result.json["seconds"]["plain"] / result.json["seconds"]["one_thread"]
    assert 50 << 20 < result.json["peak_memory_bytes"] < 1 << 30


def test_the_bench_sees_a_difference(tmp_path: Path) -> None:
    for name, text in (("a", "1\n2\n"), ("b", "2\n1\n"), ("c", "1\n3\n"), ("d", "1\n2\n2\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    digests = {name: _digest([tmp_path / name]) for name in "abcd"}
    assert digests["a"] == digests["b"]
    assert len(set(digests.values())) == 3


@pytest.mark.data
def test_real_graphs_together_are_those_built_alone(data_folder: Path, tmp_path: Path) -> None:
    codes = {"ug": "uig_Arab", "mt": "mlt_Latn", "sw": "swh_Latn"}
    path = tmp_path / "dump.tsv.gz"
    path.write_bytes(
        b"".join((data_folder / "kg" / "conceptnet" / f"{code}.tsv.gz").read_bytes() for code in codes)
    )
    build_graphs(None, [f"conceptnet:{path}"], tmp_path / "all", strict=True)
    for name in codes.values():
        build_graph(find_language(name), [f"conceptnet:{path}"], tmp_path / name, strict=True)
        assert contents(tmp_path / "all" / name) == contents(tmp_path / name)
