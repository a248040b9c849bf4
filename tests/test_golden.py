"""The same numbers as the reference library (adapters 1.3.0); fixtures by tests/golden/make_golden.py."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import DECODERS
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM, BertConfig, XLMRobertaConfig

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.composition import attach, attached, train_only
from langlift.adapters.peft_adapter import LoraConfig
from langlift.backbones.loading import load_model
from langlift.backbones.registry import BACKBONES
from langlift.checkpoints.adapter_folder import load_adapter, read_description, save_adapter
from langlift.errors import InputError

GOLDEN = Path(__file__).parent / "golden"
ADAPTERHUB = ("bert", "distilbert", "electra", "llama", "roberta", "xlm-roberta")
"""Architectures whose golden values come from the library itself."""
ARCHITECTURES = (*ADAPTERHUB, "modernbert")
STACKS = {
    "base": [],
    "seq_bn": ["seq_bn"],
    "seq_bn_inv": ["seq_bn_inv"],
    "stack": ["seq_bn", "task"],
    "stack_inv": ["seq_bn_inv", "task"],
}


def outputs(model, expected):
    with torch.no_grad():
        result = model(
            input_ids=expected["input_ids"], attention_mask=expected["attention_mask"], output_hidden_states=True
        )
    return result.logits, result.hidden_states[-1]


def load_reference_lora(model, folder: Path) -> None:
    """Copy the reference library's LoRA weights into an attached adapter of ours."""
    config = read_description(folder)["config"]
    attach(model, "lora", LoraConfig(rank=config["r"], alpha=config["alpha"]))
    theirs = load_file(folder / "adapter.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                place, part = name.removesuffix(".lora.weight").rsplit(".", 1)
                parameter.copy_(theirs.pop(f"{place}.loras.lora.{part}"))
    assert not theirs, "every reference weight must have found its place"


def attach_modernbert(model, names: list[str]) -> None:
    """Attach adapters with the weights that make_golden.py put into its formulas."""
    weights = load_file(GOLDEN / "modernbert" / "weights.safetensors")
    for name in names:
        stem, factor = ("task", 2) if name == "task" else ("seq_bn", 4)
        if name == "lora":
            attach(model, name, LoraConfig(rank=4, alpha=8.0))
        else:
            attach(model, name, SeqBnConfig(factor, invertible=name == "seq_bn_inv"))
        with torch.no_grad():
            for path, parameter in model.named_parameters():
                parts = path.split(".")
                if name not in parts:
                    continue
                if name == "lora":
                    key = f"lora.{parts[2]}.{parts[parts.index('lora') - 1].removeprefix('lora_')}"
                elif "invertible" in parts:
                    key = f"{parts[-3]}.{(0 if parts[-2] == '0' else 2) + (parts[-1] == 'bias')}"
                else:
                    key = f"{stem}.{parts[2]}.{parts[-2]}{'_bias' if parts[-1] == 'bias' else ''}"
                parameter.copy_(weights[key])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("case", [*STACKS, "lora"])
def test_forward_equals_the_reference(architecture: str, case: str) -> None:
    folder = GOLDEN / architecture
    expected = load_file(folder / "expected.safetensors")
    model = load_model(str(folder / "base"))
    if architecture == "modernbert":
        attach_modernbert(model, STACKS.get(case, [case]))
    elif case == "lora":
        load_reference_lora(model, folder / "lora")
    else:
        for adapter in STACKS[case]:
            load_adapter(model, folder / adapter)
    logits, hidden = outputs(model, expected)
    # ModernBERT's padding far from any token attends to nothing; what it computes there differs by kernel.
    real = expected["attention_mask"].bool() if architecture == "modernbert" else ...
    assert torch.allclose(logits[real], expected[case][real], atol=1e-5, rtol=0)
    assert torch.allclose(hidden[real], expected[f"hidden.{case}"][real], atol=1e-5, rtol=0)
    if case != "base":
        assert (expected[case] - expected["base"]).abs().max() > 0.1, "the fixture must tell adapters apart"


@pytest.mark.parametrize("architecture", ADAPTERHUB)
def test_published_invertible_adapter_without_the_inverse(architecture: str, tmp_path: Path) -> None:
    folder = GOLDEN / architecture
    expected = load_file(folder / "expected.safetensors")
    published = tmp_path / "adapter"
    published.mkdir()
    description = read_description(folder / "seq_bn_inv") | {"langlift": {"inverse_at_head": False}}
    (published / "adapter_config.json").write_text(json.dumps(description), encoding="utf-8")
    save_file(load_file(folder / "seq_bn_inv" / "adapter.safetensors"), published / "adapter.safetensors")
    model = load_model(str(folder / "base"))
    load_adapter(model, published)
    logits, _ = outputs(model, expected)
    assert torch.allclose(logits, expected["seq_bn_inv_forward_only"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", ADAPTERHUB)
@pytest.mark.parametrize("case", ["seq_bn", "seq_bn_inv"])
def test_saving_reproduces_the_layout_keys_and_weights(architecture: str, case: str, tmp_path: Path) -> None:
    golden = GOLDEN / architecture / case
    model = load_model(str(GOLDEN / architecture / "base"))
    name = load_adapter(model, golden)
    config = SeqBnConfig(reduction_factor=4, invertible=case == "seq_bn_inv")
    save_adapter(model, name, config, tmp_path, "base")
    assert {p.name for p in tmp_path.iterdir()} == {"adapter_config.json", "adapter.safetensors"}
    ours, theirs = load_file(tmp_path / "adapter.safetensors"), load_file(golden / "adapter.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    written, reference = read_description(tmp_path), read_description(golden)
    for key in ("hidden_size", "model_class", "model_type", "name", "version"):
        assert written[key] == reference[key]
    assert written["config"].items() <= reference["config"].items()


def test_a_saved_lora_adapter_loads_in_peft_with_the_same_output(tmp_path: Path) -> None:
    folder = GOLDEN / "xlm-roberta"
    expected = load_file(folder / "expected.safetensors")
    model = load_model(str(folder / "base"))
    load_reference_lora(model, folder / "lora")
    save_adapter(model, "lora", LoraConfig(rank=4, alpha=8.0), tmp_path, "base")
    theirs = PeftModel.from_pretrained(
        AutoModelForMaskedLM.from_pretrained(folder / "base", dtype=torch.float32), tmp_path
    ).eval()
    logits, _ = outputs(theirs, expected)
    assert torch.allclose(logits, expected["lora"], atol=1e-5, rtol=0)
    ours = load_model(str(folder / "base"))
    load_adapter(ours, tmp_path)
    assert torch.allclose(outputs(ours, expected)[0], expected["lora"], atol=1e-5, rtol=0)


SHAPES = {
    "bert-base-multilingual-cased": BertConfig(vocab_size=119547),
    "xlm-roberta-base": XLMRobertaConfig(
        vocab_size=250002, max_position_embeddings=514, type_vocab_size=1, pad_token_id=1
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("case", "config", "count"),
    [
        ("seq_bn", SeqBnConfig(), 894_528),
        ("seq_bn_inv", SeqBnConfig(invertible=True), 1_190_592),
        ("lora", LoraConfig(), 294_912),
    ],
)
def test_trainable_parameters_at_published_shapes(shape: str, case: str, config, count: int) -> None:
    with torch.device("meta"):
        model = AutoModelForMaskedLM.from_config(SHAPES[shape])
        attach(model, "mlt", config)
    train_only(model, "mlt")
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == count
    reference = json.loads((GOLDEN / "parameter_counts.json").read_text(encoding="utf-8"))
    assert reference[shape][case]["adapter_trainable"] == count


def test_a_fresh_adapter_starts_as_published() -> None:
    torch.manual_seed(0)
    model = load_model(str(GOLDEN / "bert" / "base"))
    attach(model, "mlt", SeqBnConfig(reduction_factor=1, invertible=True))
    for name, parameter in model.named_parameters():
        if "mlt" in name and name.endswith("bias"):
            assert not parameter.any()
        elif "mlt" in name:
            assert 0.01 < parameter.std() < 0.03 and abs(parameter.mean()) < 0.01


def test_only_the_first_of_a_stack_brings_its_invertible_block() -> None:
    model = load_model(str(GOLDEN / "bert" / "base"))
    attach(model, "first", SeqBnConfig(invertible=True))
    attach(model, "second", SeqBnConfig(invertible=True))
    assert attached(model) == ["first", "second"]
    assert list(model.base_model.embeddings.invertible) == ["first"]


def test_names_that_would_unfreeze_the_model_are_refused() -> None:
    model = load_model(str(GOLDEN / "bert" / "base"))
    for name in ("output", "encoder", "a.b", ""):
        with pytest.raises(InputError, match="cannot be used"):
            attach(model, name, SeqBnConfig())


def test_an_adapter_of_another_architecture_is_refused() -> None:
    model = load_model(str(GOLDEN / "bert" / "base"))
    with pytest.raises(InputError, match="model_type xlm-roberta"):
        load_adapter(model, GOLDEN / "xlm-roberta" / "seq_bn")
    with pytest.raises(InputError, match="not an adapter folder"):
        load_adapter(model, GOLDEN)
    assert attached(model) == []


def test_every_backbone_of_the_table_has_golden_values() -> None:
    # Qwen and Gemma, which the library has not: tests/test_causal.py
    assert set(BACKBONES) == {*ARCHITECTURES, *DECODERS}


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ADAPTERHUB)
@pytest.mark.parametrize("invertible", [False, True])
def test_the_reference_library_loads_ours(architecture: str, invertible: bool, tmp_path: Path) -> None:
    python = os.environ.get("LANGLIFT_REFERENCE")
    if not python:
        pytest.skip("LANGLIFT_REFERENCE does not name the Python of the reference environment (make test-all)")
    torch.manual_seed(1)
    base = GOLDEN / architecture / "base"
    model = load_model(str(base))
    config = SeqBnConfig(reduction_factor=3, invertible=invertible)
    attach(model, "mlt_Latn", config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "mlt_Latn" in name.split("."):
                parameter.normal_(std=0.3)
    expected = load_file(GOLDEN / architecture / "expected.safetensors")
    _, hidden = outputs(model, expected)
    inputs = {key: expected[key] for key in ("input_ids", "attention_mask")}
    save_file({**inputs, "hidden": hidden.contiguous()}, tmp_path / "expected.safetensors")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    save_adapter(model, "mlt_Latn", config, adapter, "base")
    command = [python, GOLDEN / "check_ours_loads.py", base, adapter, tmp_path / "expected.safetensors"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
