"""``langlift corpus build`` from source to folder: budget, splits, counts, language, errors, memory."""

import errno
import json
import struct
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_corpus_sources import hub_folder

from langlift.bundled_models import DEFAULT_BASE
from langlift.corpus.building import build_corpus, write_splits
from langlift.corpus.language_identification import LanguageIdentifier
from langlift.corpus.leakage import read_evaluation_sets
from langlift.corpus.pipeline import DroppedText, Pipeline, TextSize, in_batches
from langlift.corpus.text_data import load_text_data, texts_to_score
from langlift.data_folder import SAMPLE, excerpt
from langlift.errors import InputError, LangliftError
from langlift.languages import find_language

fuzzing = settings(
    derandomize=True, deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MALTESE = find_language("mlt")
SPLITS = ("train", "dev", "test")


def sentences(count: int, seed: int = 0) -> list[str]:
    """Sentences of random words, each different."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abċdefġghħijklmnopqrstuvwxżz"))
    return [" ".join("".join(rng.choice(letters, 6)) for _ in range(9)) + "." for _ in range(count)]


def text_file(path: Path, documents: int = 30, lines_each: int = 3, seed: int = 0) -> Path:
    """A file of documents between blank lines."""
    lines = sentences(documents * lines_each, seed)
    blocks = ["\n".join(lines[i : i + lines_each]) for i in range(0, len(lines), lines_each)]
    path.write_text("\n\n".join(blocks), encoding="utf-8")
    return path


def rows_of(folder: Path, split: str) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_from_files_to_a_folder_that_adapt_and_score_read(langlift, tmp_path: Path, tiny_bert: Path) -> None:
    source = text_file(tmp_path / "a.txt", 39)
    test = sentences(117)[7]
    junk = [
        "Menu",
        "<b>Il-qattus</b> raqad &amp; ħolom.",
        ("ixtri " * 20).strip(),
        "Кіт спить на даху.",
        "12 13 14",
        sentences(117)[0],
    ]
    with source.open("a", encoding="utf-8") as file:
        file.write("\n\n" + "\n".join(junk))
    evaluation = tmp_path / "sib" / "test.tsv"
    evaluation.parent.mkdir()
    evaluation.write_text(f'id\ttext\n1\t"{test}"\n', encoding="utf-8")
    out = tmp_path / "data"
    built = langlift(
        "corpus", "build", "Maltese", "--source", f"file:{tmp_path}/*.txt", "--out", out,
        "--exclude", tmp_path / "sib", "--show-dropped", "--json",
    )  # fmt: skip
    assert built.code == 0, built.err
    manifest = built.json
    assert manifest == json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert sorted(path.name for path in out.iterdir()) == [
        "dev.jsonl", "dropped.jsonl", "manifest.json", "test.jsonl", "train.jsonl"
    ]  # fmt: skip
    assert manifest["read"] == {"documents": 40, "lines": 123, "bytes": source.stat().st_size - 38}
    dropped = {name: counts["lines"] for name, counts in manifest["filters"].items() if counts["lines"]}
    assert dropped == {
        "too_short": 1, "few_letters": 1, "other_script": 1, "repeated_word": 1, "leak": 1, "duplicate_line": 1
    }  # fmt: skip
    assert manifest["kept"]["lines"] == 117
    assert manifest["lines_changed"] == 1
    assert manifest["leaks"] == {str(evaluation): 1}
    assert [manifest["splits"][split]["documents"] for split in SPLITS] == [32, 4, 4]
    assert "leak: " + test in built.err
    assert "cleaning: <b>Il-qattus</b> raqad &amp; ħolom.  (became: Il-qattus raqad & ħolom.)" in built.err
    data = load_text_data(out)
    assert len(data.train) == manifest["splits"]["train"]["lines"]
    assert test not in [*data.train, *data.dev, *data.test]
    assert texts_to_score(out) == list(data.test)
    adapted = langlift(
        "adapt", "mlt", "--base", tiny_bert, "--data", out, "--out", tmp_path / "run",
        "--steps", 2, "--batch-size", 4, "--json",
    )  # fmt: skip
    assert adapted.code == 0, adapted.err


def test_the_same_folder_twice_and_another_split_by_another_seed(tmp_path: Path) -> None:
    source = f"file:{text_file(tmp_path / 'a.txt')}"
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        build_corpus(MALTESE, [source], tmp_path / name, seed=seed)
    files = ("train.jsonl", "dev.jsonl", "test.jsonl", "dropped.jsonl")
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files)
    assert (tmp_path / "one/train.jsonl").read_bytes() != (tmp_path / "three/train.jsonl").read_bytes()


@fuzzing
@given(sizes=st.lists(st.integers(1, 5), min_size=3, max_size=45), seed=st.integers(0, 99))
def test_every_document_is_in_one_split_and_every_split_has_one(
    tmp_path: Path, sizes: list[int], seed: int
) -> None:
    documents = ([f"{number}/{i}" for i in range(size)] for number, size in enumerate(sizes, start=1))
    written = write_splits(tmp_path, documents, seed)
    homes: dict[int, set[str]] = {}
    texts = []
    for split in SPLITS:
        for row in rows_of(tmp_path, split):
            homes.setdefault(row["document"], set()).add(split)
            assert row["text"].startswith(f"{row['document']}/")
            texts.append(row["text"])
    assert sorted(texts) == sorted(f"{n}/{i}" for n, size in enumerate(sizes, start=1) for i in range(size))
    assert all(len(splits) == 1 for splits in homes.values())
    counts = [written[split]["documents"] for split in SPLITS]
    assert min(counts) >= 1
    assert sum(counts) == len(sizes)
    full = len(sizes) // 10
    assert all(full <= count <= full + 1 for count in counts[1:])


@fuzzing
@given(max_bytes=st.integers(1, 12_000))
def test_the_budget_is_never_exceeded_and_documents_stay_whole(
    tmp_path_factory: pytest.TempPathFactory, max_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("budget")
    source = text_file(folder / "a.txt", 60)
    try:
        result = build_corpus(MALTESE, [f"file:{source}"], folder / "out", max_bytes=max_bytes)
    except InputError as refusal:
        assert max_bytes < 1000
        assert "over budget" in refusal.message
        assert not (folder / "out").exists()
        return
    assert result.kept["bytes"] <= max_bytes
    assert result.stopped_by_budget
    assert result.read["lines"] == result.kept["lines"] + sum(drop["lines"] for drop in result.filters.values())
    assert result.kept["lines"] == 3 * result.kept["documents"]
    written = [row["text"] for split in SPLITS for row in rows_of(folder / "out", split)]
    assert sum(len(text.encode()) + 1 for text in written) == result.kept["bytes"]
    block = next(b for b in source.read_text(encoding="utf-8").split("\n\n")[result.kept["documents"] :])
    assert result.kept["bytes"] + len(block.encode()) + 1 > max_bytes, "one more document would have fitted"


MARKUP = ["<b>", "<!-- moħbi", "-->", "[[File:x.png]]", "{{", "}}", "&amp;", "www.eżempju.mt "]
ODD = ["\u200e", "\ufffd", "12 13 ", "Кіт ", "aaaaaaaaaaaaaaa ", "kelma ", "  ", "\t", "\r", "\ud800", "\u0344"]
parts_of_lines = st.sampled_from(["Il-qattus raqad fuq is-siġġu ", "u l-kelb beka ", *MARKUP, *ODD])
lines_of_text = st.lists(parts_of_lines, max_size=4).map("".join)
texts = st.lists(st.lists(lines_of_text, max_size=5).map("\n".join), max_size=8)


@fuzzing
@given(
    batches=st.lists(texts, max_size=3), budget=st.integers(1, 500), everything=st.booleans(), leak=st.booleans()
)
def test_what_is_read_is_kept_or_counted_with_its_reason(
    tmp_path: Path, batches: list[list[str]], budget: int, everything: bool, leak: bool
) -> None:
    (tmp_path / "test.txt").write_text("u l-kelb beka\n", encoding="utf-8")
    evaluation = read_evaluation_sets([tmp_path / "test.txt"] if leak else [], "Latn")
    dropped = DroppedText(0)
    pipeline = Pipeline(MALTESE, budget, dropped, evaluation, keep_all=everything)
    written = [document for batch in batches for some in in_batches(batch) for document in pipeline.process(some)]
    raw = [text for batch in batches for text in batch]
    lines = sum(bool(line.strip()) for text in raw for line in text.split("\n"))
    size = sum(len(text.encode("utf-8", "surrogatepass")) + 1 for text in raw)
    assert pipeline.read == TextSize(len(raw), lines, size)
    assert pipeline.kept == TextSize(
        len(written), sum(map(len, written)), sum(len(line.encode()) + 1 for one in written for line in one)
    )
    for unit, count in asdict(pipeline.read).items():
        assert count == asdict(pipeline.kept)[unit] + sum(drop[unit] for drop in dropped.counts().values()), unit


def test_sources_are_read_in_order_until_the_budget(tmp_path: Path) -> None:
    first, second = text_file(tmp_path / "b.txt", 20, seed=1), text_file(tmp_path / "a.txt", 20, seed=2)
    budget = first.stat().st_size + 1500
    result = build_corpus(MALTESE, [f"file:{first}", f"file:{second}"], tmp_path / "out", max_bytes=budget)
    assert [source["kept"]["documents"] for source in result.sources] == [20, 7]
    assert result.kept["documents"] == 27


def test_flores_is_for_scoring_only(langlift, tmp_path: Path) -> None:
    texts = ["Sentenza waħda.", "Qasira", "Sentenza waħda.", "12 13"]
    flores = hub_folder(tmp_path / "flores", {"mlt_Latn": {"devtest": [{"text": text} for text in texts]}})
    out = tmp_path / "out"
    built = langlift("corpus", "build", "mlt", "--source", f"flores={flores}", "--out", out, "--json")
    assert built.code == 0, built.err
    assert built.json["purpose"] == "scoring"
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "test.jsonl"]
    assert texts_to_score(out) == texts, "every sentence is scored"
    with pytest.raises(InputError, match="it is for scoring, not for training") as refusal:
        load_text_data(out)
    assert f"langlift score --text {out}" in refusal.value.hint
    mixed = langlift(
        "corpus", "build", "mlt", "--source", f"flores={flores}", "--source", "glotcc", "--out", tmp_path / "x"
    )
    assert mixed.code == 2
    assert "cannot be mixed with training text" in mixed.err
    excluded = langlift(
        "corpus", "build", "mlt", "--source", f"flores={flores}", "--exclude", out, "--out", tmp_path / "x"
    )
    assert excluded.code == 2


def test_a_scoring_folder_is_scored(langlift, tmp_path: Path, tiny_bert: Path) -> None:
    flores = hub_folder(tmp_path / "flores", {"mlt_Latn": {"devtest": [{"text": "Il-baħar kalm illum."}]}})
    langlift("corpus", "build", "mlt", "--source", f"flores={flores}", "--out", tmp_path / "out")
    scored = langlift("score", "--base", tiny_bert, "--text", tmp_path / "out", "--json")
    assert scored.code == 0, scored.err
    assert scored.json["sentences"] == 1
    refused = langlift(
        "adapt", "mlt", "--base", tiny_bert, "--data", tmp_path / "out", "--out", tmp_path / "run", "--json"
    )
    assert refused.code == 2
    assert "it is for scoring, not for training" in refused.error["error"]


def test_the_table_for_people(langlift, tmp_path: Path) -> None:
    (tmp_path / "x[").mkdir()  # with the file's name this would be markup to rich, and not well-formed
    source, out = text_file(tmp_path / "x[" / "b].txt"), tmp_path / "my data"
    built = langlift("corpus", "build", "mt", "--source", f"file:{source}", "--out", out, "--max-bytes", "5KB")
    assert built.code == 0, built.err
    assert "near duplicate" in built.out
    assert "stopped at --max-bytes 5KB" in built.err
    assert f"Next: langlift adapt mlt_Latn --base {DEFAULT_BASE} --data '{out}' --out '{out}-adapter'" in built.err


def test_a_negative_seed_is_bad_usage(langlift, tmp_path: Path) -> None:
    source = text_file(tmp_path / "a.txt")
    refused = langlift(
        "corpus", "build", "mt", "--source", f"file:{source}", "--out", tmp_path / "out", "--seed", "-1", "--json"
    )
    assert refused.code == 2 and "--seed" in refused.error["error"]
    assert not (tmp_path / "out").exists()


def test_what_is_shown_of_dropped_texts_is_short_and_harmless(langlift, tmp_path: Path) -> None:
    source = text_file(tmp_path / "a.txt")
    with source.open("a", encoding="utf-8") as file:
        file.write("\n\n<b>Dan</b> \x1b[2J\x9b31m" + "kelma twila " * 50 + "می\u200cخواهم\n")
    built = langlift(
        "corpus", "build", "mt", "--source", f"file:{source}", "--out", tmp_path / "out", "--show-dropped"
    )
    shown = next(line for line in built.err.splitlines() if line.startswith("cleaning: "))
    assert shown.startswith("cleaning: <b>Dan</b> \ufffd[2J\ufffd31mkelma twila")
    assert len(shown) < 450
    assert excerpt("می\u200cخواهم") == "می\u200cخواهم", "joiners are letters' own"


def test_a_budget_over_the_size_of_the_files_costs_nothing(langlift, tmp_path: Path) -> None:
    source = text_file(tmp_path / "a.txt")
    small = build_corpus(MALTESE, [f"file:{source}"], tmp_path / "small", max_bytes=10**6)
    huge = langlift(
        "corpus", "build", "mt", "--source", f"file:{source}", "--out", tmp_path / "huge",
        "--max-bytes", "999999999999999TB", "--json",
    )  # fmt: skip
    assert huge.code == 0, huge.err
    assert huge.json["deduplication"]["memory_bytes"] == small.deduplication["memory_bytes"]
    assert huge.json["splits"] == {name: dict(size) for name, size in small.splits.items()}


def test_a_budget_that_needs_more_memory_than_there_is_is_refused(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "hub", {"mlt-Latn": {"train": [{"content": "Il-baħar kalm illum."}]}})
    for budget in (10**14, 10**30):
        with pytest.raises(InputError, match=r"--max-bytes [\d,]+: finding duplicates .* this machine has"):
            build_corpus(MALTESE, [f"glotcc={folder}"], tmp_path / "out", max_bytes=budget)


def test_many_short_files_are_documents_as_they_are(tmp_path: Path) -> None:
    lines = sentences(240)
    for number in range(20):
        (tmp_path / f"{number:02}.txt").write_text("\n".join(lines[12 * number : 12 * number + 12]), "utf-8")
    result = build_corpus(MALTESE, [f"file:{tmp_path}/*.txt"], tmp_path / "out")
    assert (result.kept["documents"], result.kept["lines"]) == (20, 240)


def test_what_was_read_for_the_leak_check_is_told(langlift, tmp_path: Path) -> None:
    source = text_file(tmp_path / "a.txt")
    sets = tmp_path / "sets"
    sets.mkdir()
    (sets / "TEST.TXT").write_text("Sentenza waħda.\nOħra.\n", encoding="utf-8")
    for number in range(7):
        (sets / f"{number}.md").touch()
    arguments = ["corpus", "build", "mt", "--source", f"file:{source}", "--exclude", sets, "--out"]
    built = langlift(*arguments, tmp_path / "out")
    assert "leak check: 2 evaluation sentences (files read: 1)" in built.err
    assert f"files of other types not read: {sets / '0.md'}, " in built.err
    assert "and 2 more" in built.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["evaluation"] == {
        "files": [str(sets / "TEST.TXT")], "sentences": 2, "skipped": 7,
        "skipped_files": [str(sets / f"{number}.md") for number in range(7)],
    }  # fmt: skip


def damaged(tmp_path: Path) -> dict[str, tuple[list[object], str]]:
    """What a user may give by mistake -> what the error must say."""
    good = f"file:{text_file(tmp_path / 'good.txt')}"
    few = tmp_path / "few.txt"
    few.write_text("Waħda biss hawn.\nMenu\n12 13\n", encoding="utf-8")
    empty = tmp_path / "empty.txt"
    empty.write_bytes(b"")
    utf8 = tmp_path / "utf8.txt"
    utf8.write_bytes(b"tajjeb hawn\n" * 20 + b"\xff\n")
    nul = tmp_path / "nul.txt"
    nul.write_bytes(b"tajjeb\x00\n" * 20)
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").write_text("x", encoding="utf-8")
    fake = tmp_path / "fake.bin"
    fake.write_bytes(b"not a model")
    return {
        "few": (
            ["--source", f"file:{few}"],
            "only 1 of 3 documents are left, at least 3 are needed; "
            "2 of 3 lines were dropped (too short: 1, few letters: 1)",
        ),
        "empty": (["--source", f"file:{empty}"], "the sources contain no text"),
        "utf8": (["--source", f"file:{utf8}"], "utf8.txt:21: not valid UTF-8 (byte 0xff)"),
        "nul": (["--source", f"file:{nul}"], "nul.txt:1: a NUL byte"),
        "size": (["--source", good, "--max-bytes", "lots"], "'lots' is not a size"),
        "kind": (["--source", "web"], "--source web: not understood"),
        "full": (["--source", good, "--out", full], "the folder is not empty (it contains x)"),
        "file": (["--source", good, "--out", fake], "is a file"),
        "exclude": (["--source", good, "--exclude", tmp_path / "none"], "no such file or folder"),
        "model": (["--source", good, "--language-model", tmp_path / "none"], "no such file"),
        "fake": (["--source", good, "--language-model", fake], "not a fastText classifier"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "case", ["few", "empty", "utf8", "nul", "size", "kind", "full", "file", "exclude", "model", "fake"]
)
def test_errors_are_one_line_and_leave_nothing_behind(langlift, tmp_path: Path, case: str) -> None:
    arguments, message = damaged(tmp_path)[case]
    before = sorted(tmp_path.rglob("*"))
    failed = langlift("corpus", "build", "mlt", "--out", tmp_path / "out", *arguments, "--json")
    assert failed.code == 2, failed.err
    assert message in failed.error["error"]
    assert failed.error["hint"]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(LangliftError, match="cannot be written \\(No space left") as failure:
        build_corpus(MALTESE, [f"file:{text_file(tmp_path / 'a.txt')}"], tmp_path / "out")
    assert failure.value.exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@fuzzing
@given(counts=st.dictionaries(st.sampled_from("abc"), st.integers(0, 90)), seed=st.integers(0, 9))
def test_samples_are_of_what_was_dropped_and_bounded(counts: dict[str, int], seed: int) -> None:
    dropped = DroppedText(seed)
    for name, count in counts.items():
        for i in range(count):
            dropped.add(name, "reason", f"{name}{i}", 10)
    for name, count in counts.items():
        texts = [row["text"] for row in dropped.samples() if row["filter"] == name]
        assert len(texts) == len(set(texts)) == min(SAMPLE, count)
        assert set(texts) <= {f"{name}{i}" for i in range(count)}
        assert dropped.by(name).bytes == 10 * count


def test_samples_are_drawn_from_beginning_to_end() -> None:
    drawn = []
    for seed in range(50):
        dropped = DroppedText(seed)
        for i in range(200):
            dropped.sample("x", "", str(i))
        drawn += [int(row["text"]) for row in dropped.samples()]
    assert 85 < np.mean(drawn) < 115


def write_language_model(path: Path, words: dict[str, str]) -> Path:
    """A fastText classifier (format version 12) of one dimension for each label: word -> its label."""
    labels = sorted(set(words.values()))
    arguments = [
        len(labels),
        5,
        5,
        1,
        5,
        1,
        3,
        3,
        0,
        0,
        0,
        100,
    ]  # loss 3: softmax; model 3: supervised; no n-grams
    entries = [(word, 0) for word in words] + [(f"__label__{label}", 1) for label in labels]
    raw = struct.pack("<ii", 793712314, 12) + struct.pack("<12id", *arguments, 1e-4)
    raw += struct.pack("<iiiqq", len(entries), len(words), len(labels), len(entries), -1)
    for entry, kind in entries:
        raw += entry.encode() + b"\0" + struct.pack("<qb", 1, kind)
    matrix = [[8.0 if label == own else 0.0 for label in labels] for own in words.values()]
    for rows in (matrix, np.eye(len(labels)).tolist()):
        raw += struct.pack("<?qq", False, len(rows), len(labels)) + np.array(rows, dtype="<f4").tobytes()
    path.write_bytes(raw)
    return path


def test_documents_in_another_language_are_dropped(langlift, tmp_path: Path) -> None:
    model = write_language_model(
        tmp_path / "m.bin", {"qattus": "mlt_Latn", "gatto": "ita_Latn", "chat": "fra_Latn"}
    )
    identifier = LanguageIdentifier(model, MALTESE)
    assert identifier.other_language(["qattus qattus"]) is None
    assert identifier.other_language(["gatto"]) == "ita_Latn, 1.00"
    assert identifier.other_language(["qattus gatto"]) is not None, "a probability under one half is not enough"
    assert identifier.other_language(["xejn"]) is not None
    documents = [f"Il qattus tiegħi {'abcdefghij'[i]} {'klmnopqrst'[i]}" for i in range(10)] + [
        "Il gatto mio dorme"
    ]
    source = tmp_path / "a.txt"
    source.write_text("\n\n".join(documents), encoding="utf-8")
    built = langlift(
        "corpus", "build", "mlt", "--source", f"file:{source}", "--out", tmp_path / "out",
        "--language-model", model, "--json",
    )  # fmt: skip
    assert built.code == 0, built.err
    assert built.json["filters"]["other_language"] == {"lines": 1, "bytes": 19, "documents": 1}
    assert built.json["kept"]["documents"] == 10


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "fasttext", None)
    with pytest.raises(InputError) as refusal:
        LanguageIdentifier(tmp_path, MALTESE)
    assert "langlift[language-id]" in refusal.value.hint


@pytest.mark.data
@pytest.mark.parametrize("language", ["mlt_Latn", "uig_Arab", "amh_Ethi", "eng_Latn"])
def test_real_text_is_nearly_all_kept(data_folder: Path, tmp_path: Path, language: str) -> None:
    result = build_corpus(
        find_language(language), [f"file:{data_folder}/corpus/{language}.txt"], tmp_path / "out",
        exclude=[data_folder / "eval" / "sib200" / language],
    )  # fmt: skip
    assert result.kept["lines"] > 0.99 * result.read["lines"]
    assert not result.leaks, "the corpus was made without these sentences"


@pytest.mark.data
@pytest.mark.parametrize(
    "language", ["tha_Thai", "bod_Tibt", "ben_Beng", "kat_Geor", "sin_Sinh", "urd_Arab", "ell_Grek"]
)
def test_evaluation_text_is_kept_in_every_script_and_wholly_recognised(
    data_folder: Path, tmp_path: Path, language: str
) -> None:
    source = f"file:{data_folder}/eval/flores_text/{language}.txt"
    result = build_corpus(find_language(language), [source], tmp_path / "out")
    assert result.kept["lines"] > 0.99 * result.read["lines"]
    with pytest.raises(InputError, match="only 0 of"):
        build_corpus(
            find_language(language),
            [source],
            tmp_path / "none",
            exclude=[data_folder / "eval" / "sib200" / language],
        )


GENERATE_AND_BUILD = """
import sys
import numpy as np
from pathlib import Path
from langlift.corpus.building import build_corpus
from langlift.languages import find_language

folder, megabytes = Path(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
letters = np.array(list("abċdefġghħijklmnopqrstuvwxżzaaeeiiuu"))
words = np.array(["".join(rng.choice(letters, rng.integers(2, 11))) for _ in range(40000)])
junk = ["Ara http://example.org/x &amp; <b>aktar</b>", "!!!!!!!!!!!! 123 456", "ha " * 30, "Кіт спить на даху"]
size, previous = 0, []
with (folder / "text.txt").open("w", encoding="utf-8") as file:
    while size < megabytes * 10**6:
        drawn = iter(words[np.minimum((rng.pareto(1.0, 6000) * 30).astype(int), 39999)].tolist())
        blocks = []
        for _ in range(60):
            sizes = rng.integers(5, 16, int(rng.integers(2, 7)))
            lines = [" ".join(next(drawn) for _ in range(size)) for size in sizes]
            if rng.random() < 0.1:
                lines.append(junk[int(rng.integers(4))])
            if rng.random() < 0.1 and previous:
                lines = [*previous, lines[0]]
            blocks.append("\\n".join(lines))
            previous = lines
        text = "\\n\\n".join(blocks) + "\\n\\n"
        size += file.write(text)
result = build_corpus(find_language("mlt"), [f"file:{folder / 'text.txt'}"], folder / "out", max_bytes=2 * 10**9)
dropped = result.filters
print(result.peak_memory_bytes, result.read["bytes"], result.kept["bytes"], dropped["duplicate_line"]["lines"],
      dropped["near_duplicate"]["documents"], result.megabytes_per_second)
"""


@pytest.mark.slow
def test_a_gigabyte_passes_in_the_memory_that_fifty_megabytes_need(tmp_path: Path) -> None:
    peaks = []
    for megabytes in (50, 1000):
        folder = tmp_path / str(megabytes)
        folder.mkdir()
        command = [sys.executable, "-c", GENERATE_AND_BUILD, str(folder), str(megabytes)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        peak, read, kept, duplicates, near, speed = map(float, run.stdout.split())
        print(f"{megabytes} MB: peak {peak / 2**20:.0f} MiB, {speed} MB/s")
        assert read > megabytes * 10**6
        assert kept > 0.6 * read
        assert duplicates > 10 * megabytes
        assert near > megabytes
        (folder / "text.txt").unlink()
        peaks.append(peak)
    assert peaks[1] < 1e9
    assert peaks[1] < peaks[0] + 200e6
