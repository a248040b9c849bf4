"""Damaged input of every reader: each row arrives or is counted, or an error of our own says what is wrong.

LANGLIFT_MUTATIONS is the number of inputs over all readers.
"""

import csv
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from langlift.corpus.leakage import read_evaluation_sets
from langlift.corpus.pipeline import DroppedText, Pipeline, in_batches
from langlift.corpus.text_data import texts_to_score
from langlift.corpus.text_files import iterate_lines, stream_documents
from langlift.errors import InputError
from langlift.graph.source_files import SourceFile, Tally
from langlift.graph.triples import column_names, read_triples
from langlift.languages import find_language
from langlift.progress import progress_to
from langlift.studies.study_file import read_study
from langlift.tasks.conllu import parse_conllu
from langlift.tasks.input_rows import read_rows, read_word_rows
from langlift.tasks.learner import Reading
from langlift.tasks.ner import bio_tags, read_conll
from langlift.tasks.task import TASKS, task_recipe
from langlift.training.encoding import encode
from langlift.vocab.tokenizer_training import train_unigram_tokenizer

FEW, MANY = 600, 100_000
MALTESE = find_language("mlt")
SENTENCES = [
    "Il-qattus raqad fuq is-siġġu.", 'Qalet "iva" u telqet.', "Mhux magħluq \"hawn", "Xita fl-Għawdex, xemx Malta",
    "الطقس جميل اليوم", "ትናንት ዘነበ", "👩‍👩‍👧 ferħanin",
]  # fmt: skip
ODD = [
    *(
        "\t",
        " ",
        "  ",
        '"',
        '""',
        ",",
        "\n",
        "\n\n",
        "\r",
        "\r\n",
        "\0",
        "\ufeff",
        "\u2028",
        "\x85",
        "\x0c",
        "\xa0",
    ),
    "\x1c",
    *("#", "# ", "_", "-", "1", "0", "1-2", "2.1", "O", "B-PER", "I-LOC", "-DOCSTART-", "{", "}", "[", "]", ":"),
    *("null", "\\ud800", "\\u0000", "'", "<b>", "<!--", "&", "*a", "!!x ", "- ", "1e999", "NaN", "sw:", "\\"),
]


def objects(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


TREE = """\
# sent_id = 1
# text = Toni mar.
1 Toni toni PROPN _ _ 2 nsubj _ _
2-3 mar. _ _ _ _ _ _ _ _
2 mar mar VERB _ _ 0 root _ _
2.1 _ _ _ _ _ _ _ _ _
3 . . PUNCT _ _ 2 punct _ _

""".replace(" ", "\t").replace("#\t", "# ")
SETTINGS = """\
task:
  epochs: 3
  seeds: [1, 2]
  ner:
    columns: [1, 2]
    full:
      learning_rate: 1e-5
"""
STUDY = """\
name: x
base: langlift-nano
languages: [Maltese]
data:
  text: bundled:mlt_Latn.txt
axes:
  data: [text]
  method: [seq_bn, lora]
  seed: [1, 2]
score: {text: text, sentences: 20}
adapt: {steps: 60}
"""
CORPUS = "\n\n<b>Iva</b> &amp; le [[File:x.png]]\n<!-- xejn\n-->\n\n".join(["\n".join(SENTENCES)] * 2)
UNQUOTED = [sentence.replace('"', "") for sentence in SENTENCES]
TRIPLES = [("qattus", "IsA", "annimal", "2.0"), ("kelb", "Desires", "ħobż", "1"), ("xita", "IsA", "ilma", "")]
SEEDS = {
    "labelled.tsv": ["category\ttext\n" + "".join(f"{'ab'[i % 2]}\t{s}\n" for i, s in enumerate(SENTENCES))],
    "labelled.csv": ["category,text\n" + "".join(f'{"ab"[i % 2]},"{s}"\n' for i, s in enumerate(UNQUOTED))],
    "labelled.jsonl": [objects(*({"text": s, "label": "ab"[i % 2]} for i, s in enumerate(SENTENCES)))],
    "rows.tsv": ["text\n" + "\n".join(SENTENCES), "id\ttext\n1\tIva\n2\tLe\n", 'text\nIva\n\n""\nLe\n'],
    "rows.txt": ["\n".join(SENTENCES)],
    "words.conll": [
        "# id 1\nToni B-PER\nBorg I-PER\nmar O\n\n-DOCSTART- O\n\nMalta B-LOC\n#mare O\n",
        "1\tToni\tO\tB-PER\n2\tmar\tO\tO\n\n1\tMalta\tB-LOC\tB-LOC\n",
        "sw:Juma S-PER\nsw:Ali E-PER\n",
    ],
    "tree.conllu": [TREE + TREE],
    "scored.jsonl": [objects(*({"text": text, "document": i} for i, text in enumerate(SENTENCES)), {"text": " "})],
    "set.jsonl": [objects(*({"text": text} for text in SENTENCES), {"tokens": ["Iva", "le"]})],
    "set.csv": ["id,text\n" + "".join(f"{i},{text}\n" for i, text in enumerate(SENTENCES))],
    "triples.tsv": ["head\trelation\ttail\tweight\n" + "".join("\t".join(row) + "\n" for row in TRIPLES)],
    "triples.csv": ["head,relation,tail,weight\n" + "".join(",".join(row) + "\n" for row in TRIPLES)],
    "triples.jsonl": [objects(*(dict(zip(("head", "relation", "tail"), row, strict=False)) for row in TRIPLES))],
    "corpus.txt": [CORPUS],
    "tokens.txt": ["\n".join(SENTENCES)],
    "settings.yaml": [SETTINGS],
    "study.yaml": [STUDY],
}


def mutated(content: str, rng: random.Random) -> bytes:
    """A few edits, of lines, of characters or of bytes."""
    for _ in range(rng.randint(1, 3)):
        lines = content.split("\n")
        at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        place = rng.randrange(len(content) + 1)
        match rng.randrange(6):
            case 0:
                lines[at], lines[other] = lines[other], lines[at]
                content = "\n".join(lines)
            case 1:
                content = "\n".join([*lines[:at], *lines[at + 1 :]])
            case 2:
                content = "\n".join([*lines[:at], lines[other], *lines[at:]])
            case 3:
                content = content[:place] + content[place + rng.randint(1, 4) :]
            case _:
                content = content[:place] + rng.choice(ODD) + content[place:]
    raw = content.encode()
    if rng.random() < 0.1:
        raw = raw[: rng.randrange(len(raw) + 1)]
    if rng.random() < 0.05:
        place = rng.randrange(len(raw) + 1)
        raw = raw[:place] + bytes([rng.randrange(256)]) + raw[place:]
    return raw


def filled(path: Path) -> list[str]:
    return [line for line in iterate_lines(path) if line.strip()]


def check_labelled(path: Path) -> None:
    learner: Any = TASKS["topic"].learner
    rows = list(learner._rows(learner.open(str(path)).table, "train", Reading(strict=False)))
    if path.suffix == ".csv":
        header, *lines = (f"{line}\n" for line in iterate_lines(path))
        delimiter = max(",;\t", key=header.count)
        wanted = sum(bool(row) for row in csv.reader([header, *lines], delimiter=delimiter, strict=True)) - 1
    elif path.suffix == ".jsonl":
        wanted = len(filled(path))
    else:
        wanted = sum(bool(line) for line in iterate_lines(path)) - 1
    assert len(rows) == wanted
    assert all(item.input and item.gold for item in rows)


def check_rows(path: Path) -> None:
    rows = list(read_rows(path))
    raw = path.read_bytes().decode("utf-8").removeprefix("\ufeff").split("\n")
    if path.suffix == ".tsv":
        assert len(rows) == sum(bool(line.rstrip("\r")) for line in raw) - 1
    else:
        assert [row["text"] for row in rows] == [line.strip() for line in raw if line.strip()]


def check_words(path: Path) -> None:
    repaired: Counter[str] = Counter()
    sentences = list(read_conll(path, lambda kind: repaired.update([kind])))
    lines = [line for line in filled(path) if not line.startswith("-DOCSTART-")]
    comments = sum(line.startswith("#") for line in lines)
    words = [word for one in sentences for word in one.input]
    assert len(lines) - comments <= len(words) <= len(lines)
    assert all(len(one.input) == len(one.gold) for one in sentences)
    assert repaired["numbered"] <= len(words) and repaired["prefixed"] <= len(words)
    for one in sentences:
        assert len(bio_tags(one, "train", Reading(strict=False))) == len(one.input)


def check_words_to_label(path: Path) -> None:
    words = [word for _, of_sentence in read_word_rows(path) for word in of_sentence]
    lines = path.read_bytes().decode("utf-8").removeprefix("\ufeff").split("\n")
    lines = [line for line in lines if line.strip() and not line.startswith("-DOCSTART-")]
    assert len(lines) - sum(line.startswith("#") for line in lines) <= len(words) <= len(lines)


def check_trees(path: Path) -> None:
    sentences = list(parse_conllu(iterate_lines(path), str(path)))
    assert [line for one in sentences for line in one.lines] == [line for line in iterate_lines(path) if line]
    for one in sentences:
        assert len(one.words) == len(one.rows) > 0 and len(one.heads) in (0, len(one.words))


def check_scored(path: Path) -> None:
    path.replace(path.with_name("test.jsonl"))
    texts = texts_to_score(path.parent)
    lines = filled(path.with_name("test.jsonl"))
    assert len(texts) == sum(bool(json.loads(line)["text"].strip()) for line in lines)


def check_evaluation_set(path: Path) -> None:
    sets = read_evaluation_sets([path], "Latn")
    assert sets is not None and sets.sentences > 0


def check_triples(path: Path) -> None:
    tally = Tally()
    with SourceFile(path) as file:
        edges = list(read_triples(file, "mlt_Latn", column_names(None), tally))
    raw = path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    lines = [line for line in raw.split("\n") if line.strip()]
    empty = sum(not line.strip(' ,"\r') for line in lines) if path.suffix == ".csv" else 0
    header = path.suffix != ".jsonl"
    assert len(edges) + tally.damaged == tally.rows
    assert len(lines) - empty - header <= tally.rows <= len(lines) - header


def check_corpus(path: Path) -> None:
    dropped = DroppedText(0)
    pipeline = Pipeline(MALTESE, 400, dropped)
    written = [one for batch in in_batches(stream_documents(path)) for one in pipeline.process(batch)]
    assert pipeline.read.lines == len(filled(path))
    assert pipeline.kept.lines == sum(map(len, written))
    for unit in ("documents", "lines", "bytes"):
        gone = sum(drop[unit] for drop in dropped.counts().values())
        assert getattr(pipeline.read, unit) == getattr(pipeline.kept, unit) + gone


def check_tokens(path: Path, tokenizer: Any) -> None:
    texts = [line.strip() for line in filled(path)]
    rows = encode(tokenizer, texts, 12, str(path))
    whole = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    special = set(tokenizer.all_special_ids)
    found = [int(token) for row in rows for token in row.ids if int(token) not in special]
    assert found == [token for ids in whole for token in ids if token not in special]


def check_settings(path: Path) -> None:
    recipe = task_recipe("ner", config=path)
    assert recipe.epochs >= 1 and len(recipe.columns) in (0, 2)


CHECKS: dict[str, Callable[..., object]] = {
    "labelled.tsv": check_labelled, "labelled.csv": check_labelled, "labelled.jsonl": check_labelled,
    "rows.tsv": check_rows, "rows.txt": check_rows,
    "words.conll": check_words, "tree.conllu": check_trees, "scored.jsonl": check_scored,
    "set.jsonl": check_evaluation_set, "set.csv": check_evaluation_set, "triples.tsv": check_triples,
    "triples.csv": check_triples, "triples.jsonl": check_triples, "corpus.txt": check_corpus,
    "tokens.txt": check_tokens, "settings.yaml": check_settings, "study.yaml": read_study,
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(maltese_lines: list[str]) -> Any:
    return train_unigram_tokenizer(maltese_lines, vocabulary_size=600, model_max_length=64)


def run(name: str, count: int, folder: Path, tokenizer: Any) -> Counter[str]:
    """Whether the inputs were read or refused; anything else fails with the input."""
    outcomes: Counter[str] = Counter()
    further = (tokenizer,) if name == "tokens.txt" else ()
    checks = [CHECKS[name], *([check_words_to_label] if name == "words.conll" else [])]
    with progress_to(lambda *report: None):
        for number in range(count):
            rng = random.Random(f"{name} {number}")
            raw = mutated(rng.choice(SEEDS[name]), rng)
            for check in checks:
                (folder / name).write_bytes(raw)
                try:
                    check(folder / name, *further)
                    outcomes["read"] += 1
                except InputError as refusal:
                    assert "\n" not in refusal.message and refusal.hint, (number, raw)
                    outcomes["refused"] += 1
                except Exception as error:
                    raise AssertionError(f"{name}, input {number}: {error!r}\n{raw!r}") from error
    return outcomes


@pytest.mark.parametrize("many", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SEEDS)
def test_every_row_arrives_or_is_counted_or_refused(name: str, many: bool, tmp_path: Path, tokenizer: Any) -> None:
    count = int(os.environ.get("LANGLIFT_MUTATIONS", MANY if many else FEW)) // len(SEEDS)
    outcomes = run(name, count, tmp_path, tokenizer)
    assert outcomes["read"] and outcomes.total() >= count
