"""Causal models: attention, loss, adapting, scoring and tasks with tiny Llama, Qwen and Gemma decoders."""

import json
from dataclasses import replace
from math import exp
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MALTESE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.composition import attach, train_only
from langlift.adapters.peft_adapter import LoraConfig
from langlift.backbones.loading import load_masked_model, load_model, load_tokenizer
from langlift.checkpoints.adapter_folder import load_adapter, save_adapter
from langlift.config.loading import resolve
from langlift.errors import InputError
from langlift.evaluation.pseudo_perplexity import score_texts
from langlift.languages import find_language
from langlift.tasks.prediction import load_trained_task
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.sentences import SentenceEncoder, class_probabilities
from langlift.tasks.task import TASKS
from langlift.training.adaptation import adapt
from langlift.training.examples import causal_examples
from langlift.training.language_model_loss import loss_path
from langlift.training.language_model_training import Adaptation
from langlift.training.recipes import AdaptRecipe

QUICK = AdaptRecipe(
    objective="causal", steps=8, batch_size=4, learning_rate=1e-2, validate_every=4, save_steps=4, max_tokens=48,
    reduction_factor=4, validation_examples=16,
)  # fmt: skip


def test_the_mean_loss_of_a_step_is_the_same_in_packed_and_padded_batches(
    tiny_decoders: dict[str, Path], tmp_path: Path
) -> None:
    losses = []
    for path in ("fast", "naive"):
        recipe = replace(QUICK, steps=1, path=path, precision="float32")
        adapt(find_language("mlt"), str(tiny_decoders["llama"]), MALTESE, tmp_path / path, recipe)
        lines = (tmp_path / path / "progress.jsonl").read_text().splitlines()
        losses += [record["loss"] for record in map(json.loads, lines) if "loss" in record]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def rows_of(folder: Path, lines: list[str]) -> list[list[int]]:
    return [ids[:60] for ids in load_tokenizer(str(folder))(lines)["input_ids"]]


def with_adapter(folder: Path):
    """A model with a stack whose weights matter."""
    torch.manual_seed(1)
    model = load_model(str(folder))
    attach(model, "mlt", SeqBnConfig(reduction_factor=2, invertible=True))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".mlt." in name:
                parameter.normal_(std=0.1)
    train_only(model, "mlt")
    return model


def loss_and_gradients(model, path: str, rows) -> tuple[float, int, dict[str, torch.Tensor]]:
    way = loss_path(path, model, 1)
    of = causal_examples([np.asarray(row) for row in rows])
    model.zero_grad()
    total, items = way.loss(model, way.collate([of(i, 0) for i in range(len(rows))]))
    total.backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
    return float(total.detach()), int(items), found


def test_the_naive_loss_is_the_models_own(decoder: Path, maltese_lines: list[str]) -> None:
    model, row = with_adapter(decoder).eval(), rows_of(decoder, maltese_lines[:1])[0]
    total, items, _ = loss_and_gradients(model, "naive", [row])
    ids = torch.tensor([row])
    assert items == len(row) - 1
    assert total / items == pytest.approx(model(input_ids=ids, labels=ids).loss.item(), rel=1e-5)


def test_packed_loss_and_gradients_equal_padded_ones(decoder: Path, maltese_lines: list[str]) -> None:
    rows = rows_of(decoder, maltese_lines[:7])
    assert len({len(row) for row in rows}) > 2
    naive = loss_and_gradients(with_adapter(decoder).eval(), "naive", rows)
    fast = loss_and_gradients(with_adapter(decoder).eval(), "fast", rows)
    assert fast[:2] == (pytest.approx(naive[0], rel=1e-5), naive[1])
    for name, gradient in naive[2].items():
        assert torch.allclose(fast[2][name], gradient, rtol=1e-4, atol=1e-4 * float(gradient.abs().max())), name


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_else_is_in_a_batch_changes_nothing(tiny_decoders: dict[str, Path], data: st.DataObject) -> None:
    model = with_adapter(tiny_decoders["gemma3_text"]).eval()
    token = st.integers(5, 599)
    rows = data.draw(st.lists(st.lists(token, min_size=2, max_size=30), min_size=1, max_size=6))
    alone = [loss_and_gradients(model, "naive", [row]) for row in rows]
    together = loss_and_gradients(model, "fast", rows)
    assert together[:2] == (pytest.approx(sum(a[0] for a in alone), rel=1e-4), sum(a[1] for a in alone))


def test_a_token_is_predicted_from_those_before_it_alone(decoder: Path, maltese_lines: list[str]) -> None:
    model = with_adapter(decoder).eval()
    row = rows_of(decoder, maltese_lines[:1])[0][:12]
    changed = [*row[:-1], (row[-1] + 1) % 600]
    with torch.no_grad():
        one, other = (model(input_ids=torch.tensor([r])).logits[0] for r in (row, changed))
    assert torch.allclose(one[:-1], other[:-1], atol=1e-5)
    assert not torch.allclose(one[-1], other[-1], atol=1e-3)


def test_gradient_checkpointing_changes_nothing(decoder: Path, maltese_lines: list[str]) -> None:
    rows = rows_of(decoder, maltese_lines[:5])
    model = load_model(str(decoder))
    method = {"method": "seq_bn_inv", "reduction_factor": 4, "objective": "causal"}
    Adaptation(model, None, "mlt", AdaptRecipe(**method))
    plain = loss_and_gradients(model.train(), "fast", rows)
    Adaptation(model, None, "mlt", AdaptRecipe(**method, gradient_checkpointing=True), fresh=False)
    assert model.model.layers[0].gradient_checkpointing
    checkpointed = loss_and_gradients(model.train(), "fast", rows)
    assert checkpointed[0] == pytest.approx(plain[0], rel=1e-6)
    for name, gradient in plain[2].items():
        assert torch.allclose(checkpointed[2][name], gradient, rtol=1e-4, atol=1e-6), name


def test_adapters_sit_where_the_formulas_say(decoder: Path, maltese_lines: list[str]) -> None:
    """Equal to transformers' own model with the formulas in hooks: s + A(s), the block and its inverse, LoRA."""
    ids = torch.tensor([rows_of(decoder, maltese_lines[:1])[0][:20]])
    model = with_adapter(decoder).eval()
    attach(model, "task", SeqBnConfig(reduction_factor=4))
    attach(model, "lora", LoraConfig(rank=2, alpha=6.0))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora." in name:
                parameter.normal_(std=0.2)
    weights = dict(model.named_parameters())
    block = model.model.embed_tokens.invertible["mlt"]
    plain = AutoModelForCausalLM.from_pretrained(decoder, dtype=torch.float32, attn_implementation="eager").eval()

    def coupling(name: str, x: torch.Tensor) -> torch.Tensor:
        part = getattr(block, name)
        return torch.relu(x @ part[0].weight.T + part[0].bias) @ part[2].weight.T + part[2].bias

    def after_embeddings(module, args, output):
        a, b = output.chunk(2, dim=-1)
        a = a + coupling("F", b)
        return torch.cat((a, b + coupling("G", a)), dim=-1)

    def before_decoder(module, args):
        a, b = args[0].chunk(2, dim=-1)
        b = b - coupling("G", a)
        return (torch.cat((a - coupling("F", b), b), dim=-1),)

    def adapted(number: int):
        def hook(module, args, output):
            for name in ("mlt", "task"):
                place = f"model.layers.{number}.adapted_output.adapters.{name}"
                inner = torch.relu(output @ weights[f"{place}.down.weight"].T + weights[f"{place}.down.bias"])
                output = output + inner @ weights[f"{place}.up.weight"].T + weights[f"{place}.up.bias"]
            return output

        return hook

    def low_rank(place: str):
        def hook(module, args, output):
            a, b = weights[f"{place}.lora_A.lora.weight"], weights[f"{place}.lora_B.lora.weight"]
            return output + 6.0 / 2 * (args[0] @ a.T @ b.T)

        return hook

    plain.model.embed_tokens.register_forward_hook(after_embeddings)
    plain.lm_head.register_forward_pre_hook(before_decoder)
    for number, layer in enumerate(plain.model.layers):
        layer.register_forward_hook(adapted(number))
        for part in ("q_proj", "v_proj"):
            projection = getattr(layer.self_attn, part)
            projection.register_forward_hook(low_rank(f"model.layers.{number}.self_attn.{part}"))
    with torch.no_grad():
        ours, theirs = model(input_ids=ids).logits, plain(input_ids=ids).logits
    assert torch.allclose(ours, theirs, atol=1e-4)
    base = AutoModelForCausalLM.from_pretrained(decoder, dtype=torch.float32).eval()
    assert not torch.allclose(theirs, base(input_ids=ids).logits, atol=1e-2)


LLAMA_3_8B = LlamaConfig(
    vocab_size=128_256, hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
    intermediate_size=14_336,
)  # fmt: skip


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (SeqBnConfig(reduction_factor=16), 67_248_128),
        (SeqBnConfig(reduction_factor=16, invertible=True), 75_642_880),
        (LoraConfig(), 3_407_872),
    ],
)
def test_trainable_parameters_at_llama_3_8b(config, count: int) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(LLAMA_3_8B)
        attach(model, "mlt", config)
    train_only(model, "mlt")
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == count


@pytest.mark.parametrize("method", ["seq_bn", "seq_bn_inv", "lora", "mosa", "full"])
def test_adapting_lowers_the_loss_and_is_saved(
    tiny_decoders: dict[str, Path], tmp_path: Path, method: str
) -> None:
    recipe = AdaptRecipe(**{**QUICK.__dict__, "method": method, "steps": 16})
    base = str(tiny_decoders["llama"])
    result = adapt(find_language("mlt"), base, MALTESE, tmp_path / "a", recipe)
    assert result.validation_loss < result.validation_loss_before
    assert result.objective == "causal" and result.tokens > 0
    model = load_model(str(tmp_path / "a") if method == "full" else base)
    if method != "full":
        load_adapter(model, tmp_path / "a")
    tokenizer = load_tokenizer(base)
    lines = [line for line in MALTESE.read_text("utf-8").splitlines() if line][:20]
    before = score_texts(load_model(base).eval(), tokenizer, lines).perplexity
    assert score_texts(model.eval(), tokenizer, lines).perplexity < before


@pytest.mark.parametrize("name", ["qwen3", "gemma2"])
def test_other_decoders_adapt_too(tiny_decoders: dict[str, Path], tmp_path: Path, name: str) -> None:
    recipe = AdaptRecipe(**{**QUICK.__dict__, "method": "mosa", "steps": 8})
    result = adapt(find_language("mlt"), str(tiny_decoders[name]), MALTESE, tmp_path / "a", recipe)
    assert result.validation_loss < result.validation_loss_before


def test_objectives_and_architectures_that_do_not_go_together(
    langlift, tiny_bert, tiny_decoders, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    llama = tiny_decoders["llama"]

    def error(*arguments: object) -> str:
        result = langlift(*arguments, "--json")
        assert result.code == 2
        assert not (tmp_path / "a").exists()
        return result.error["error"]

    adapting = ("adapt", "mlt", "--data", MALTESE, "--out", tmp_path / "a", "--base")
    assert "predicts the next" in error(*adapting, llama)
    assert "masked language model" in error(*adapting, tiny_bert, "--objective", "causal")
    assert "GPU" in error(*adapting, llama, "--objective", "causal", "--set", "quantised=true")
    for setting in ("train_head=true", "quantised=true --method full"):
        key, _, method = setting.partition(" ")
        assert key.split("=")[0] in error(*adapting, llama, "--objective", "causal", "--set", key, *method.split())
    assert "--variant" in error("score", "--base", llama, "--text", MALTESE, "--variant", "published")
    with pytest.raises(InputError, match="a causal model"):
        load_masked_model(str(llama))


def test_the_preset_of_the_published_llama() -> None:
    recipe = resolve(AdaptRecipe, "adapt", preset="llama-3-8b")
    assert (recipe.objective, recipe.batch_size, recipe.learning_rate) == ("causal", 1, 1e-4)
    assert 15_000 <= recipe.steps <= 100_000


def test_a_character_counts_if_only_its_beginning_is_the_first_token(tiny_decoders: dict[str, Path]) -> None:
    qwen = str(tiny_decoders["qwen3"])
    found = score_texts(load_model(qwen).eval(), load_tokenizer(qwen), ["ዛ"])  # three bytes
    assert found.tokens == 2
    assert found.per_character == pytest.approx(found.perplexity**2)
    assert found.per_byte == pytest.approx(found.perplexity ** (2 / 3))


@pytest.mark.parametrize("path", ["fast", "naive"])
def test_perplexity_is_that_of_the_model_itself(decoder: Path, maltese_lines: list[str], path: str) -> None:
    model, tokenizer = with_adapter(decoder).eval(), load_tokenizer(str(decoder))
    lines = maltese_lines[:6]
    found = score_texts(model, tokenizer, lines, path=path)
    total, tokens, characters, octets = 0.0, 0, 0, 0
    own = AutoTokenizer.from_pretrained(decoder)
    for line in lines:
        encoded = own(line, truncation=True, max_length=64, return_offsets_mapping=True)
        ids, offsets = torch.tensor([encoded["input_ids"]]), encoded["offset_mapping"]
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, :-1]
        total += float(cross_entropy(logits, ids[0, 1:], reduction="sum"))
        tokens += ids.shape[1] - 1
        start = 0 if own.bos_token_id is not None else offsets[0][1]
        end = offsets[-1][1] if ids.shape[1] == 64 else len(line)
        characters += len(line[start:end])
        octets += len(line[start:end].encode())
    assert found.tokens == tokens
    assert found.perplexity == pytest.approx(exp(total / tokens), rel=1e-4)
    assert found.per_character == pytest.approx(exp(total / characters), rel=1e-4)
    assert found.per_byte == pytest.approx(exp(total / octets), rel=1e-4)


def test_a_decoder_from_scratch_is_adapted_and_scored(langlift, tmp_path: Path) -> None:
    made = langlift(
        "pretrain", "--objective", "causal", "--corpus", MALTESE, "--out", tmp_path / "p", "--steps", 6, "--json",
        "--precision", "float32", "--set", "vocabulary_size=600", "--set", "hidden_size=32", "--set", "layers=2",
        "--set", "attention_heads=2", "--set", "feed_forward_size=96", "--set", "row_tokens=32",
        "--set", "max_tokens=64", "--set", "validation_rows=8", "--set", "validate_every=3",
    )  # fmt: skip
    assert made.code == 0, made.err
    base = tmp_path / "p" / "model"
    config = json.loads((base / "config.json").read_text())
    assert (config["model_type"], config["intermediate_size"]) == ("llama", 64)
    tokenizer = AutoTokenizer.from_pretrained(base)
    ids = tokenizer("Bonġu")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id and ids[-1] != tokenizer.eos_token_id
    adapted = langlift(
        "adapt", "mlt", "--objective", "causal", "--base", base, "--data", MALTESE, "--out", tmp_path / "a",
        "--steps", 4, "--set", "reduction_factor=4", "--json",
    )  # fmt: skip
    assert adapted.code == 0, adapted.err
    scored = langlift(
        "score", "--base", base, "--adapter", tmp_path / "a", "--text", MALTESE, "--split", "test", "--json"
    )
    assert scored.code == 0, scored.err
    assert scored.json["variant"] == "causal" and scored.json["perplexity"] > 1


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_last_token_pooling_on_a_causal_language_adapter(
    langlift, tiny_decoders: dict[str, Path], topic_folder: Path, tmp_path: Path, name: str
) -> None:
    base = str(tiny_decoders[name])
    adapt(find_language("mlt"), base, MALTESE, tmp_path / "a", QUICK)
    run = langlift(
        "task", "topic", "--base", base, "--language-adapter", tmp_path / "a", "--data", topic_folder,
        "--out", tmp_path / "r", "--seeds", "1", "--set", "epochs=12", "--lr", "1e-2", "--set", "batch_size=8",
        "--precision", "float32", "--json",
    )  # fmt: skip
    assert run.code == 0, run.err
    assert run.json["mean"] > 80
    assert json.loads((tmp_path / "r/seed-1/head.json").read_text())["pooling"] == "last"
    (tmp_path / "texts.txt").write_text("Illum rajt il-futbol.\nIl-vapur u l-ajruport.\n", encoding="utf-8")
    predicted = langlift(
        "predict", tmp_path / "r", "--text", tmp_path / "texts.txt", "--out", tmp_path / "p.jsonl"
    )
    assert predicted.code == 0, predicted.err
    trained = load_trained_task(tmp_path / "r")
    assert trained.task.name == "topic"


@pytest.mark.parametrize("pooling", ["first", "mean", "last"])
def test_padding_does_not_reach_a_sentences_vector(decoder: Path, maltese_lines: list[str], pooling: str) -> None:
    torch.manual_seed(0)
    tokenizer, lines = load_tokenizer(str(decoder)), maltese_lines[:5]
    shares = []
    for path, size in (("naive", 1), ("naive", 5), ("fast", 5)):
        torch.manual_seed(0)
        model = load_model(str(decoder), head_needed=False)
        classifier = TASKS["topic"].learner.new_model(model, 3, {"pooling": pooling}).eval()
        encode = SentenceEncoder(tokenizer, model, 48, path)
        parts = [lines[i : i + size] for i in range(0, 5, size)]
        shares.append(np.concatenate([class_probabilities(classifier, encode, part) for part in parts]))
    assert np.allclose(shares[0], shares[1], atol=1e-5) and np.allclose(shares[0], shares[2], atol=1e-5)
    assert np.ptp(shares[0], axis=0).max() > 1e-4 or pooling == "first"


@pytest.mark.parametrize("task", ["pos", "dependencies"])
def test_words_of_a_decoder_are_labelled_at_their_last_token(
    langlift, tiny_decoders, treebank, tmp_path, task
) -> None:
    run = langlift(
        "task", task, "--base", tiny_decoders["llama"], "--data", treebank, "--out", tmp_path / "r", "--seeds",
        "1", "--set", "epochs=6", "--lr", "1e-2", "--set", "batch_size=4", "--precision", "float32", "--json",
    )  # fmt: skip
    assert run.code == 0, run.err
    assert run.json["mean"] > (70 if task == "pos" else 20)
    head = json.loads((tmp_path / "r/seed-1/head.json").read_text())
    assert head["pooling"] == "last"
    predicted = langlift("predict", tmp_path / "r", "--text", MALTESE, "--out", tmp_path / "p.jsonl", "--json")
    assert predicted.code == 0, predicted.err


def test_a_task_recipe_without_choice_is_as_before(tiny_bert: Path) -> None:
    from langlift.tasks.runner import resolve_pooling

    assert resolve_pooling(TaskRecipe(), False).pooling == "first"
    assert resolve_pooling(TaskRecipe(), True).pooling == "last"
    assert resolve_pooling(TaskRecipe(pooling="mean"), True).pooling == "mean"


def test_export_and_import_without_loss(langlift, tiny_decoders: dict[str, Path], tmp_path: Path) -> None:
    model = with_adapter(tiny_decoders["llama"])
    (tmp_path / "own").mkdir()
    save_adapter(model, "mlt", SeqBnConfig(2, invertible=True), tmp_path / "own", "llama")
    assert langlift("export", tmp_path / "own", "--to", "adapterhub", "--out", tmp_path / "hub").code == 0
    (tmp_path / "hub" / "adapter.safetensors").unlink()  # the .bin alone
    given = ("--base", tiny_decoders["llama"])
    assert langlift("import", tmp_path / "hub", *given, "--out", tmp_path / "back").code == 0
    again = load_model(str(tiny_decoders["llama"]))
    load_adapter(again, tmp_path / "back")
    ids = torch.tensor([[0, 7, 8, 9, 10]])
    with torch.no_grad():
        assert torch.equal(again.eval()(input_ids=ids).logits, model.eval()(input_ids=ids).logits)
    qwen = with_adapter(tiny_decoders["qwen2"])
    (tmp_path / "qwen").mkdir()
    save_adapter(qwen, "mlt", SeqBnConfig(2, invertible=True), tmp_path / "qwen", "qwen")
    refused = langlift("export", tmp_path / "qwen", "--to", "adapterhub", "--out", tmp_path / "q", "--json")
    assert refused.code == 2 and "qwen2" in refused.error["error"]
