"""What the package ships: the base models, their tokenizers and the Maltese sample."""

import dataclasses
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
import torch
from conftest import MALTESE
from safetensors.torch import load_file
from test_release import module

from langlift.backbones.eight_bits import EIGHT_BITS
from langlift.backbones.loading import load_masked_model, load_tokenizer, longest_input, model_location
from langlift.bundled_models import BUNDLED, DEFAULT_BASE, MINI, NANO, BundledModel
from langlift.corpus.text_data import load_text_data
from langlift.demonstration import GAP_SENTENCES, GAP_WORDS, MEANINGS, TEST_SENTENCES
from langlift.errors import InputError
from langlift.evaluation.gap_filling import frequent_words, gaps_in
from langlift.evaluation.pseudo_perplexity import score_sentences
from langlift.graph.building import build_graph
from langlift.language_facts import base_languages
from langlift.languages import find_language
from langlift.reports.demo_page import GAPS_SHOWN
from langlift.tasks.task import TASKS

TOPIC, GRAPH = MALTESE.with_name("mlt_Latn_topic"), MALTESE.with_name("mlt_Latn_graph.tsv")


def test_nano_is_small_half_precision_and_loads_as_float32() -> None:
    folder = Path(model_location(NANO))
    stored = load_file(folder / "model.safetensors")
    assert {t.dtype for t in stored.values()} == {torch.float16}
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 20_000_000
    model = load_masked_model(NANO)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.config.model_type == "xlm-roberta"
    assert (model.config.num_hidden_layers, model.config.hidden_size) == (6, 256)
    assert longest_input(model, load_tokenizer(NANO)) == 256


def test_mini_is_small_and_named_wherever_it_must_be() -> None:
    folder = Path(model_location(MINI))
    assert {path.name for path in folder.iterdir()} == {
        EIGHT_BITS, "README.md", "config.json", "tokenizer.json", "tokenizer_config.json"
    }  # fmt: skip
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 45_000_000
    model = load_masked_model(MINI)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.config.model_type == "bert"
    assert (model.config.num_hidden_layers, model.config.hidden_size) == (12, 384)
    assert longest_input(model, load_tokenizer(MINI)) == 512
    assert DEFAULT_BASE == MINI
    assert f"langlift/bundled/{MINI}/{EIGHT_BITS}" in module("release").NEEDED
    assert MINI in base_languages()


def test_a_bundled_model_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, langlift
) -> None:
    monkeypatch.setitem(BUNDLED, MINI, BundledModel(tmp_path / MINI, "mini"))
    for load in (model_location, load_masked_model, load_tokenizer):
        with pytest.raises(InputError, match="langlift-mini: does not come with this version") as error:
            load(MINI)
        assert error.value.hint.startswith(f"give '{DEFAULT_BASE}', a folder")
    result = langlift("adapt", "mlt", "--base", MINI, "--data", MALTESE, "--out", tmp_path / "out", "--json")
    assert result.code == 2 and "does not come with this version" in result.error["error"]
    assert not (tmp_path / "out").exists()


def test_nanos_tokenizer_spells_what_it_does_not_know() -> None:
    tokenizer = load_tokenizer(NANO)
    assert len(tokenizer) == 16_000
    for text in ("Il-baħar kien kalm.", "ሰላም ለዓለም", "ᓄᓇᕗᑦ 👋", "Привет, мир!"):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_nano_has_learned_its_languages() -> None:
    model, tokenizer = load_masked_model(NANO), load_tokenizer(NANO)
    right = score_sentences(model, tokenizer, ["The children went to school early in the morning."])
    wrong = score_sentences(model, tokenizer, ["School the to early children the in went morning."])
    assert right.pseudo_perplexity < 0.8 * wrong.pseudo_perplexity, "word order must matter to it"
    assert right.byte_share == 0


def test_the_maltese_sample_is_varied_running_text(maltese_lines: list[str]) -> None:
    assert len(maltese_lines) >= 400
    assert len(set(maltese_lines)) == len(maltese_lines)
    text = MALTESE.read_text(encoding="utf-8")
    assert unicodedata.is_normalized("NFC", text)
    openings = {" ".join(line.split()[:3]) for line in maltese_lines}
    assert len(openings) > 0.97 * len(maltese_lines), "no templates"
    data = load_text_data(MALTESE)
    assert len(data.test) >= 40 and len(data.dev) >= 40
    assert sorted(data.train + data.dev + data.test) == sorted(maltese_lines)


def test_a_short_demo(langlift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from langlift import demonstration

    monkeypatch.setattr(demonstration, "DEFAULT_BASE", NANO)  # the slow test runs the whole with the real one
    adapter_recipe, task_recipe = demonstration.resolve, demonstration.task_recipe
    monkeypatch.setattr(
        demonstration,
        "resolve",
        lambda *given, **options: dataclasses.replace(
            adapter_recipe(*given, **options), steps=10, validate_every=10, batch_size=8, validation_examples=8
        ),
    )
    monkeypatch.setattr(
        demonstration,
        "task_recipe",
        lambda *given, **options: dataclasses.replace(
            task_recipe(*given, **options), epochs=1, train_examples=16, validation_examples=16, seeds=(1, 2)
        ),
    )
    monkeypatch.setattr(
        demonstration, "score_sentences", lambda m, t, texts, **given: score_sentences(m, t, texts[:4], **given)
    )
    monkeypatch.setattr(demonstration, "GAP_WORDS", 10)
    monkeypatch.setattr(demonstration, "gaps_in", lambda *given: gaps_in(*given)[:2])
    result = langlift("demo", "--out", tmp_path / "demo", "--json")
    assert result.code == 0, result.err
    assert {"language", "seconds", "pppl_per_character", "topic_f1", "report"} <= result.json.keys()
    assert result.json["base"] == NANO
    values = result.json["pppl_per_character"]
    assert list(values) == ["base", "seq_bn"]
    assert values["seq_bn"] < values["base"]
    topic = result.json["topic_f1"]
    for condition in ("task_only", "stacked"):
        assert {"mean", "std"} <= topic[condition].keys() and len(topic[condition]["seeds"]) == 2
    means = {"alone": topic["task_only"]["mean"], "stacked": topic["stacked"]["mean"]}
    assert result.json["topic"] == means | topic["baseline"]
    assert topic["baseline"].keys() == {"tfidf", "majority"}
    gaps = result.json["gaps"]
    assert len(gaps) == 2
    assert result.json["by_frequency"]["filled_right"] <= len(gaps)
    for name in values:
        ranks = [gap["rank"][name] for gap in gaps]
        assert result.json["mean_rank"][name] == sum(ranks) / 2
        assert result.json["filled_right"][name] == ranks.count(1)
        for gap in gaps:
            shares = [guess["probability"] for guess in gap["guesses"][name]]
            assert shares == sorted(shares, reverse=True) and len(shares) == 3
            first = gap["guesses"][name][0]["word"] == gap["answer"]
            assert first == (gap["rank"][name] == 1)
    page = Path(result.json["report"]).read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert f"{values['base']:.2f}" in page, "the chart shows the measured value"
    outside = re.findall(r"(?:src|href)=.?https?://|<script|<link", page)
    assert outside == [], "the page must open offline"
    again = langlift("demo", "--out", tmp_path / "demo")
    assert again.code == 0
    order = [again.out.index(part) for part in ("Filling gaps", "Classifying topics", "Surprise", "report.html")]
    assert order == sorted(order)
    assert all(verdict["text"] in " ".join(again.out.split()) for verdict in result.json["verdicts"].values())
    assert f"langlift adapt Welsh --base {NANO}" in again.out
    assert langlift("demo", "--out", tmp_path / "demo", "--seed", 7).code == 2, "another seed is another run"


@pytest.mark.slow
def test_the_whole_demo(langlift, tmp_path: Path) -> None:
    result = langlift("demo", "--out", tmp_path / "demo", "--json")
    assert result.code == 0, result.err
    values = result.json["pppl_per_character"]
    assert values["seq_bn"] < 0.9 * values["base"]
    topic = result.json["topic_f1"]
    assert max(topic["task_only"]["mean"], topic["stacked"]["mean"]) > topic["baseline"]["tfidf"]
    assert result.json["verdicts"]["surprise"]["win"]


def test_what_the_demo_says_of_the_base_and_shows_is_true() -> None:
    assert "mlt_Latn" not in base_languages()[DEFAULT_BASE], (
        "the demo says that it never learned to predict Maltese words"
    )
    data = load_text_data(MALTESE)
    gaps = gaps_in(data.test[:TEST_SENTENCES], frequent_words(data.train, GAP_WORDS), *GAP_SENTENCES)
    sentences = [gap.before + gap.answer + gap.after for gap in gaps]
    assert len(gaps) >= 30, "enough for a mean"
    assert set(sentences) <= set(data.test) and len(set(sentences)) == len(gaps)
    assert sentences[:GAPS_SHOWN] == list(MEANINGS), "what is shown first has its meaning beside it"


def test_the_topic_set_is_balanced_varied_and_ours() -> None:
    data = TASKS["topic"].learner.read(str(TOPIC), None, strict=False)
    splits = (data.train, data.dev, data.test)
    counts = Counter(label for split in splits for label in split.gold)
    assert len(counts) == 7 and min(counts.values()) >= 60
    texts = [text for split in splits for text in split.inputs]
    assert len(set(texts)) == len(texts)
    assert all(unicodedata.is_normalized("NFC", text) for text in texts)
    openings = {" ".join(text.split()[:3]) for text in texts}
    assert len(openings) > 0.97 * len(texts), "no templates"


@pytest.mark.data
def test_no_topic_sentence_is_taken_from_public_data(data_folder: Path) -> None:
    def runs(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"\w+", text.casefold())
        return {tuple(words[i : i + 8]) for i in range(len(words) - 7)}

    sources = [data_folder / "corpus" / "mlt_Latn.txt", data_folder / "eval" / "flores_text" / "mlt_Latn.txt"]
    public = set().union(*(runs(line) for file in sources for line in file.open(encoding="utf-8")))
    data = TASKS["topic"].learner.read(str(TOPIC), None, strict=False)
    splits = (data.train, data.dev, data.test)
    assert not [text for split in splits for text in split.inputs if runs(text) & public]


def test_the_triples_are_conceptnet_edges_over_many_relations(tmp_path: Path) -> None:
    result = build_graph(find_language("mlt"), [f"conceptnet:{GRAPH}"], tmp_path / "graph")
    assert result.kept == result.rows >= 250, "every row is a usable edge"
    assert len(result.relations) >= 8 and min(result.relations.values()) >= 10
