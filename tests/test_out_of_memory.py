"""A GPU that runs out of memory: batches are divided, with the same result; if they cannot be, it is said."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
import torch
from conftest import MALTESE
from interrupted import interrupted_at
from safetensors.torch import load_file
from torch import Tensor

from langlift.backbones.base_name import BaseName
from langlift.errors import LangliftError
from langlift.languages import find_language
from langlift.training.adaptation import adapt
from langlift.training.family import adapt_family
from langlift.training.family_file import Family
from langlift.training.recipes import AdaptRecipe, FamilyRecipe
from langlift.training.trainer import LiftTrainer

LANGUAGE = find_language("mlt")
QUICK = AdaptRecipe(
    steps=8, batch_size=4, learning_rate=5e-3, validate_every=3, save_steps=3, max_tokens=48, reduction_factor=4,
    validation_examples=16, precision="float32",
)  # fmt: skip


@pytest.fixture(scope="module")
def base(tiny_xlm_roberta: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model without dropout: its random numbers depend on how a batch is divided."""
    folder = tmp_path_factory.mktemp("base") / "model"
    shutil.copytree(tiny_xlm_roberta, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


@contextmanager
def memory_for(sentences: int, from_step: int = 0) -> Iterator[None]:
    """Within this context the loss of more sentences is out of memory, after part of the backward pass."""
    original = LiftTrainer.compute_loss

    def limited(self: LiftTrainer, model, inputs, *others, **more) -> Tensor:
        loss = original(self, model, inputs, *others, **more)
        if len(inputs["lengths"]) > sentences and self.state.global_step >= from_step:
            loss.backward()
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LiftTrainer, "compute_loss", limited)
        yield


def trained(base: str, out: Path, recipe: AdaptRecipe = QUICK, **more) -> dict[str, Tensor]:
    adapt(LANGUAGE, base, MALTESE, out, recipe, **more)
    (weights,) = out.glob("adapter*.safetensors")
    return load_file(weights)


def records(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]


def require_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, weight in one.items():
        torch.testing.assert_close(weight, other[name], rtol=1e-3, atol=1e-5, msg=name)


@pytest.fixture(scope="module")
def whole(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    trained(base, out)
    return out


@pytest.mark.parametrize(("sentences", "from_step"), [(2, 0), (1, 0), (3, 4)])
def test_divided_batches_give_the_same_adapter(base, whole, tmp_path, capsys, sentences, from_step) -> None:
    with memory_for(sentences, from_step):
        weights = trained(base, tmp_path / "run")
    require_same(weights, load_file(next(whole.glob("adapter*.safetensors"))))
    said = capsys.readouterr().err
    assert f"batches of 4: from step {from_step + 1} on they are computed in 2 parts of 2" in said
    found, expected = records(tmp_path / "run"), records(whole)
    assert [record["step"] for record in found] == [record["step"] for record in expected]
    assert found[-1]["sentences_at_once"] == min(sentences, 2) and expected[-1]["sentences_at_once"] == 4
    assert found[0]["validation_loss"] == expected[0]["validation_loss"]
    assert found[-1]["validation_loss"] == pytest.approx(expected[-1]["validation_loss"], rel=1e-4)


def test_a_divided_run_is_resumed(base: str, whole: Path, tmp_path: Path) -> None:
    with memory_for(2, from_step=1):
        with interrupted_at(5, "training_step"):
            trained(base, tmp_path / "run")
        weights = trained(base, tmp_path / "run", resume=True)
    require_same(weights, load_file(next(whole.glob("adapter*.safetensors"))))


def test_parameters_that_are_frozen_at_first_are_saved_and_trained(base: str, tmp_path: Path) -> None:
    recipe = FamilyRecipe(
        steps=4, batch_size=4, accumulation=1, learning_rate=1e-3, validate_every=4, save_steps=4, max_tokens=48,
        precision="float32", freeze_share=0.5, warmup_share=0.0, validation_examples=16,
    )  # fmt: skip
    family = Family("one", BaseName.of(base), {LANGUAGE: (MALTESE,)})
    adapt_family(family, tmp_path / "whole", recipe)
    with memory_for(2):
        adapt_family(family, tmp_path / "divided", recipe)
    whole, divided = (load_file(next((tmp_path / n).rglob("model.safetensors"))) for n in ("whole", "divided"))
    require_same(whole, divided)


def test_a_sentence_that_is_too_large_is_an_error_for_people(base: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(LiftTrainer, "compute_loss", mock.Mock(side_effect=torch.OutOfMemoryError("CUDA")))
    with pytest.raises(
        LangliftError, match=r"out of memory at step 1, in a batch of 1 with [\d,]+ tokens"
    ) as error:
        trained(base, tmp_path / "run")
    assert "with shorter texts" in error.value.hint


def test_a_contrast_within_the_batch_is_not_divided(base: str, tmp_path: Path) -> None:
    with memory_for(2), pytest.raises(LangliftError, match="step 1, in a batch of 4") as error:
        trained(base, tmp_path / "run", dataclasses.replace(QUICK, contrast=0.1))
    assert "--batch-size 2 or shorter texts" in error.value.hint
