"""The leak check: no evaluation sentence gets into training text, whatever file it comes from."""

import json
from pathlib import Path

import pytest
import regex
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langlift.corpus.fingerprints import as_arrays
from langlift.corpus.leakage import read_evaluation_sets
from langlift.errors import InputError

fuzzing = settings(
    derandomize=True, deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SENTENCE = "Il-bomba tal-fissjoni taħdem fuq il-prinċipju li tittieħed l-enerġija."
WORDS = ["il-", "Qattus", "l-għażla", "kelb,", "ħobż", "ta'", "IL", "."]
sentence = st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join)


def leaks(path: Path, lines: list[str], script: str = "Latn") -> list[int]:
    sets = read_evaluation_sets([path], script)
    assert sets is not None
    return sets.leaks(as_arrays(lines)).tolist()


def words_of(text: str) -> list[str]:
    """The stretches of letters, marks and digits, without case."""
    return regex.findall(r"[\p{L}\p{M}\p{N}]+", text.lower())


def leaks_by_the_book(line: list[str], sentences: list[list[str]]) -> bool:
    def runs(words: list[str], size: int) -> set[tuple[str, ...]]:
        return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}

    return any(
        "".join(line) == "".join(sentence)
        or (len(sentence) >= 6 and tuple(sentence) in runs(line, len(sentence)))
        or runs(line, 8) & runs(sentence, 8)
        for sentence in sentences
        if sentence
    )


@fuzzing
@given(sentences=st.lists(sentence, min_size=1, max_size=4), lines=st.lists(sentence, min_size=1, max_size=8))
def test_a_line_leaks_as_the_rules_say(tmp_path: Path, sentences: list[str], lines: list[str]) -> None:
    path = tmp_path / "test.txt"
    path.write_text("\n".join([*sentences, "Sentenza oħra."]), encoding="utf-8")
    wanted = [leaks_by_the_book(words_of(line), [words_of(text) for text in sentences]) for line in lines]
    assert [file >= 0 for file in leaks(path, lines)] == wanted


@pytest.mark.parametrize("suffix", [".txt", ".conll", ".conllu"])
def test_tokenised_sentences_are_met_inside_paragraphs(tmp_path: Path, suffix: str) -> None:
    """As treebanks write them: articles, apostrophes and punctuation cut off, with the hyphen or beside it."""
    tokens = ["Il-", "bomba", "tal-", "fissjoni", "taħdem", "fuq", "il", "-", "prinċipju", "l-", "kbir", "."]
    content = {
        ".txt": " ".join(tokens),
        ".conll": "\n".join(f"{token} O" for token in tokens),
        ".conllu": "\n".join(f"{i}\t{token}\t_" for i, token in enumerate(tokens, 1)),
    }
    path = tmp_path / f"set{suffix}"
    path.write_text(content[suffix] + "\n\n", encoding="utf-8")
    paragraph = "Qabel: il-bomba tal-fissjoni taħdem fuq il-prinċipju l-kbir. Wara ġew oħrajn."
    part = "U l-bomba tal-fissjoni taħdem fuq il-prinċipju l-ieħor."
    assert leaks(path, [paragraph, part, "Il-bomba tal-fissjoni ma taħdimx hekk."]) == [0, 0, -1]


def write_everywhere(folder: Path) -> list[Path]:
    """The sentence in every kind of file."""
    words = SENTENCE.split()
    contents = {
        "plain.txt": f"Oħra hawn.\n{SENTENCE}\n",
        "quoted.tsv": f'index_id\tcategory\ttext\n1\tscience\t"{SENTENCE}"\n',
        "unquoted.tsv": f'label\ttext\nnegative\t"mhux magħluq\npositive\t{SENTENCE}\n',
        "quoted.csv": f'id,text\n1,"{SENTENCE}, iva"\n',
        "open.CSV": f'id,text\n1,"mhux magħluq\n2,"{SENTENCE}"\n' + "x" * 140_000 + "\n",
        "multiline.csv": 'text\n"' + SENTENCE.replace(" fuq", '\n""fuq""') + '"\n',
        "whole.json": json.dumps([{"data": {"text": SENTENCE}}], indent=2),
        "upper.TXT": SENTENCE,
        "multiline.tsv": 'text\n"' + SENTENCE.replace(" fuq", '\n""fuq""') + '"\n',
        "objects.jsonl": json.dumps({"id": 3, "inner": [{"text": SENTENCE}]}) + "\n",
        "words.jsonl": json.dumps({"tokens": words}) + "\n",
        "tagged.conll": "\n".join(f"{word} O" for word in words) + "\n\nTmiem O\n",
        "prefixed.conll": "\n".join(f"mt:{word} O" for word in words) + "\n\nmt:Tmiem O\n",
        "numbered.conll": "# id 1\n" + "\n".join(f"{i}\t{word}\tO" for i, word in enumerate(words, 1)) + "\n",
        "tree.conllu": "# sent_id = 1\n" + "\n".join(f"{i}\t{w}\t_\t_" for i, w in enumerate(words, 1)) + "\n\n",
        "text.conllu": f"# text = {SENTENCE}\n1\tIl\t_\n\n",
    }
    for name, content in contents.items():
        (folder / name).write_text(content, encoding="utf-8")
    return [folder / name for name in contents]


def test_every_kind_of_file_is_read(tmp_path: Path) -> None:
    for path in write_everywhere(tmp_path):
        found = leaks(
            path,
            ["Dan hu test ieħor, u xejn aktar minn hekk illum.", SENTENCE.upper() + "!", f"Ara: {SENTENCE} Iva."],
        )
        assert found == [-1, 0, 0], path.name


def test_folders_are_read_recursively_and_the_file_is_named(tmp_path: Path) -> None:
    inner = tmp_path / "sets" / "mlt"
    inner.mkdir(parents=True)
    (inner / "b.txt").write_text(SENTENCE, encoding="utf-8")
    (inner / "a.tsv").write_text("id\ttext\n1\tXi ħaġa oħra.\n", encoding="utf-8")
    (inner / "notes.md").write_text("not read", encoding="utf-8")
    (inner / ".hidden").write_text("not named", encoding="utf-8")
    sets = read_evaluation_sets([tmp_path / "sets"], "Latn")
    assert [file.name for file in sets.files] == ["a.tsv", "b.txt"]
    assert [file.name for file in sets.skipped] == ["notes.md"]
    assert sets.sentences == 5
    assert leaks(tmp_path / "sets", [SENTENCE]) == [1]


def test_scripts_without_spaces_are_compared_by_characters(tmp_path: Path) -> None:
    path = tmp_path / "test.txt"
    thai = "ภาษาไทยเป็นภาษาราชการของประเทศไทยและเป็นภาษาที่คนส่วนใหญ่ใช้"
    path.write_text(thai, encoding="utf-8")
    assert leaks(path, [f"เขากล่าวว่า{thai[:40]}แล้ว", thai[:12] + "ดี", thai], "Thai") == [0, -1, 0]


def test_no_set_is_no_check() -> None:
    assert read_evaluation_sets([], "Latn") is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.txt", None, "no such file or folder"),
        ("set.pdf", b"%PDF", "a file of an unsupported kind"),
        ("empty.txt", b"\n\n", "no evaluation sentence"),
        ("bad.txt", b"tajjeb\n\xff\n", "bad.txt:2: not valid UTF-8"),
        ("bad.jsonl", b'{"text": "x"}\n{', "bad.jsonl:2: not valid JSON"),
        ("bad.json", b'{"text": "x"', "bad.json: not valid JSON"),
        ("folder", "folder", "no evaluation file in it"),
    ],
)
def test_errors_name_the_place(tmp_path: Path, name: str, content: object, message: str) -> None:
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as refusal:
        read_evaluation_sets([path], "Latn")
    assert refusal.value.hint


@fuzzing
@given(
    raw=st.binary(max_size=80),
    suffix=st.sampled_from([".txt", ".tsv", ".csv", ".jsonl", ".json", ".conll", ".conllu"]),
)
def test_any_bytes_are_a_set_or_a_refusal(tmp_path: Path, raw: bytes, suffix: str) -> None:
    path = tmp_path / f"set{suffix}"
    path.write_bytes(raw)
    try:
        assert read_evaluation_sets([path], "Latn") is not None
    except InputError as refusal:
        assert str(path) in refusal.message
