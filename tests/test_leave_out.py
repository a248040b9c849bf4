"""Bottleneck adapters that leave layers out: the adapters library's outputs and files, and what is refused."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import MALTESE
from safetensors.torch import load_file
from test_golden import ADAPTERHUB, GOLDEN, outputs
from transformers import AlbertConfig, AlbertForMaskedLM

from langlift.adapters.bottleneck import SeqBnConfig, bottleneck_places
from langlift.adapters.composition import attach, fuse
from langlift.adapters.fusion import fusions_of
from langlift.backbones.loading import load_masked_model, load_model
from langlift.backbones.registry import BACKBONES
from langlift.checkpoints.adapter_folder import (
    load_adapter,
    load_fusion,
    read_config,
    read_description,
    save_adapter,
    save_fusion,
)
from langlift.checkpoints.configurations import adapterhub_config
from langlift.checkpoints.exporting import export_adapter
from langlift.checkpoints.importing import import_adapters
from langlift.errors import InputError
from langlift.files import write_json
from langlift.training.adaptation import require_same_adapter


@pytest.mark.parametrize("architecture", ADAPTERHUB)
def test_outputs_and_files_are_the_librarys(architecture: str, tmp_path: Path) -> None:
    folder, backbone = GOLDEN / architecture, BACKBONES[architecture]
    expected, base = load_file(folder / "leave_out.safetensors"), str(folder / "base")
    model = load_model(base)
    name = load_adapter(model, folder / "leave_out")
    alone = outputs(model, expected)
    (saved := tmp_path / "saved").mkdir()
    config = read_config(folder / "leave_out", backbone)
    assert config == SeqBnConfig(4.0, leave_out=(1,))
    save_adapter(model, name, config, saved, base)
    load_adapter(model, folder / "task")
    for case, found in (("alone", alone), ("stack", outputs(model, expected))):
        assert torch.allclose(found[0], expected[case], atol=1e-5, rtol=0), case
        assert torch.allclose(found[1], expected[f"hidden.{case}"], atol=1e-5, rtol=0), case
    theirs = load_file(folder / "leave_out" / "adapter.safetensors")
    for written in (saved, Path(export_adapter(saved, "adapterhub", tmp_path / "exported").folder)):
        ours = load_file(written / "adapter.safetensors")
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in theirs)
        there = read_description(folder / "leave_out")["config"]
        here = read_description(written)["config"]
        assert {key: there[key] for key in here} == here


def test_import_counts_the_layers_that_have_no_adapter(tmp_path: Path) -> None:
    """Without the base model its depth is known from the weights, and here not from them alone."""
    (adapter,) = import_adapters(GOLDEN / "bert" / "leave_out", tmp_path / "out").adapters
    model = load_model(str(GOLDEN / "bert" / "base"))
    load_adapter(model, tmp_path / "out")
    expected = load_file(GOLDEN / "bert" / "leave_out.safetensors")
    assert torch.allclose(outputs(model, expected)[0], expected["alone"], atol=1e-5, rtol=0)
    weights = load_file(tmp_path / "out" / "adapter.safetensors")
    assert adapter.parameters == sum(weight.numel() for weight in weights.values())


def test_from_the_command_line_and_further(langlift, tiny_bert: Path, tmp_path: Path) -> None:
    start = ["adapt", "mlt", "--base", tiny_bert, "--data", MALTESE, "--steps", 2, "--set", "max_tokens=32"]
    every = langlift(*start, "--out", tmp_path / "every", "--json")
    out = tmp_path / "run"
    made = langlift(*start, "--out", out, "--set", "leave_out=1", "--json")
    assert made.code == 0, made.err
    assert 2 * made.json["trainable_parameters"] == every.json["trainable_parameters"]
    again = langlift(*start, "--out", tmp_path / "again", "--init", out)
    assert again.code == 2 and "has leave_out [1] (not [])" in again.err
    _, _, more = again.err.strip().partition("Hint: add ")
    assert langlift(*start, "--out", tmp_path / "again", "--init", out, *shlex.split(more)).code == 0


def test_a_layer_that_is_not_there_does_not_take_the_folder(langlift, tiny_bert: Path, tmp_path: Path) -> None:
    run = ["adapt", "mlt", "--base", tiny_bert, "--data", MALTESE, "--steps", 1, "--out", tmp_path / "run"]
    refused = langlift(*run, "--set", "leave_out=9")
    assert refused.code == 2 and "for a model with 2 layers" in refused.err
    assert langlift(*run, "--set", "leave_out=1").code == 0


def test_the_hint_for_several_layers_is_one_word_to_a_shell(tiny_bert: Path, tmp_path: Path) -> None:
    settings = adapterhub_config(SeqBnConfig(leave_out=(0, 1)), BACKBONES["bert"])
    write_json(tmp_path / "adapter_config.json", {"config": settings, "name": "a"})
    with pytest.raises(InputError) as refused:
        require_same_adapter(tmp_path, load_model(str(tiny_bert)), SeqBnConfig())
    assert shlex.split(refused.value.hint) == ["add", "--set", "leave_out=[0, 1]"]


@pytest.mark.parametrize(
    ("left", "message"),
    [((2,), "leave_out: 2 for a model with 2 layers"), ((0, 1), "leave_out: 0, 1 for")],
)
def test_layers_that_are_not_there_or_all(left: tuple[int, ...], message: str, tiny_bert: Path) -> None:
    with pytest.raises(InputError, match=message):
        attach(load_masked_model(str(tiny_bert)), "mlt", SeqBnConfig(leave_out=left))


def test_a_fusion_needs_members_that_leave_out_the_same_layers(tiny_bert: Path) -> None:
    model = load_masked_model(str(tiny_bert))
    attach(model, "a", SeqBnConfig())
    attach(model, "b", SeqBnConfig(leave_out=(1,)))
    with pytest.raises(InputError, match="a fusion of a, b is not possible") as refusal:
        fuse(model)
    assert "with the same leave_out" in str(refusal.value.hint)


def test_a_fusion_is_where_its_members_are(tiny_bert: Path, tmp_path: Path) -> None:
    inputs = {"input_ids": torch.tensor([[2, 7, 8, 9, 3]]), "attention_mask": torch.ones(1, 5, dtype=torch.long)}
    found = []
    for model in (load_masked_model(str(tiny_bert)), load_masked_model(str(tiny_bert))):
        for seed, name in enumerate("ab"):
            attach(model, name, SeqBnConfig(4.0, leave_out=(1,)))
            for place in bottleneck_places(model)[:1]:
                torch.manual_seed(seed)
                for weight in place.adapters[name].parameters():
                    torch.nn.init.normal_(weight)
        if not found:
            fused = fuse(model)
            for _, weight in fusions_of(model)[0].own_parameters():
                torch.nn.init.normal_(weight)
            save_fusion(model, fused, tmp_path, str(tiny_bert))
        else:
            load_fusion(model, tmp_path)
        places = bottleneck_places(model)
        assert [list(place.adapters) for place in places] == [["a,b"], []] and len(fusions_of(model)) == 1
        torch.manual_seed(2)
        attach(model, "task", SeqBnConfig())
        assert [list(place.adapters) for place in places] == [["a,b", "task"], ["task"]]
        found.append(outputs(model, inputs)[0])
    assert torch.equal(*found)
    assert (found[0] - outputs(load_masked_model(str(tiny_bert)), inputs)[0]).abs().max() > 1e-3


def test_shared_layers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """ALBERT computes one layer many times: an adapter would count for all of them."""
    layer = "encoder.albert_layer_groups.0.albert_layers.0.full_layer_layer_norm"
    row = replace(BACKBONES["bert"], model_type="albert", bottleneck=layer)
    monkeypatch.setitem(BACKBONES, "albert", row)
    config = AlbertConfig(
        vocab_size=96, hidden_size=32, embedding_size=16, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64,
    )  # fmt: skip
    with pytest.raises(InputError, match="albert: its layers share weights"):
        attach(AlbertForMaskedLM(config), "mlt", SeqBnConfig())


def test_an_invertible_adapter_needs_embeddings_as_wide_as_the_layers(tiny_bert: Path) -> None:
    model = load_masked_model(str(tiny_bert))
    model.set_input_embeddings(torch.nn.Embedding(model.config.vocab_size, 16))
    with pytest.raises(InputError, match="embeddings of width 16 in a model of width 32"):
        attach(model, "mlt", SeqBnConfig(invertible=True))
