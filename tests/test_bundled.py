"""What the package ships: the base model langlift-nano, its tokenizer and the Maltese sample."""

import dataclasses
import unicodedata
from pathlib import Path

import pytest
import torch
from conftest import MALTESE
from safetensors.torch import load_file

from langlift.backbones.loading import NANO, load_masked_model, load_tokenizer, model_location
from langlift.corpus.text_data import load_text_data
from langlift.evaluation.pseudo_perplexity import longest_input, score_sentences


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

    complete = demonstration.resolve
    monkeypatch.setattr(
        demonstration,
        "resolve",
        lambda *a, **k: dataclasses.replace(complete(*a, **k), steps=20, validate_every=20),
    )
    result = langlift("demo", "--out", tmp_path / "demo", "--json")
    assert result.code == 0, result.err
    assert {"language", "seconds", "pppl_per_character"} <= result.json.keys()
    values = result.json["pppl_per_character"]
    assert values.keys() == {"base", "seq_bn", "seq_bn_inv"}
    assert max(values["seq_bn"], values["seq_bn_inv"]) < values["base"]
    again = langlift("demo", "--out", tmp_path / "demo")
    assert again.code == 0
    assert "Maltese" in again.out and "seconds" not in again.out
    assert langlift("demo", "--out", tmp_path / "demo", "--seed", 7).code == 2, "another seed is another run"


@pytest.mark.slow
def test_the_whole_demo(langlift, tmp_path: Path) -> None:
    result = langlift("demo", "--out", tmp_path / "demo", "--json")
    assert result.code == 0, result.err
    values = result.json["pppl_per_character"]
    assert values["seq_bn"] < 0.9 * values["base"]
    assert values["seq_bn_inv"] < 0.9 * values["base"]
