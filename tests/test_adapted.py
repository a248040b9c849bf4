"""Finished runs as objects that take strings."""

from math import log
from pathlib import Path
from threading import Thread

import pytest
import torch
from tiny_llama import make_tiny_llama

from langlift import Adapted, InputError, adapted
from langlift.backbones.loading import load_masked_model, load_tokenizer
from langlift.evaluation.gap_filling import PART, WORD, _allowed, _beams, most_likely_words
from langlift.evaluation.pseudo_perplexity import score_sentences, word_surprises
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.runner import train_task
from langlift.vocab.overlap import canonical_tokens

TEXTS = ["Il-qattus ___ fuq is-sodda.", "___ marret id-dar."]


@torch.inference_mode()
def test_guesses_have_the_probability_of_their_pieces(base: Path):
    """On every architecture: pieces left to right, those to the right masked."""
    model, tokenizer = load_masked_model(str(base)), load_tokenizer(str(base))
    forms = canonical_tokens(tokenizer)
    guesses = most_likely_words(model, tokenizer, forms, "Illum ___ tajba", top=200)
    assert guesses == sorted(guesses, key=lambda guess: -guess.score)
    assert len({guess.word for guess in guesses}) == len(guesses) > 5
    for count in (1, 2, 3):
        masked = tokenizer(f"Illum {tokenizer.mask_token * count} tajba", return_tensors="pt")["input_ids"][0]
        gaps = (masked == tokenizer.mask_token_id).nonzero().flatten()
        assert len(gaps) == count
        for pieces, total in _beams(model, masked, tokenizer.mask_token_id, _allowed(forms, len(tokenizer), True)):
            ids, expected = masked.clone(), 0.0
            for place, piece in zip(gaps, pieces, strict=True):
                expected += float(model(ids[None]).logits[0, place].log_softmax(-1)[piece])
                ids[place] = piece
            assert total == pytest.approx(expected, abs=1e-4)
            assert forms[pieces[0]].initial and not any(forms[piece].initial for piece in pieces[1:])


@torch.inference_mode()
def test_the_best_single_piece_is_found(tiny_bert: Path):
    model, tokenizer = load_masked_model(str(tiny_bert)), load_tokenizer(str(tiny_bert))
    forms = canonical_tokens(tokenizer)
    (best, *_) = [g for g in most_likely_words(model, tokenizer, forms, "Illum ___ .", top=500) if g.pieces == 1]
    ids = torch.tensor([tokenizer(f"Illum {tokenizer.mask_token} .")["input_ids"]])
    at = int((ids[0] == tokenizer.mask_token_id).nonzero())
    shares = model(ids).logits[0, at].softmax(-1)
    whole = [n for n, form in forms.items() if form.initial and form.surface.isalpha()]
    assert best.word == tokenizer.convert_ids_to_tokens(max(whole, key=lambda n: shares[n]))
    assert best.probability == pytest.approx(float(shares[whole].max()), rel=1e-4)


def test_surprise_adds_up_to_the_score_within_words(base: Path, maltese_lines: list[str]):
    model, tokenizer = load_masked_model(str(base)), load_tokenizer(str(base))
    texts = [*maltese_lines[:4], "ħħ ħ-ħ  ħ"]
    found = word_surprises(model, tokenizer, texts)
    scored = score_sentences(model, tokenizer, texts, "within_word_l2r", path="naive")
    for text, words, score in zip(texts, found, scored.per_sentence, strict=True):
        assert [word.word for word in words] == text.split()
        assert all(text[word.start : word.end] == word.word for word in words)
        total = -log(2) * sum(word.bits for word in words)
        assert total == pytest.approx(score.log_probability, rel=1e-4)


def test_in_scripts_without_spaces_pieces_stand_for_words(tiny_bert: Path):
    model, tokenizer = load_masked_model(str(tiny_bert)), load_tokenizer(str(tiny_bert))
    text = "il-kelb 字字字 raqad"
    (words,) = word_surprises(model, tokenizer, [text])
    assert words[0].word == "il-kelb" and words[-1].word == "raqad"
    assert [word.word for word in words[1:-1]] == ["字"] * 3
    assert all(text[word.start : word.end] == word.word for word in words)


@pytest.mark.parametrize("word", ["il-kelb", "o‘zbek", "תנ״ך", "col·lecció", "می\u200cشود", "ශ්\u200dරී", "ta’"])
def test_words_of_all_scripts_can_fill_a_gap(word: str):
    assert WORD.fullmatch(word) and PART.fullmatch(word)


def test_what_the_model_cannot_read_is_said(tiny_bert: Path):
    model, tokenizer = load_masked_model(str(tiny_bert)), load_tokenizer(str(tiny_bert))
    (words,) = word_surprises(model, tokenizer, ["Illum " * 100])
    assert words[0].bits > 0 and words[-1].bits is None and words[-1].bits_per_character is None
    with pytest.raises(InputError, match="too many for this model"):
        most_likely_words(model, tokenizer, canonical_tokens(tokenizer), "Illum " * 100 + "___")


@pytest.mark.parametrize("method", ["seq_bn_inv", "full"])
def test_an_adapted_model_fills_and_tells_surprise(adapted_runs: Path, tiny_xlm_roberta: Path, method: str):
    model, base = Adapted.load(adapted_runs / method), Adapted.load(str(tiny_xlm_roberta))
    assert model.methods == base.methods == ("fill", "surprise")
    one, many = model.fill(TEXTS[0], top=3), model.fill(TEXTS)
    assert len(one) == 3 and one == many[0][:3] and len(many) == 2
    assert one != base.fill(TEXTS[0], top=3)
    assert model.surprise(TEXTS[1]) == model.surprise(TEXTS)[1] != base.surprise(TEXTS[1])


@pytest.mark.parametrize(
    ("run", "methods"),
    [("seq_bn_inv", "fill, surprise"), ("full", "fill, surprise"), ("topic/seed-1", "classify")],
)
def test_the_example_on_a_model_card_runs(adapted_runs: Path, run: str, methods: str):
    card = (adapted_runs / run / "README.md").read_text(encoding="utf-8")
    example = card.split("```python\n")[1].split("```")[0].replace("THIS_FOLDER", str(adapted_runs / run))
    assert [line.partition("(")[0] for line in example.splitlines() if line.startswith("model.")] == [
        f"model.{method}" for method in methods.split(", ")
    ]
    variables: dict = {}
    exec(compile(example, "card", "exec"), variables)
    assert repr(variables["model"]) == f"<Adapted {adapted_runs / run}: {methods}>"


def test_a_task_run_classifies_and_says_what_it_cannot(adapted_runs: Path):
    model = Adapted.load(adapted_runs / "topic")
    assert model.methods == ("classify",)
    answers = model.classify(["Illum rajt il-futbol.", "Il-gvern iddeċieda."])
    assert [answer.text for answer in answers] == ["Illum rajt il-futbol.", "Il-gvern iddeċieda."]
    assert model.classify(answers[0].text) == answers[0]
    for ask in (model.fill, model.parse, model.tag):
        with pytest.raises(InputError, match="it can classify"):
            ask("Illum")
    with pytest.raises(InputError, match="it can fill and surprise"):
        Adapted.load(adapted_runs / "full").classify("Illum")


def test_words_are_tagged_and_parsed(tiny_bert: Path, treebank: Path, tmp_path: Path):
    for task, ask in (("pos", "tag"), ("dependencies", "parse")):
        recipe = TaskRecipe(epochs=1, seeds=(1,))
        train_task(task, str(tiny_bert), str(treebank), tmp_path / task, recipe)
        model = Adapted.load(tmp_path / task)
        assert model.methods == (ask,)
        answer = getattr(model, ask)("Marija marret, illum.")
        assert answer.sentence.words == ["Marija", "marret", ",", "illum", "."]
        assert len(answer.tags if task == "pos" else answer.heads) == 5


def test_a_decoder_cannot_be_asked_and_says_so(tmp_path: Path, maltese_lines: list[str]):
    model = Adapted.load(make_tiny_llama(tmp_path / "llama", maltese_lines[:50]))
    assert model.methods == ()
    with pytest.raises(InputError, match="being a decoder"):
        model.surprise("Illum")
    for command in ("adapt", "pretrain"):  # a run tells by its recipe
        run = tmp_path / command
        run.mkdir()
        (run / "recipe.yaml").write_text(f"command: {command}\n{command}: {{objective: causal}}\n")
        (run / "metrics.json").write_text("{}")
        assert Adapted.load(run).methods == ()


def test_many_threads_get_the_answers_of_one_and_load_once(adapted_runs: Path, monkeypatch: pytest.MonkeyPatch):
    loads = []
    load = adapted.load_language_model
    monkeypatch.setattr(
        adapted, "load_language_model", lambda *given, **how: loads.append(given) or load(*given, **how)
    )
    model = Adapted.load(adapted_runs / "seq_bn_inv")
    assert not loads, "nothing is loaded before the first question"
    found = {}

    def ask(number: int) -> None:
        text = TEXTS[number % 2]
        found[number] = (model.fill(text), model.surprise(text))

    threads = [Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert all(found[number] == (model.fill(t), model.surprise(t)) for number, t in enumerate(TEXTS * 3))


def test_what_cannot_be_asked_is_refused(adapted_runs: Path, tmp_path: Path, tiny_xlm_roberta: Path):
    model = Adapted.load(adapted_runs / "full")
    with pytest.raises(InputError, match="this has 0"):
        model.fill("Illum")
    with pytest.raises(InputError, match="this has 2"):
        model.fill("___ u ___")
    assert model.fill("Il-qattus _____ fuq.") == model.fill("Il-qattus ___ fuq."), "a longer line is one gap"
    assert model.fill([]) == model.surprise([]) == []
    with pytest.raises(InputError, match="text 2 is empty"):
        model.surprise(["Illum", " "])
    for top in (0, -3):
        with pytest.raises(InputError, match="at least 1"):
            model.fill("Il-qattus ___ fuq.", top)
    with pytest.raises(InputError, match="no such run or model"):
        Adapted.load("./nowhere")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("Illum", encoding="utf-8")
    for name in ("empty", "text.txt"):
        with pytest.raises(InputError, match="neither a run nor a model"):
            Adapted.load(tmp_path / name)
    (tmp_path / "recipe.yaml").write_text("command: adapt\n")
    with pytest.raises(InputError, match="not finished"):
        Adapted.load(tmp_path)
    moved = Adapted.load(adapted_runs / "seq_bn_inv", base=str(tiny_xlm_roberta))
    assert moved.fill(TEXTS[0]) == Adapted.load(adapted_runs / "seq_bn_inv").fill(TEXTS[0])
