"""Every backbone of the table: its paths exist, and adapting, scoring and tasks work on a tiny model of it."""

import dataclasses
import logging
from pathlib import Path

import pytest
import torch
from conftest import ARCHITECTURES, DECODERS, MALTESE, WINDOW
from huggingface_hub.utils import logging as hub_logging
from test_training import masked_batch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from langlift.adapters.bottleneck import SeqBnConfig, bottleneck_places
from langlift.adapters.composition import attach, attached, train_only
from langlift.adapters.peft_adapter import LoraConfig
from langlift.backbones.loading import load_masked_model, load_tokenizer, longest_input, weightless_model
from langlift.backbones.registry import BACKBONES, backbone_of
from langlift.checkpoints.adapter_folder import load_adapter, save_adapter
from langlift.errors import InputError
from langlift.evaluation.pseudo_perplexity import score_model
from langlift.languages import find_language
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.runner import train_task
from langlift.training.adaptation import adapt
from langlift.training.language_model_loss import logits_at, summed_loss
from langlift.training.recipes import AdaptRecipe

QUICK = AdaptRecipe(
    steps=16, batch_size=4, learning_rate=1e-2, validate_every=16, save_steps=16, max_tokens=48,
    reduction_factor=4, validation_examples=24,
)  # fmt: skip


@pytest.mark.parametrize("architecture", sorted(BACKBONES))
def test_every_path_of_the_table_exists(architecture: str) -> None:
    assert sorted(BACKBONES) == sorted([*ARCHITECTURES, *DECODERS]), "every row has a tiny model in conftest.py"
    backbone = BACKBONES[architecture]
    with torch.device("meta"):
        of_kind = AutoModelForCausalLM if backbone.causal else AutoModelForMaskedLM
        model = of_kind.from_config(AutoConfig.for_model(architecture))
    assert backbone.model_type == architecture
    assert model.get_submodule(backbone.head_decoder) is model.get_output_embeddings()
    head = [model.get_submodule(path) for path in backbone.head]
    in_head = {id(m) for module in head for m in module.modules()}
    assert id(model.get_output_embeddings()) in in_head
    outside = {id(m) for m in model.modules()} - {id(m) for m in model.base_model.modules()} - {id(model)}
    modules_with_weights = {id(m) for m in model.modules() if list(m.parameters())}
    assert outside & modules_with_weights <= in_head, "the head is named in full"
    model.base_model.get_submodule(backbone.embeddings)
    for path in (backbone.rows_from, backbone.rows_until):
        if path is not None:
            model.base_model.get_submodule(path.format(layer=model.config.num_hidden_layers - 1))
    assert 0 <= getattr(model.config, backbone.dropout) < 1
    names = {path.rpartition(".")[2] for path, module in model.named_modules() if hasattr(module, "in_features")}
    assert set(backbone.lora_targets) <= names
    for end in (*backbone.ia3_scaled_outputs, *backbone.ia3_scaled_inputs):
        assert any(path.endswith(f".{end}") for path, _ in model.base_model.named_modules()), end
    attach(model, "mlt", SeqBnConfig())
    assert len(bottleneck_places(model)) == model.config.num_hidden_layers


def test_sparse_loss_and_gradients_equal_the_plain_models(base: Path, maltese_lines: list[str]) -> None:
    model, tokenizer = load_masked_model(str(base)), load_tokenizer(str(base))
    attach(model, "mlt", SeqBnConfig(reduction_factor=2, invertible=True))
    train_only(model, "mlt")
    batch = masked_batch(tokenizer, maltese_lines[:5])
    assert "attention_mask" in batch, "the batch must hold padding"
    total, count = summed_loss(model, batch)
    (total / count).backward()
    sparse = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    plain = model(**batch).loss
    plain.backward()
    assert total.item() / count.item() == pytest.approx(plain.item(), rel=1e-6)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad.any(), f"{name} must learn"
            assert torch.allclose(sparse[name], parameter.grad, rtol=1e-4, atol=1e-7), name


@torch.no_grad()
def test_padding_and_the_attention_kernel_change_nothing(base: Path, maltese_lines: list[str]) -> None:
    model, tokenizer = load_masked_model(str(base)), load_tokenizer(str(base))
    attach(model, "mlt", SeqBnConfig(reduction_factor=2, invertible=True))
    for name, parameter in model.named_parameters():
        if "mlt" in name.split("."):
            parameter.normal_(std=0.2)
    rows = tokenizer([*maltese_lines[:3], "Iva."])["input_ids"]
    assert max(map(len, rows)) > min(map(len, rows)) + 2 * WINDOW, "padding must reach beyond local attention"
    alone = [
        logits_at(model, {"input_ids": torch.tensor([row])}, torch.ones(1, len(row), dtype=torch.bool))
        for row in rows
    ]
    padded = tokenizer.pad({"input_ids": rows}, return_tensors="pt")
    inputs = {name: padded[name] for name in ("input_ids", "attention_mask")}
    together = logits_at(model, inputs, inputs["attention_mask"].bool())
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)
    assert model.config._attn_implementation == "sdpa"
    model.set_attn_implementation("eager")
    eager = logits_at(model, inputs, inputs["attention_mask"].bool())
    assert torch.allclose(together, eager, atol=1e-5)


@pytest.mark.parametrize("config", [SeqBnConfig(4), SeqBnConfig(4, invertible=True), LoraConfig(rank=2)])
@torch.no_grad()
def test_a_saved_adapter_comes_back_bit_for_bit_and_changes_the_model(base: Path, config, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, tokenizer = load_masked_model(str(base)), load_tokenizer(str(base))
    inputs = {"input_ids": torch.tensor([tokenizer("Il-baħar kien kalm.")["input_ids"]])}
    before = model(**inputs).logits
    attach(model, "mlt", config)
    for name, parameter in model.named_parameters():
        if "mlt" in name.split("."):
            parameter.normal_(std=0.2)
    after = model(**inputs).logits
    assert (after - before).abs().max() > 0.01
    save_adapter(model, "mlt", config, tmp_path, "base")
    again = load_masked_model(str(base))
    name = load_adapter(again, tmp_path)
    assert attached(again) == [name]
    assert torch.equal(again(**inputs).logits, after)


def test_a_lora_and_a_bottleneck_stack(base: Path) -> None:
    model = load_masked_model(str(base))
    attach(model, "mlt", LoraConfig(rank=2))
    attach(model, "topic", SeqBnConfig(4))
    assert attached(model) == ["mlt", "topic"]
    train_only(model, "topic")
    hidden, width, layers = 32, 8, 2
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trainable == layers * (2 * hidden * width + hidden + width)
    train_only(model, "mlt")
    outputs = [3 * hidden] if model.config.model_type == "modernbert" else [hidden, hidden]
    expected = layers * sum(2 * (hidden + out) for out in outputs)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == expected


# The invertible block comes on top of all that seq_bn is.
@pytest.mark.parametrize("method", [pytest.param("seq_bn", marks=pytest.mark.slow), "seq_bn_inv", "lora", "full"])
def test_adapting_lowers_the_loss_and_the_result_scores(base: Path, tmp_path: Path, method: str) -> None:
    # LoRA leaves embeddings and head alone: on random weights it has little to learn with, so it gets longer.
    how = {"full": {"learning_rate": 3e-3}, "lora": {"learning_rate": 5e-2, "steps": 32}}.get(method, {})
    recipe = dataclasses.replace(QUICK, method=method, **how)
    out = tmp_path / "run"
    result = adapt(find_language("mlt"), str(base), MALTESE, out, recipe)
    assert result.validation_loss < result.validation_loss_before
    text = ["Il-baħar kien kalm.", "Il-kelb raqad wara l-bieb."]
    full = method == "full"
    adapted = score_model(str(out if full else base), text, None if full else out)
    assert adapted.pseudo_perplexity != score_model(str(base), text).pseudo_perplexity


def test_topic_stacks_on_a_language_adapter(base: Path, topic_folder: Path, tmp_path: Path) -> None:
    model = load_masked_model(str(base))
    attach(model, "mlt", SeqBnConfig(4, invertible=True))
    language = tmp_path / "language"
    language.mkdir()
    save_adapter(model, "mlt", SeqBnConfig(4, invertible=True), language, str(base))
    recipe = TaskRecipe(epochs=3, batch_size=8, learning_rate=1e-2, seeds=(1,), reduction_factor=4, pooling="mean")
    result = train_task("topic", str(base), topic_folder, tmp_path / "run", recipe, language)
    assert 0 < result.mean <= 100
    head = 32 * 32 + 32 + 2 * 32 + 2
    assert result.trainable_parameters == head + 2 * (2 * 32 * 8 + 32 + 8)


def test_the_longest_input(base: Path) -> None:
    model, tokenizer = load_masked_model(str(base)), load_tokenizer(str(base))
    assert longest_input(model, tokenizer) == 64
    ids = torch.full((1, 64), 7)
    model(input_ids=ids)  # every position has its place in the table
    tokenizer.model_max_length = 10**30  # what tokenizers without a limit say
    assert longest_input(model, tokenizer) == 64


def test_the_hubs_retries_stay_off_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*arguments: object, **options: object) -> None:
        hub_logging.get_logger("huggingface_hub.utils._http").warning("Retrying in 8s [Retry 4/5].")
        raise OSError("We couldn't connect")

    shown: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = shown.append
    monkeypatch.setattr(AutoConfig, "from_pretrained", unreachable)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", unreachable)
    hub = hub_logging.get_logger("huggingface_hub")
    hub.addHandler(handler)
    try:
        for load in (load_tokenizer, load_masked_model, weightless_model):
            with pytest.raises(InputError, match="not found on the Hugging Face hub"):
                load("nosuch/x")
        assert shown == []
        hub.warning("outside")
        assert len(shown) == 1, "elsewhere the hub may still warn"
    finally:
        hub.removeHandler(handler)


def test_weights_of_one_architecture_are_refused_by_another(base: Path, tmp_path: Path) -> None:
    model = load_masked_model(str(base))
    attach(model, "mlt", SeqBnConfig(4))
    save_adapter(model, "mlt", SeqBnConfig(4), tmp_path, "base")
    here = backbone_of(model).model_type
    other = "bert" if here != "bert" else "modernbert"
    golden = load_masked_model(str(Path(__file__).parent / "golden" / other / "base"))
    with pytest.raises(InputError, match=f"model_type {here}, the base has {other}"):
        load_adapter(golden, tmp_path)
