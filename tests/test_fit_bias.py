"""An MLM head's bias from the frequencies of a language's pieces."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MALTESE
from interrupted import interrupted_at
from safetensors.torch import load_file

from langlift.backbones.loading import load_masked_model, load_tokenizer
from langlift.backbones.registry import decoder_bias
from langlift.checkpoints.adapter_folder import load_adapter
from langlift.languages import find_language
from langlift.masking import MaskedLanguageModel
from langlift.training.adaptation import adapt
from langlift.training.decoder_bias import PRIOR_COUNT, fit_decoder_bias, piece_counts
from langlift.training.examples import masked_examples, one_pass
from langlift.training.language_model_loss import decoder_of, logits_at, loss_path
from langlift.training.recipes import AdaptRecipe, FamilyRecipe

MALTA = find_language("mlt_Latn")
QUICK = AdaptRecipe(
    method="seq_bn",
    steps=6,
    batch_size=4,
    validate_every=3,
    save_steps=2,
    max_tokens=32,
    validation_examples=64,
    learning_rate=1e-3,
    fit_bias=True,
    precision="float32",
)


@pytest.mark.parametrize("way", ["naive", "fast"])
def test_the_mean_prediction_follows_the_frequencies(tiny_bert: Path, maltese_lines: list[str], way: str):
    """Against softmax by hand; the second fit then finds nearly nothing to correct."""
    model, tokenizer = load_masked_model(str(tiny_bert)), load_tokenizer(str(tiny_bert))
    rows = [np.asarray(tokenizer(line)["input_ids"][:40]) for line in maltese_lines[:40]]
    counts = piece_counts(rows, model, tokenizer)
    masking = MaskedLanguageModel(tokenizer.mask_token_id, frozenset(tokenizer.all_special_ids), len(tokenizer))
    examples = one_pass(masked_examples(rows, masking, seed=0), len(rows))
    path = loss_path(way, model, tokenizer.pad_token_id)
    batches = [path.collate([examples[i] for i in range(first, first + 8)]) for first in range(0, 40, 8)]

    def mean_prediction() -> torch.Tensor:
        naive = loss_path("naive", load_masked_model(str(tiny_bert)), tokenizer.pad_token_id)
        plain = load_masked_model(str(tiny_bert))
        decoder_of(plain).bias.data.copy_(decoder_of(model).bias.data)
        found = []
        for first in range(0, 40, 8):
            batch = naive.collate([examples[i] for i in range(first, first + 8)])
            inputs = {name: value for name, value in batch.items() if name != "labels"}
            with torch.no_grad():
                found.append(logits_at(plain, inputs, batch["labels"] != -100).double().softmax(-1))
        return torch.cat(found).mean(0)

    before, bias = mean_prediction(), decoder_of(model).bias.detach().clone()
    fit_decoder_bias(model, batches, counts)
    prior = PRIOR_COUNT * len(before)
    wanted = (torch.from_numpy(counts) + prior * before) / (counts.sum() + prior)
    shift = (decoder_of(model).bias.detach() - bias).double()
    torch.testing.assert_close(shift, wanted.log() - before.log(), atol=1e-4, rtol=1e-4)
    after = mean_prediction()
    assert (after - wanted).abs().sum() < 0.1 * (before - wanted).abs().sum()


def test_an_adapter_keeps_its_bias(tiny_bert: Path, tmp_path: Path):
    """The loss before is the untouched model's; whoever loads the adapter has the bias."""
    run = adapt(MALTA, str(tiny_bert), MALTESE, tmp_path / "run", QUICK)
    plain = adapt(MALTA, str(tiny_bert), MALTESE, tmp_path / "plain", dataclasses.replace(QUICK, fit_bias=False))
    assert run.validation_loss_before == pytest.approx(plain.validation_loss_before, abs=1e-5)
    assert run.validation_loss < plain.validation_loss - 0.1, "few steps alone cannot learn frequencies"
    ((name, stored),) = load_file(tmp_path / "run" / "mlm_head.safetensors").items()
    model = load_masked_model(str(tiny_bert))
    assert list(decoder_bias(model)) == [name]
    assert not torch.equal(decoder_of(model).bias, stored)
    load_adapter(model, tmp_path / "run", "mlt")
    assert torch.equal(decoder_of(model).bias, stored)
    assert run.trainable_parameters == plain.trainable_parameters + len(stored)
    further = adapt(
        MALTA,
        str(tiny_bert),
        MALTESE,
        tmp_path / "further",
        dataclasses.replace(QUICK, fit_bias=False, steps=1),
        init=tmp_path / "run",
    )
    assert further.validation_loss_before == pytest.approx(run.validation_loss, abs=1e-5)
    assert torch.equal(load_file(tmp_path / "further" / "mlm_head.safetensors")[name], stored)


def test_a_killed_run_keeps_the_fit(tiny_bert: Path, tmp_path: Path):
    """A checkpoint holds the bias, and resuming does not fit it again."""
    whole = adapt(MALTA, str(tiny_bert), MALTESE, tmp_path / "whole", QUICK)
    with interrupted_at(5, "training_step"):
        adapt(MALTA, str(tiny_bert), MALTESE, tmp_path / "killed", QUICK)
    resumed = adapt(MALTA, str(tiny_bert), MALTESE, tmp_path / "killed", QUICK, resume=True)
    assert resumed.validation_loss == whole.validation_loss
    ours, theirs = (load_file(tmp_path / name / "mlm_head.safetensors") for name in ("killed", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_what_it_does_not_go_with():
    assert "fit_bias" in " ".join(AdaptRecipe(objective="causal", fit_bias=True).conflicts())
    assert "fit_bias" in " ".join(FamilyRecipe(fit_bias=True).conflicts())
    assert not AdaptRecipe(fit_bias=True, train_head=True).conflicts()
