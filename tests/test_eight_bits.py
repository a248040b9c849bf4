"""Weights in 8 bits: how far they move, what that costs, and that a folder of them is a model like any other."""

import json
from pathlib import Path

import pytest
import torch
from conftest import MALTESE
from safetensors.torch import load_file, save_file
from test_release import module
from transformers import AutoModelForMaskedLM, AutoTokenizer

from langlift.adapted import Adapted
from langlift.backbones.eight_bits import EIGHT_BITS, FORMAT, SCALES, read_eight_bits, write_eight_bits
from langlift.backbones.loading import (
    BaseModel,
    is_causal,
    load_masked_model,
    load_model,
    load_tokenizer,
    weightless_model,
)
from langlift.bundled_models import BUNDLED, MINI, NANO, BundledModel
from langlift.errors import InputError


def eight_bits(source: str | Path, folder: Path) -> Path:
    """A model folder, its weights in 8 bits."""
    write_eight_bits(load_model(str(source)), folder)
    load_tokenizer(str(source)).save_pretrained(folder)
    return folder


def masked_loss(model, tokenizer, lines: list[str]) -> float:
    """Mean loss at every fifth token, masked."""
    losses = []
    for line in lines:
        ids = tokenizer(line, truncation=True, max_length=60, return_tensors="pt")["input_ids"]
        gaps = torch.zeros_like(ids, dtype=torch.bool)
        gaps[0, 1:-1:5] = True
        with torch.no_grad():
            logits = model(ids.masked_fill(gaps, tokenizer.mask_token_id)).logits
        losses.append(torch.nn.functional.cross_entropy(logits[gaps], ids[gaps], reduction="none"))
    return torch.cat(losses).mean().item()


def test_no_weight_moves_by_more_than_half_a_scale(base: Path, tmp_path: Path) -> None:
    before = load_masked_model(str(base))
    after = load_masked_model(str(eight_bits(base, tmp_path / "small")))
    stored = load_file(tmp_path / "small" / EIGHT_BITS)
    assert type(after) is type(before) and not after.training
    matrices = 0
    for name, weight in before.named_parameters():
        moved = (after.get_parameter(name) - weight).abs()
        if weight.ndim != 2:
            assert moved.max() == 0, name
            continue
        scales = stored[name + SCALES].float()
        assert stored[name].dtype == torch.int8 and scales.shape == weight.shape[:1]
        assert (moved <= 0.50001 * scales[:, None]).all(), name
        assert (stored[name].abs() <= 127).all()
        least = weight.abs().amax(dim=1) / 127
        assert (scales >= least).all() and (scales <= 1.01 * least + 1e-30).all()
        matrices += 1
    assert matrices >= 10 and after.dtype == torch.float32
    assert after.get_input_embeddings().weight is after.get_output_embeddings().weight, "tied"
    assert before.state_dict().keys() == after.state_dict().keys()
    names = [name for name in stored if stored[name].shape == (before.config.vocab_size, 32)]
    assert len(names) == 1, "tied weights are stored once"


def test_decoders_and_what_is_not_tied(tiny_decoders: dict[str, Path], tiny_bert: Path, tmp_path: Path) -> None:
    for name in ("llama", "gemma"):
        before, after = load_model(str(tiny_decoders[name])), tmp_path / name
        ids = torch.arange(5, 25)[None]
        exact, rounded = (m(ids).logits for m in (before, load_model(str(eight_bits(tiny_decoders[name], after)))))
        assert is_causal(str(after))
        assert 0 < (rounded - exact).norm() < 0.05 * exact.norm()
    config = load_model(str(tiny_bert)).config
    config.tie_word_embeddings = False
    untied = AutoModelForMaskedLM.from_config(config)
    write_eight_bits(untied, tmp_path / "untied")
    read = load_masked_model(str(tmp_path / "untied"))
    ins, outs = read.get_input_embeddings().weight, read.get_output_embeddings().weight
    assert (outs - untied.get_output_embeddings().weight).abs().max() < 1e-3 < (ins - outs).abs().max()


@pytest.mark.parametrize("source", ["bert", "xlm-roberta", NANO])
def test_the_loss_hardly_changes(
    source: str, request: pytest.FixtureRequest, maltese_lines: list[str], tmp_path: Path
) -> None:
    if source != NANO:
        source = str(request.getfixturevalue(f"tiny_{source.replace('-', '_')}"))
    small = str(eight_bits(source, tmp_path / "small"))
    tokenizer = load_tokenizer(small)
    models = [load_masked_model(name) for name in (source, small)]
    before, after = (model.get_input_embeddings().weight for model in models)
    assert not torch.equal(before, after), "something was rounded"
    exact, rounded = (masked_loss(model, tokenizer, maltese_lines[:60]) for model in models)
    assert rounded == pytest.approx(exact, rel=0.01)


def test_zero_rows_half_precision_and_what_cannot_be_rounded(tiny_bert: Path, tmp_path: Path) -> None:
    model = load_masked_model(str(tiny_bert))
    with torch.no_grad():
        model.get_input_embeddings().weight[3] = 0
    write_eight_bits(model.half(), tmp_path / "half")
    read = load_masked_model(str(tmp_path / "half"))
    assert read.dtype == torch.float32 and read.get_input_embeddings().weight[3].abs().max() == 0
    with torch.no_grad():
        model.get_input_embeddings().weight[3, 0] = torch.inf
    with pytest.raises(InputError, match=r"word_embeddings.weight: contains weights that are not finite"):
        write_eight_bits(model, tmp_path / "broken")


def test_damage_is_told(tiny_bert: Path, tmp_path: Path) -> None:
    folder = eight_bits(tiny_bert, tmp_path / "small")
    file = folder / EIGHT_BITS
    whole, stored = file.read_bytes(), load_file(file)
    matrix = next(name for name in stored if name + SCALES in stored)

    def told() -> str:
        with pytest.raises(InputError) as error:
            load_masked_model(str(folder))
        assert str(folder) in error.value.message and error.value.hint
        return error.value.message

    for damaged in (b"", whole[: len(whole) // 2], b"x" * len(whole)):
        file.write_bytes(damaged)
        assert "cannot be read" in told()
    for change in (
        {matrix: stored[matrix].float()},
        {matrix + SCALES: stored[matrix + SCALES][:-1]},
        {"other" + SCALES: torch.ones(3)},
    ):
        save_file(stored | change, file, metadata={"format": FORMAT})
        assert "do not match" in told()
    save_file(stored, file, metadata={"format": "pt"})
    assert f"has the format pt, not {FORMAT}" in told()
    short = {name: tensor for name, tensor in stored.items() if name.removesuffix(SCALES) != matrix}
    save_file(short, file, metadata={"format": FORMAT})
    assert "has no weights for" in told()
    with pytest.raises(InputError, match="cannot be read"):
        read_eight_bits(tmp_path)


def test_a_model_without_head_is_found_to_have_none(tiny_bert: Path, tmp_path: Path) -> None:
    folder = eight_bits(tiny_bert, tmp_path / "small")
    stored = load_file(folder / EIGHT_BITS)
    body = {name: tensor for name, tensor in stored.items() if name.startswith("bert.")}
    save_file(body, folder / EIGHT_BITS, metadata={"format": FORMAT})
    assert BaseModel.load(str(folder), head_needed=False).head is None
    with pytest.raises(InputError, match="has no MLM head"):
        load_masked_model(str(folder))


@pytest.fixture
def mini(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model in 8 bits in the place of langlift-mini."""
    folder = eight_bits(tiny_bert, tmp_path / MINI)
    monkeypatch.setitem(BUNDLED, MINI, BundledModel(folder, "mini"))
    return folder


def test_it_works_wherever_a_bundled_model_does(
    mini: Path, tiny_bert: Path, topic_folder: Path, langlift, tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n".join(MALTESE.read_text("utf-8").splitlines()[:120]), encoding="utf-8")
    assert weightless_model(MINI).config.model_type == "bert"
    assert len(Adapted.load(MINI).fill("Il-qattus ___ fuq is-sodda.")) == 5
    small = [
        f"--set={x}" for x in ("steps=4", "save_steps=4", "validate_every=4", "leave_out=[1]")
    ]  # of two layers
    for method in ("seq_bn", "full"):
        how = ("--method", method, "--out", tmp_path / method)
        run = langlift("adapt", "mlt", "--base", MINI, "--data", text, *how, *small, "--json")
        assert run.code == 0, run.err
    recipe = (tmp_path / "seq_bn" / "recipe.yaml").read_text("utf-8")
    assert "reduction_factor: 4" in recipe and "learning_rate: 0.001" in recipe, "the preset mini is in force"
    scored = langlift("score", "--base", MINI, "--adapter", tmp_path / "seq_bn", "--text", text, "--json")
    assert scored.code == 0, scored.err
    how = ("--seeds", 1, "--epochs", 1, "--out", tmp_path / "topic")
    task = langlift("task", "topic", "--base", MINI, "--data", topic_folder, *how, "--json")
    assert task.code == 0, task.err
    trimmed = langlift("vocab", "trim", "--base", MINI, "--corpus", text, "--out", tmp_path / "trimmed", "--json")
    assert trimmed.code == 0, trimmed.err
    assert (tmp_path / "trimmed" / "model.safetensors").exists()
    dry = langlift("push", tmp_path / "seq_bn", "anna/maltese", "--dry-run", "--json")
    assert dry.code == 0 and "The base model `langlift-mini` comes with langlift." in dry.json["card"]
    assert "base_model: langlift-mini" not in dry.json["card"], "it is not on the hub"


@pytest.mark.parametrize("name", [MINI, NANO])
def test_a_bundled_model_leaves_as_a_plain_folder(name: str, mini: Path, langlift, tmp_path: Path) -> None:
    result = langlift("export", name, "--to", "transformers", "--out", tmp_path / "plain", "--json")
    assert result.code == 0 and result.json["name"] == name, result.err
    assert result.json["difference"] == 0
    plain = AutoModelForMaskedLM.from_pretrained(tmp_path / "plain", dtype=torch.float32)
    ours = load_masked_model(name).state_dict()
    assert all(torch.equal(weight, ours[key]) for key, weight in plain.state_dict().items())
    assert len(AutoTokenizer.from_pretrained(tmp_path / "plain")) == len(load_tokenizer(name))
    assert not (tmp_path / "plain" / EIGHT_BITS).exists()


def test_it_leaves_as_onnx(mini: Path, langlift, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    result = langlift("export", MINI, "--to", "onnx", "--out", tmp_path / "onnx", "--json")
    assert result.code == 0 and result.json["agreement"] == 1, result.err


def test_it_is_not_published_as_it_is(mini: Path, langlift) -> None:
    result = langlift("push", mini, "anna/mini", "--dry-run", "--json")
    assert result.code == 2 and "8-bit" in result.error["error"]
    assert f"langlift export {mini} --to transformers" in result.error["hint"]


def test_the_tool_writes_what_is_bundled(tiny_bert: Path, tmp_path: Path, capsys) -> None:
    module("bundle_model").main(str(tiny_bert), tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"config.json", EIGHT_BITS, "tokenizer.json", "tokenizer_config.json"}
    assert EIGHT_BITS in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == ["BertForMaskedLM"]
