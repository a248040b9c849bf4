"""langlift pretrain --from: going on from an encoder, with a head made where it has none."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MALTESE
from interrupted import interrupted_at
from transformers import AutoModel, AutoModelForMaskedLM

from langlift.backbones.hidden_states import hidden_states
from langlift.backbones.loading import BaseModel, load_masked_model, load_tokenizer
from langlift.backbones.registry import head_parameters
from langlift.config.loading import resolve
from langlift.errors import InputError
from langlift.masking import IGNORED, MaskedLanguageModel
from langlift.training.decoder_bias import piece_counts
from langlift.training.examples import masked_examples, one_pass
from langlift.training.language_model_loss import decoder_of, loss_path
from langlift.training.loss_terms import frozen_copy, state_keeping_loss
from langlift.training.pretraining import pretrain
from langlift.training.pretraining_text import reserved_rows, token_rows
from langlift.training.recipes import FurtherRecipe, PretrainRecipe
from langlift.training.starting_models import make_head, prepare_further

QUICK = FurtherRecipe(
    row_tokens=32, steps=8, batch_size=8, accumulation=1, validation_rows=8, validate_every=4, save_steps=2,
    learning_rate=1e-3, precision="float32",
)  # fmt: skip


@pytest.fixture(scope="module")
def headless(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder without MLM head, of each architecture of the table in turn."""
    folder = tmp_path_factory.mktemp("headless")
    AutoModel.from_pretrained(base).save_pretrained(folder)
    load_tokenizer(str(base)).save_pretrained(folder)
    return folder


def batch_of(model: Any, tokenizer: Any, way: str, lines: list[str]) -> dict[str, torch.Tensor]:
    path = loss_path(way, model, tokenizer.pad_token_id)
    masking = MaskedLanguageModel(
        tokenizer.mask_token_id, frozenset(tokenizer.all_special_ids), len(tokenizer), share=0.3
    )
    rows = [np.asarray(tokenizer(line)["input_ids"][:40]) for line in lines]
    examples = one_pass(masked_examples(rows, masking, seed=0), len(rows))
    return path.collate([examples[i] for i in range(len(rows))])


def test_an_encoder_gets_a_head_and_is_then_a_base(headless: Path, tmp_path: Path, langlift: Any):
    result = pretrain([MALTESE], tmp_path / "run", QUICK, base=str(headless))
    assert result.made_head and result.base == str(headless)
    # From the first step on it does better than knowing nothing: its bias knows the frequencies.
    assert result.validation_loss <= result.validation_loss_before < math.log(result.vocabulary_size) - 0.3
    assert result.validation_losses == {"mlt_Latn": result.validation_loss}
    model, info = AutoModelForMaskedLM.from_pretrained(result.model, output_loading_info=True)
    assert not info["missing_keys"]
    assert decoder_of(model).weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    card = Path(result.model, "README.md").read_text(encoding="utf-8")
    assert f"base_model: {headless}" in card and "made here: the base had none" in card
    adapted = langlift(
        "adapt", "mlt", "--base", result.model, "--data", MALTESE, "--out", tmp_path / "adapter",
        "--steps", 2, "--json",
    )  # fmt: skip
    assert adapted.code == 0, adapted.err


def test_a_model_with_a_head_keeps_it(tiny_bert: Path, tmp_path: Path):
    result = pretrain([MALTESE], tmp_path / "run", dataclasses.replace(QUICK, steps=1), base=str(tiny_bert))
    before, after = load_masked_model(str(tiny_bert)), load_masked_model(result.model)
    assert not result.made_head
    dense = "cls.predictions.transform.dense.weight"
    torch.testing.assert_close(after.state_dict()[dense], before.state_dict()[dense], rtol=0, atol=0.02)


def test_frozen_layers_above_trained_embeddings_work_in_bf16(tiny_bert: Path, tmp_path: Path):
    recipe = dataclasses.replace(QUICK, steps=2, train_layers=1, train_embeddings=True, precision="bf16")
    result = pretrain([MALTESE], tmp_path / "run", recipe, base=str(tiny_bert))
    assert result.validation_loss < result.validation_loss_before


@pytest.mark.parametrize(("layers", "embeddings"), [(0, False), (1, False), (-1, False), (1, True), (9, True)])
def test_what_trains_is_a_setting(headless: Path, layers: int, embeddings: bool):
    base = BaseModel.load(str(headless), head_needed=False)
    model = base.model
    counts = np.ones(model.config.vocab_size, dtype=np.int64)
    prepare_further(base, counts, FurtherRecipe(train_layers=layers, train_embeddings=embeddings))
    trains = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    in_layer = [{t for n, t in trains.items() if f"layer.{i}." in n or f"layers.{i}." in n} for i in range(2)]
    assert in_layer == [{layers not in (0, 1)}, {layers != 0}]
    assert {trains[name] for name in trains if "embeddings" in name} == {embeddings}
    assert all(trains[name] for name in head_parameters(model)) and decoder_of(model).bias.requires_grad
    assert all(module.p == 0 for module in model.modules() if isinstance(module, torch.nn.Dropout))


@pytest.mark.parametrize("init", ["normal", "identity"])
def test_a_made_head_guesses_by_frequency_first(headless: Path, init: str):
    model = BaseModel.load(str(headless), head_needed=False).model
    counts = np.arange(model.config.vocab_size)
    make_head(model, counts, init)
    bias = decoder_of(model).bias.detach().numpy()
    np.testing.assert_allclose(np.exp(bias[1:]), counts[1:] / counts.sum(), rtol=1e-4)
    assert math.isfinite(bias[0]) and bias[0] < bias[1]
    dense = [
        p
        for n, p in model.named_parameters()
        if p.shape == (32, 32) and n.startswith(("cls", "lm_", "vocab_", "head", "generator_"))
    ]
    assert len(dense) == 1
    assert torch.equal(dense[0], torch.eye(32)) == (init == "identity")
    assert init == "identity" or 0.01 < float(dense[0].detach().std()) < 0.03


def test_pieces_are_counted_without_special_tokens(tiny_bert: Path):
    tokenizer = load_tokenizer(str(tiny_bert))
    rows = np.asarray([[2, 7, 7, 3], [2, 7, 9, 3]], dtype=np.uint16)
    counts = piece_counts(rows, load_masked_model(str(tiny_bert)), tokenizer)
    assert counts.sum() == 4 and counts[7] == 3 and counts[9] == 1


def test_states_that_are_kept(headless: Path, maltese_lines: list[str]):
    """The term is the lost share of variance of tokens that are not predicted, on either path, without padding."""
    tokenizer = load_tokenizer(str(headless))
    lines = sorted(maltese_lines[:6], key=lambda line: len(tokenizer(line)["input_ids"][:40]))
    losses = {}
    for way in ("naive", "fast"):
        base = BaseModel.load(str(headless), head_needed=False)
        model = base.model
        prepare_further(base, np.ones(len(tokenizer), dtype=np.int64), QUICK)
        batch = batch_of(model, tokenizer, way, lines)
        plain, items = loss_path(way, model, tokenizer.pad_token_id).loss(model, batch)
        total, same_items = state_keeping_loss(frozen_copy(model), weight=2e4)(model, batch)
        assert items == same_items
        losses[way] = float(total.detach().double() - plain.detach().double()) / (2e4 * int(items))
    whole = [tokenizer(line)["input_ids"][:40] for line in lines]
    model = BaseModel.load(str(headless), head_needed=False).model
    batch = batch_of(model, tokenizer, "naive", lines)
    now, then = [], []
    with torch.no_grad():
        for number, ids in enumerate(whole[:3]):  # the first half of the texts
            seen = batch["input_ids"][number, : len(ids)][None]
            kept = batch["labels"][number, : len(ids)] == IGNORED
            now.append(hidden_states(model, {"input_ids": seen})[kept])
            then.append(hidden_states(model, {"input_ids": torch.tensor([ids])})[kept])
    variance = torch.cat(then).var(0, correction=0).sum() * len(torch.cat(then))
    expected = float((torch.cat(now) - torch.cat(then)).square().sum() / variance)
    assert expected > 0
    assert losses == pytest.approx({"naive": expected, "fast": expected}, rel=2e-3)


def test_kept_states_hold_the_encoder_back(headless: Path, maltese_lines: list[str]):
    """In the same steps, at the same rate, the states of whole texts move less than without the term."""
    tokenizer = load_tokenizer(str(headless))
    whole = {"input_ids": torch.tensor([tokenizer(" ".join(maltese_lines[:9]))["input_ids"][:40]])}

    def moved(weight: float) -> float:
        base = BaseModel.load(str(headless), head_needed=False)
        model = base.model
        torch.manual_seed(0)
        prepare_further(base, np.ones(len(tokenizer), dtype=np.int64), QUICK)
        with torch.no_grad():
            then = hidden_states(model, whole)
        loss = state_keeping_loss(frozen_copy(model), weight)
        batch = batch_of(model, tokenizer, "naive", maltese_lines[:9])
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
        for _ in range(15):
            total, items = loss(model, batch)
            optimizer.zero_grad()
            (total / items).backward()
            optimizer.step()
        with torch.no_grad():
            return float((hidden_states(model, whole) - then).norm())

    assert moved(100.0) < 0.7 * moved(0.0)


def test_a_killed_run_goes_on_exactly(headless: Path, tmp_path: Path):
    recipe = dataclasses.replace(QUICK, keep_states=1.0)
    whole = pretrain([MALTESE], tmp_path / "whole", recipe, base=str(headless))
    with interrupted_at(5, "training_step"):
        pretrain([MALTESE], tmp_path / "killed", recipe, base=str(headless))
    resumed = pretrain([MALTESE], tmp_path / "killed", recipe, resume=True, base=str(headless))
    assert resumed.validation_loss == whole.validation_loss
    ours, theirs = (load_masked_model(r.model).state_dict() for r in (resumed, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_validation_is_by_file(tiny_bert: Path, tmp_path: Path, maltese_lines: list[str]):
    for name, lines in (("one", maltese_lines[:200]), ("two", maltese_lines[200:])):
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    short = "\n\n".join(f"Linja {number} qasira." for number in range(20))
    (tmp_path / "short.txt").write_text(short, encoding="utf-8")
    result = pretrain(
        sorted(tmp_path.glob("*.txt")), tmp_path / "run", dataclasses.replace(QUICK, steps=2), base=str(tiny_bert)
    )
    assert sorted(result.validation_losses) == ["one", "two"]
    assert result.validation_loss == pytest.approx(sum(result.validation_losses.values()) / 2)
    assert sorted(result.text_bytes) == ["one", "short", "two"]


def test_rows_hold_large_vocabularies(tiny_bert: Path, tmp_path: Path):
    tokenizer = load_tokenizer(str(tiny_bert))
    tokenizer.add_tokens([f"piece{number}" for number in range(70_000)])
    documents = [["piece69999 " * 40] * 3]
    rows = token_rows(tmp_path / "rows.npy", tokenizer, documents, 16)
    assert rows.dtype == np.uint32 and rows.max() == len(tokenizer) - 1
    assert set(rows[:, 0]) == {tokenizer.cls_token_id} and tokenizer.sep_token_id in rows
    reserved = reserved_rows(tmp_path / "rows.npz", tokenizer, {"a": documents, "b": documents}, 16, 4)
    assert {name: len(some) for name, some in reserved.items()} == {"a": 2, "b": 2}


def test_a_corpus_file_may_have_any_name(tiny_bert: Path, tmp_path: Path):
    names = ["file", "allow_pickle", "a.npy", "Malti ġdid"]
    documents = {name: [["Illum il-bniedem mar id-dar. " * 10]] for name in names}
    for _ in range(2):  # cut, and read back
        rows = reserved_rows(tmp_path / "rows.npz", load_tokenizer(str(tiny_bert)), documents, 16, 4)
        assert {name: len(some) for name, some in rows.items()} == dict.fromkeys(names, 1)


def test_usage(tiny_bert: Path, tmp_path: Path, langlift: Any):
    given = ["pretrain", "--from", tiny_bert, "--corpus", MALTESE, "--out", tmp_path / "run"]
    refused = langlift(*given, "--objective", "causal")
    assert refused.code == 2 and "--from supports only masked training" in refused.err
    refused = langlift(*given, "--set", "hidden_size=8")
    assert refused.code == 2 and "unknown setting 'hidden_size'" in refused.err
    refused = langlift(*given, "--set", "row_tokens=512")
    assert refused.code == 2 and "the model takes at most 64 tokens" in refused.err
    done = langlift(
        *given, "--resume", "--steps", 1, "--set", "row_tokens=32", "--set", "validation_rows=2", "--json"
    )
    assert done.code == 0, done.err
    assert json.loads(done.out.splitlines()[-1])["made_head"] is False
    assert not hasattr(FurtherRecipe(), "hidden_size")
    with pytest.raises(InputError, match="unknown setting 'keep_states'"):
        resolve(PretrainRecipe, "pretrain", assignments=["keep_states=1"])
