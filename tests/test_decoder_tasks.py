"""Tasks on a decoder end to end: words are labelled where they have been seen whole, padding changes nothing."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MALTESE

from langlift.backbones.loading import load_model, load_tokenizer
from langlift.languages import find_language
from langlift.tasks.tagging import WordEncoder
from langlift.training.adaptation import adapt
from langlift.training.recipes import AdaptRecipe

NAMES, OTHERS = ("Zqxava", "Zqxeva"), ("Zqxavo", "Zqxevo")
"""They differ in their last letter alone, which a decoder has not seen at a word's first token."""
QUICK = ("--seeds", "1", "--lr", "1e-2", "--precision", "float32", "--json")


@pytest.fixture(scope="module")
def llama(tiny_decoders: dict[str, Path]) -> Path:
    return tiny_decoders["llama"]


@pytest.fixture(scope="module")
def left_padded(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model, whose tokenizer pads on the left, as those of many decoders do."""
    folder = tmp_path_factory.mktemp("left") / "llama"
    shutil.copytree(llama, folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "padding_side": "left"}), encoding="utf-8")
    assert load_tokenizer(str(folder)).padding_side == "left"
    return folder


@pytest.fixture(scope="module")
def ner_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences of different lengths; a name is told by its last letter alone."""
    folder, random = tmp_path_factory.mktemp("ner"), np.random.default_rng(0)
    for split, count in (("train", 48), ("dev", 12), ("test", 16)):
        sentences = []
        for _ in range(count):
            words = [str(random.choice([*NAMES, *OTHERS, "mar", "Illum"])) for _ in range(random.integers(3, 9))]
            sentences.append("\n".join(f"{word} {'B-PER' if word in NAMES else 'O'}" for word in words))
        (folder / f"{split}.conll").write_text("\n\n".join(sentences) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def sentiment_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that differ in their words, in texts of different lengths."""
    folder = tmp_path_factory.mktemp("sentiment")
    words = {"positive": ["tajjeb", "sabiħ"], "negative": ["ħażin", "ikrah"]}
    for split, count in (("train", 40), ("dev", 10), ("test", 12)):
        rows = ["label\ttext"]
        for i in range(count):
            label = ("negative", "positive")[i % 2]
            rows.append(f"{label}\tIl-film kien {words[label][i % 4 // 2]}{' ħafna' * (i % 5)} {i}.")
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def adapters(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two causal language adapters, one with an invertible block."""
    folder = tmp_path_factory.mktemp("adapters")
    for method in ("seq_bn_inv", "seq_bn"):
        recipe = AdaptRecipe(objective="causal", method=method, steps=3, batch_size=4, max_tokens=48)
        adapt(find_language("mlt"), str(llama), MALTESE, folder / method, recipe)
    return [folder / "seq_bn_inv", folder / "seq_bn"]


def ner(langlift: Any, base: Path, data: Path, out: Path, *more: object) -> dict[str, Any]:
    run = langlift(
        "task", "ner", "--base", base, "--data", data, "--out", out, *QUICK, "--set", "epochs=16",
        "--set", "batch_size=8", "--set", "reduction_factor=2", "--set", "path=naive", *more,
    )  # fmt: skip
    assert run.code == 0, run.err
    return dict(run.json)


def test_a_word_is_labelled_where_it_has_been_seen_whole(
    langlift: Any, llama: Path, left_padded: Path, ner_folder: Path, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(str(llama))
    pieces = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in (NAMES[0], OTHERS[0])]
    assert pieces[0][0] == pieces[1][0] and pieces[0] != pieces[1]
    last = ner(langlift, llama, ner_folder, tmp_path / "last")
    first = ner(langlift, llama, ner_folder, tmp_path / "first", "--set", "pooling=first")
    assert last["mean"] > 85 > first["mean"] + 10, "at its first token a name is a guess: F1 67 at most"
    # On which side the tokenizer would pad is all the same.
    assert ner(langlift, left_padded, ner_folder, tmp_path / "left")["mean"] == last["mean"]
    rows = [(tmp_path / run / "seed-1" / "test_predictions.jsonl").read_bytes() for run in ("left", "last")]
    assert rows[0] == rows[1]
    text = tmp_path / "text.txt"
    text.write_text(f"Illum {NAMES[0]} mar\n", encoding="utf-8")
    predicted = langlift("predict", tmp_path / "left", "--text", text, "--out", tmp_path / "p.jsonl")
    assert predicted.code == 0, predicted.err
    assert json.loads((tmp_path / "p.jsonl").read_text())["tags"] == ["O", "B-PER", "O"]


def test_where_every_token_has_a_label_the_last_one_is_the_words(llama: Path) -> None:
    model, tokenizer = load_model(str(llama), head_needed=False), load_tokenizer(str(llama))
    for at_end, deciding in ((False, [0, 2]), (True, [1, 4])):
        encoder = WordEncoder(tokenizer, model, 48, "every", at_end=at_end)
        assert encoder.deciding_tokens([2, 3]).tolist() == deciding
    encoded = WordEncoder(tokenizer, model, 48, "last").encode([["Illum", NAMES[0]]], [[5, 7]]).examples[0]
    places = np.flatnonzero(encoded["labels"] >= 0)
    assert encoded["labels"][places].tolist() == [5, 7] and places[-1] == len(encoded["input_ids"]) - 1


def test_sentiment_on_a_causal_language_adapter(
    langlift: Any, llama: Path, left_padded: Path, sentiment_folder: Path, adapters: list[Path], tmp_path: Path
) -> None:
    found = []
    for name, base in (("right", llama), ("left", left_padded)):
        run = langlift(
            "task", "sentiment", "--base", base, "--language-adapter", adapters[0], "--data", sentiment_folder,
            "--out", tmp_path / name, *QUICK, "--set", "epochs=12", "--set", "batch_size=8", "--set", "path=naive",
        )  # fmt: skip
        assert run.code == 0, run.err
        found.append((tmp_path / name / "seed-1" / "test_predictions.jsonl").read_bytes())
        assert run.json["mean"] > 80
    assert found[0] == found[1]
    assert json.loads((tmp_path / "left/seed-1/head.json").read_text())["pooling"] == "last"


def test_entities_on_the_fusion_of_causal_adapters(
    langlift: Any, llama: Path, ner_folder: Path, adapters: list[Path], tmp_path: Path
) -> None:
    run = langlift(
        "fuse", *adapters, "--base", llama, "--task", "ner", "--data", ner_folder, "--out", tmp_path / "r", *QUICK,
        "--set", "epochs=16", "--set", "batch_size=8", "--set", "reduction_factor=2",
    )  # fmt: skip
    assert run.code == 0, run.err
    assert run.json["mean"] > 85
    attention = run.json["report"]["fusion_attention"]
    assert len(attention) == 2 and all(len(layers) == 2 for layers in attention.values())
    assert sum(layers[0] for layers in attention.values()) == pytest.approx(1, abs=1e-3)
    text = tmp_path / "text.txt"
    text.write_text(f"Illum {NAMES[0]} mar\n", encoding="utf-8")
    predicted = langlift("predict", tmp_path / "r", "--text", text, "--out", tmp_path / "p.jsonl")
    assert predicted.code == 0, predicted.err
