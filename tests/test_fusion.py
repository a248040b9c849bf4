"""AdapterFusion: the reference library's numbers, its files, and ``langlift fuse``."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import softmax

from langlift.adapters.bottleneck import Bottleneck, SeqBnConfig
from langlift.adapters.composition import attach, attached, fuse, train_only
from langlift.adapters.fusion import AdapterFusion, fusion_penalty, fusions_of, watched_attention
from langlift.adapters.peft_adapter import LoraConfig
from langlift.backbones.loading import load_masked_model, load_tokenizer
from langlift.checkpoints.adapter_folder import (
    copy_member,
    load_adapter,
    load_fusion,
    load_members,
    member_names,
    save_adapter,
    save_fusion,
)
from langlift.checkpoints.layouts import adapterhub_keys, fusion_keys
from langlift.errors import InputError
from langlift.languages import find_language
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.runner import train_task
from langlift.tasks.sentences import SentenceEncoder, class_probabilities
from langlift.tasks.setups import Setup, load_trained, mean_attention
from langlift.tasks.task import TASKS
from langlift.training.adaptation import adapt
from langlift.training.recipes import AdaptRecipe

GOLDEN = Path(__file__).parent / "golden"
ADAPTERHUB = ("bert", "distilbert", "electra", "roberta", "xlm-roberta")
MEMBERS = ["seq_bn", "seq_bn_inv"]
SEED = 7
"""As in tests/golden/make_fusion_golden.py."""


def golden_model(architecture: str, fusion: str = "fusion", task: bool = True):
    """The model of the golden fixtures with Stack(Fuse(seq_bn, seq_bn_inv), task)."""
    folder = GOLDEN / architecture
    model = load_masked_model(str(folder / "base"))
    load_members(model, [folder / name for name in MEMBERS], MEMBERS)
    load_fusion(model, folder / fusion)
    if task:
        load_adapter(model, folder / "task")
    return model


def outputs(model, expected):
    with torch.no_grad(), watched_attention(model) as attention:
        result = model(
            input_ids=expected["input_ids"], attention_mask=expected["attention_mask"], output_hidden_states=True
        )
    return result.logits, result.hidden_states[-1], torch.stack(attention)


def close(ours, theirs) -> bool:
    return torch.allclose(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", ADAPTERHUB)
@pytest.mark.parametrize("case", ["fused", "stack"])
def test_forward_and_attention_equal_the_reference(architecture: str, case: str) -> None:
    expected = load_file(GOLDEN / architecture / "fusion.safetensors")
    model = golden_model(architecture, task=case == "stack")
    logits, hidden, attention = outputs(model, expected)
    assert close(logits, expected[f"logits.{case}"])
    assert close(hidden, expected[f"hidden.{case}"])
    assert close(attention, expected[f"attention.{case}"])
    assert attention.std() > 0.1, "the fixture must tell the adapters apart"


@pytest.mark.parametrize("architecture", ADAPTERHUB)
def test_only_the_first_members_invertible_block_is_used(architecture: str) -> None:
    folder = GOLDEN / architecture
    expected = load_file(folder / "fusion.safetensors")
    model = load_masked_model(str(folder / "base"))
    turned = MEMBERS[::-1]
    load_members(model, [folder / name for name in turned], turned)
    name = fuse(model)
    weights = load_file(folder / "fusion" / "model_adapter_fusion.safetensors")
    with torch.no_grad():
        for key, parameter in fusion_keys(model, name):
            parameter.copy_(weights[key.replace(name, ",".join(MEMBERS))])
    load_adapter(model, folder / "task")
    _, hidden, attention = outputs(model, expected)
    assert close(hidden, expected["hidden.stack_invertible_first"])
    assert close(attention, expected["attention.stack_invertible_first"])


@pytest.mark.parametrize("architecture", ADAPTERHUB)
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_loss_and_gradients_equal_the_reference(architecture: str, mode: str) -> None:
    """In training with dropout 0.5 on the scores, from the same random numbers."""
    expected = load_file(GOLDEN / architecture / "fusion.safetensors")
    model = golden_model(architecture)
    train_only(model, "task")
    for fusion in fusions_of(model):
        fusion.dropout.p = 0.5
    model.train(mode == "train")
    torch.manual_seed(SEED)
    body = model.base_model
    hidden = body(input_ids=expected["input_ids"], attention_mask=expected["attention_mask"]).last_hidden_state
    penalty = fusion_penalty(model)
    loss = (hidden * expected["probe"]).mean() + penalty
    loss.backward()
    assert torch.allclose(penalty, expected["penalty"], rtol=1e-5)
    assert torch.allclose(loss, expected[f"{mode}.loss"], rtol=1e-5)
    prefix = f"{mode}.gradient."
    theirs = {key.removeprefix(prefix): value for key, value in expected.items() if key.startswith(prefix)}
    fused = ",".join(MEMBERS)
    ours = dict(fusion_keys(model, fused)) | dict(adapterhub_keys(model, "task"))
    assert ours.keys() == theirs.keys()
    assert {id(p) for p in model.parameters() if p.requires_grad} == {id(p) for p in ours.values()}
    for key, parameter in ours.items():
        # The key's bias alone moves no share without dropout; its gradient is rounding on both sides.
        assert torch.allclose(parameter.grad, theirs[key], rtol=1e-4, atol=1e-7), key


def test_a_pickled_fusion_of_the_library_is_read_as_the_same() -> None:
    expected = load_file(GOLDEN / "bert" / "fusion.safetensors")
    assert torch.equal(
        outputs(golden_model("bert", "fusion_bin"), expected)[1], outputs(golden_model("bert"), expected)[1]
    )


@given(adapters=st.integers(2, 4), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_module_computes_its_equation(adapters: int, seed: int) -> None:
    """As published, with W_k and W_v applied to every adapter's output."""
    torch.manual_seed(seed)
    d = 6
    members = nn.ModuleDict({f"a{i}": Bottleneck(d, 3) for i in range(adapters)})
    fusion = AdapterFusion(members, d, dropout=0.0)
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.normal_()
        z = torch.randn(2, 5, d)
        u = torch.stack([member(z) for member in members.values()])
        p = softmax((fusion.query(z) * fusion.key(u)).sum(-1), dim=0)
        assert torch.allclose(fusion(z), (p[..., None] * fusion.value(u)).sum(0), atol=1e-4, rtol=1e-4)


def test_a_fresh_fusion_starts_as_published() -> None:
    torch.manual_seed(0)
    fusion = AdapterFusion(nn.ModuleDict({"a": Bottleneck(64, 4), "b": Bottleneck(64, 4)}), 64, dropout=0.1)
    for linear in (fusion.query, fusion.key):
        assert not linear.bias.any() and 0.018 < linear.weight.std() < 0.022
    expected = torch.full((64, 64), 1e-6).fill_diagonal_(1.0)
    assert fusion.value.bias is None and torch.equal(fusion.value.weight, expected)
    assert fusion_penalty(nn.ModuleList([fusion, fusion])).item() == pytest.approx(
        0.01 * 64 * 63 * 1e-12, rel=1e-3
    )
    assert fusion.dropout.p == 0.1


def test_modernbert_adds_the_fusion_to_each_layers_output() -> None:
    """Pre-LN: ``s + F(s)`` behind the layer, then the task adapter on the sum."""
    folder = GOLDEN / "modernbert"
    expected = load_file(folder / "expected.safetensors")
    torch.manual_seed(3)
    model = load_masked_model(str(folder / "base"))
    for name in ("a", "b"):
        attach(model, name, SeqBnConfig(4))
    fuse(model)
    attach(model, "task", SeqBnConfig(2))
    with torch.no_grad():
        for place in fusions_of(model):
            for parameter in place.parameters():
                parameter.normal_(std=0.3)
    _, hidden, attention = outputs(model, expected)
    modules = [layer.adapted_output.adapters for layer in model.base_model.layers]
    plain = load_masked_model(str(folder / "base"))
    for layer, adapters in zip(plain.base_model.layers, modules, strict=True):

        def add(module, arguments, s, adapters=adapters):
            s = s + adapters["a,b"](s)
            return s + adapters["task"](s)

        layer.register_forward_hook(add)
    inputs = {key: expected[key] for key in ("input_ids", "attention_mask")}
    with torch.no_grad():
        by_hand = plain.base_model(**inputs).last_hidden_state
    assert close(hidden, by_hand)
    assert attention.shape == (4, 4, 12, 2) and close(attention.sum(-1), torch.ones(4, 4, 12))


@pytest.mark.parametrize("architecture", [*ADAPTERHUB, "modernbert"])
def test_saved_and_loaded_again_it_is_the_same(architecture: str, tmp_path: Path) -> None:
    base = GOLDEN / architecture / "base"
    torch.manual_seed(5)
    model = load_masked_model(str(base))
    for name in ("text", "graph"):
        attach(model, name, SeqBnConfig(4))
        (tmp_path / name).mkdir()
        save_adapter(model, name, SeqBnConfig(4), tmp_path / name, "base")
    fused = fuse(model)
    with torch.no_grad():
        for _, parameter in fusion_keys(model, fused):
            parameter.normal_(std=0.3)
    save_fusion(model, fused, tmp_path, "base")
    again = load_masked_model(str(base))
    load_members(again, [tmp_path / "text", tmp_path / "graph"], ["text", "graph"])
    assert load_fusion(again, tmp_path) == fused == "text,graph"
    inputs = load_file(GOLDEN / architecture / "expected.safetensors")
    assert torch.equal(outputs(model, inputs)[1], outputs(again, inputs)[1])


@pytest.mark.parametrize("architecture", ADAPTERHUB)
def test_the_saved_files_are_the_librarys(architecture: str, tmp_path: Path) -> None:
    golden = GOLDEN / architecture / "fusion"
    save_fusion(golden_model(architecture), ",".join(MEMBERS), tmp_path, f"tiny-{architecture}")
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in golden.iterdir()}
    weights = "model_adapter_fusion.safetensors"
    ours, theirs = load_file(tmp_path / weights), load_file(golden / weights)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    written, reference = (
        json.loads((folder / "adapter_fusion_config.json").read_text("utf-8")) for folder in (tmp_path, golden)
    )
    reference["config"]["dropout_prob"] = None  # concerns training only
    assert written == reference


def load_both():
    model = load_masked_model(str(GOLDEN / "bert" / "base"))
    load_members(model, [GOLDEN / "bert" / name for name in MEMBERS], MEMBERS)
    return model


def damaged(tmp_path: Path, change) -> Path:
    folder = tmp_path / "fusion"
    shutil.copytree(GOLDEN / "bert" / "fusion", folder)
    path = folder / "adapter_fusion_config.json"
    description = json.loads(path.read_text("utf-8"))
    change(description)
    path.write_text(json.dumps(description), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["config"].update(temperature=True), "another kind of fusion"),
        (lambda d: d["config"].update(value=False), "another kind of fusion"),
        (lambda d: d["config"].update(query_before_ln=True), "another kind of fusion"),
        (lambda d: d.update(config=None), "another kind of fusion"),
        (lambda d: d.pop("config"), "describes no fusion"),
        (lambda d: d.update(hidden_size=64), "hidden_size 64"),
        (lambda d: d.update(model_type="roberta"), "model_type roberta"),
        (
            lambda d: d.update(adapter_names=["seq_bn", "other"]),
            "fuses seq_bn, other; loaded are seq_bn, seq_bn_inv",
        ),
        (lambda d: d.update(name="another", adapter_names=None), "fuses another; loaded are"),
    ],
)
def test_a_fusion_that_does_not_fit_is_refused(change, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        load_fusion(load_both(), damaged(tmp_path, change))


def test_a_folder_without_a_fusion_is_refused(tmp_path: Path) -> None:
    model = load_masked_model(str(GOLDEN / "bert" / "base"))
    with pytest.raises(InputError, match="contains no fusion"):
        load_fusion(model, GOLDEN / "bert" / "seq_bn")
    (tmp_path / "adapter_fusion_config.json").write_text("{", "utf-8")
    with pytest.raises(InputError, match="describes no fusion"):
        load_fusion(model, tmp_path)


def test_fusion_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = damaged(tmp_path, lambda d: None)
    path = folder / "model_adapter_fusion.safetensors"
    weights = load_file(path)
    key = min(weights)
    for change, message in (
        ({k: v for k, v in weights.items() if k != key}, "is missing"),
        ({**weights, key: torch.zeros(3)}, r"has shape \(3,\)"),
        ({**weights, key.replace("layer.0", "layer.7"): weights[key].clone()}, "do not fit this model"),
    ):
        save_file(change, path)
        with pytest.raises(InputError, match=message):
            load_fusion(load_both(), folder)
    path.unlink()
    with pytest.raises(InputError, match="missing or not readable"):
        load_fusion(load_both(), folder)


def test_lora_and_single_adapters_cannot_be_fused(tmp_path: Path) -> None:
    base = GOLDEN / "bert" / "base"
    model = load_masked_model(str(base))
    attach(model, "lora", LoraConfig())
    save_adapter(model, "lora", LoraConfig(), tmp_path, "base")
    with pytest.raises(InputError, match="a LoRA adapter cannot be fused"):
        load_members(load_masked_model(str(base)), [GOLDEN / "bert" / "seq_bn", tmp_path], ["a", "b"])
    attach(model, "text", SeqBnConfig())
    with pytest.raises(InputError, match="fusion of lora, text is not possible"):
        fuse(model)
    single = load_masked_model(str(base))
    attach(single, "text", SeqBnConfig())
    with pytest.raises(InputError, match="fusion of text is not possible"):
        fuse(single)
    attach(single, "graph", SeqBnConfig())
    fuse(single)
    attach(single, "task", SeqBnConfig())
    with pytest.raises(InputError, match="is not possible"):
        fuse(single)
    assert attached(single) == ["text,graph", "task"]


def test_members_are_told_apart_by_name(tmp_path: Path) -> None:
    """Two adapters of one language have one stored name; then their folders name them."""
    bert = GOLDEN / "bert"
    assert member_names([bert / "seq_bn", bert / "seq_bn_inv"]) == MEMBERS
    text, graph, other = tmp_path / "text", tmp_path / "graph-1", tmp_path / "deeper" / "text"
    for folder in (text, graph, other):
        shutil.copytree(bert / "seq_bn", folder)
    assert member_names([text, graph]) == ["text", "graph_1"]
    assert member_names([text, other]) == ["text_1", "text_2"]
    with pytest.raises(InputError, match="given twice"):
        member_names([text, text])
    copied = tmp_path / "copied"
    copied.mkdir()
    copy_member(bert / "seq_bn_inv", copied, "graph_1")
    model, same = (load_masked_model(str(bert / "base")) for _ in range(2))
    assert load_adapter(model, copied) == "graph_1"
    load_adapter(same, bert / "seq_bn_inv")
    inputs = load_file(bert / "expected.safetensors")
    for a, b in zip(model_outputs(model, inputs), model_outputs(same, inputs), strict=True):
        assert torch.equal(a, b)


def model_outputs(model, inputs):
    with torch.no_grad():
        result = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], output_hidden_states=True
        )
    return result.logits, result.hidden_states[-1]


@pytest.fixture(scope="module")
def members(tiny_xlm_roberta: Path, tmp_path_factory, maltese_lines) -> list[Path]:
    """Adapters of one language with one stored name, on text and on other text; the second is invertible."""
    folder = tmp_path_factory.mktemp("members")
    made = []
    for i, (name, method) in enumerate((("text", "seq_bn"), ("graph", "seq_bn_inv"))):
        corpus = folder / f"{name}.txt"
        corpus.write_text("\n".join(maltese_lines[60 * i : 60 * i + 60]), encoding="utf-8")
        recipe = AdaptRecipe(steps=20, method=method, reduction_factor=4.0, learning_rate=1e-2, batch_size=8)
        adapt(find_language("mlt"), str(tiny_xlm_roberta), corpus, folder / name, recipe)
        made.append(folder / name)
    return made


# In float32, as predict computes: a tie must not fall otherwise.
RECIPE = TaskRecipe(epochs=3, learning_rate=1e-2, seeds=(1, 2), reduction_factor=4.0, precision="float32")
FLAGS = ("--epochs", 3, "--lr", "1e-2", "--seeds", "1,2", "--set", "reduction_factor=4", "--precision", "float32")


@pytest.fixture(scope="module")
def fused_run(members: list[Path], tiny_xlm_roberta: Path, topic_folder: Path, tmp_path_factory) -> Path:
    """A fused run whose adapters lie elsewhere."""
    out = tmp_path_factory.mktemp("fused") / "run"
    train_task("topic", str(tiny_xlm_roberta), topic_folder, out, RECIPE, members)
    return out


def test_fuse_from_the_command_line(
    fused_run: Path, members: list[Path], tiny_xlm_roberta: Path, topic_folder: Path, tmp_path: Path, langlift
) -> None:
    """The command finishes what the Python call began: the same recipe, and the second seed again."""
    run = shutil.copytree(fused_run, tmp_path / "run")
    (run / "metrics.json").unlink()
    (run / "seed-2" / "metrics.json").unlink()
    command = ("fuse", *members, "--base", tiny_xlm_roberta, "--task", "topic", "--data", topic_folder, *FLAGS)
    result = langlift(*command, "--out", run, "--json", "--resume")
    assert result.code == 0, result.err
    assert result.json["seeds"] == json.loads((fused_run / "metrics.json").read_text("utf-8"))["seeds"]
    assert "not that of graph" in result.err
    adapters = [word for member in members for word in ("--language-adapter", member)]
    same = langlift("task", "topic", *adapters, *command[3:5], *command[7:], "--out", run, "--json", "--resume")
    assert same.json == result.json, "fuse is short for a task with several adapters"
    assert result.json["task"] == "topic" and len(result.json["seeds"]) == 2
    assert result.json["baseline"].keys() == {"tfidf", "majority"}
    d, m, layers, labels = 32, 8, 2, 2
    fusion, adapter, head = 3 * d * d + 2 * d, 2 * d * m + d + m, d * d + d + labels * (d + 1)
    assert result.json["trainable_parameters"] == layers * (fusion + adapter) + head
    report = result.json["report"]
    by_seed = report["fusion_attention_by_seed"]
    for attention in (report["fusion_attention"], *by_seed.values()):
        assert list(attention) == ["text", "graph"]
        assert [sum(shares) for shares in zip(*attention.values(), strict=True)] == pytest.approx([1, 1], abs=2e-4)
    assert by_seed["1"] != by_seed["2"]
    for seed in "12":
        metrics = json.loads((run / f"seed-{seed}" / "metrics.json").read_text("utf-8"))
        assert metrics["fusion_attention"] == by_seed[seed]
    picture = (run / "fusion_attention.svg").read_text("utf-8")
    for text in ("text, seed 1", "graph, mean", f">{report['fusion_attention']['text'][0]:.2f}<"):
        assert text in picture
    texts = tmp_path / "texts.txt"
    texts.write_text("Illum rajt il-futbol.\nMort l-ajruport.\n", encoding="utf-8")
    assert langlift("predict", run, "--text", texts, "--out", tmp_path / "labels.tsv").code == 0
    assert len((tmp_path / "labels.tsv").read_text("utf-8").splitlines()) == 3
    refused = langlift("export", run / "seed-1", "--to", "adapterhub", "--out", tmp_path / "exported")
    assert refused.code == 2 and "the task adapter of a fusion" in refused.err
    with pytest.raises(InputError, match="seed-1: the task adapter of a fusion, which cannot be used without it"):
        load_adapter(load_masked_model(str(tiny_xlm_roberta)), run / "seed-1")


def test_a_fused_run_is_whole_by_itself(fused_run: Path, tmp_path: Path, langlift) -> None:
    """Moved away from everything it was made of but the base, it predicts what was measured."""
    moved = shutil.copytree(fused_run, tmp_path / "moved")
    texts, labels = tmp_path / "texts.txt", tmp_path / "labels.jsonl"
    for seed in (1, 2):
        lines = (fused_run / f"seed-{seed}" / "test_predictions.jsonl").read_text("utf-8").splitlines()
        measured = [json.loads(line) for line in lines]
        texts.write_text("\n".join(row["text"] for row in measured), encoding="utf-8")
        assert langlift("predict", moved, "--seed", seed, "--text", texts, "--out", labels).code == 0
        predicted = [json.loads(line)["predicted"] for line in labels.read_text("utf-8").splitlines()]
        assert predicted == [row["predicted"] for row in measured]
    shutil.rmtree(moved / "fused_adapters")
    refused = langlift("predict", moved, "--text", texts, "--out", labels)
    assert refused.code == 2 and "fused_adapters: missing" in refused.err


def test_named_entities_on_a_fusion(members: list[Path], tiny_xlm_roberta: Path, tmp_path: Path) -> None:
    """A task on words: the regulariser, the report and padded batches of labelled tokens go together."""
    data = tmp_path / "ner"
    data.mkdir()
    words = ("Marija B-PER", "Borg I-PER", "tgħix O", "Valletta B-LOC", ". O")
    for split, count in (("train", 8), ("dev", 2), ("test", 3)):
        sentences = ["\n".join(words[: 3 + i % 3]) for i in range(count)]
        (data / f"{split}.conll").write_text("\n\n".join(sentences) + "\n", encoding="utf-8")
    for path in ("fast", "naive"):
        recipe = replace(RECIPE, seeds=(1,), epochs=1, batch_size=4, path=path)
        result = train_task("ner", str(tiny_xlm_roberta), str(data), tmp_path / path, recipe, members)
        attention = result.report["fusion_attention"]
        assert [sum(shares) for shares in zip(*attention.values(), strict=True)] == pytest.approx([1, 1], abs=2e-4)
        assert json.loads((tmp_path / path / "seed-1" / "head.json").read_text("utf-8"))["task"] == "ner"


def test_the_fused_adapters_are_kept_as_they_were(fused_run: Path, members: list[Path]) -> None:
    for member in members:
        kept = fused_run / "fused_adapters" / member.name
        assert json.loads((kept / "adapter_config.json").read_text("utf-8"))["name"] == member.name
        before, after = (load_file(folder / "adapter.safetensors") for folder in (member, kept))
        assert len(before) == len(after)
        for key, value in before.items():
            assert torch.equal(after[key.replace(".mlt_Latn.", f".{member.name}.")], value)


def test_what_trains_and_the_regulariser(members: list[Path], tiny_xlm_roberta: Path) -> None:
    model = load_masked_model(str(tiny_xlm_roberta))
    setup = Setup("topic", SeqBnConfig(4), dict(zip(("text", "graph"), members, strict=True)))
    setup.attach(model)
    train_only(model, "topic")
    places = [path.split(".LayerNorm.adapters.")[1] for path, p in model.named_parameters() if p.requires_grad]
    parts = [f"topic.{part}.{kind}" for part in ("down", "up") for kind in ("weight", "bias")]
    own = ["query.weight", "query.bias", "key.weight", "key.bias", "value.weight"]
    assert sorted(places) == sorted(2 * [*parts, *(f"text,graph.{part}" for part in own)])
    for fusion in fusions_of(model):
        with torch.no_grad():
            fusion.value.weight[0, 1] = 1.0
    # Twice 0.01 * ((1 - 0) ** 2) stands beside the mean loss of four items.
    classifier = TASKS["topic"].learner.new_model(model, 2, {"pooling": "first"})
    total, items = setup.loss(
        classifier,
        {"input_ids": torch.tensor([[0, 5, 2]])},
        lambda output, _: (0 * output.sum() + 8, torch.tensor(4)),
    )
    assert (total / items).item() == pytest.approx(2.0 + 0.02, abs=1e-6)


@pytest.mark.parametrize("task", ["first", "mean"])
def test_fast_and_naive_agree_on_a_fusion(fused_run: Path, task: str) -> None:
    """Labels' probabilities and the attention, unpadded and padded."""
    inputs = yaml.safe_load((fused_run / "seed-1" / "recipe.yaml").read_text("utf-8"))["inputs"]
    texts = ["Illum rajt il-vapur.", "Il-plejer.", "Il-bagalja u l-biljett " * 9]
    probabilities, attention = [], []
    for path in ("fast", "naive"):
        masked_model = load_masked_model(inputs["base"])
        load_trained(masked_model, "topic", fused_run / "seed-1", inputs)
        torch.manual_seed(0)
        model = TASKS["topic"].learner.new_model(masked_model, 2, {"pooling": task}).eval()
        encode = SentenceEncoder(load_tokenizer(inputs["base"]), masked_model, 64, path)
        probabilities.append(torch.from_numpy(class_probabilities(model, encode, texts)))
        with torch.inference_mode():
            attention.append(mean_attention(model, [encode.collate(encode.examples(texts))]))
    assert torch.allclose(*probabilities, atol=1e-5) and torch.allclose(*attention, atol=1e-5)
    assert attention[0].shape == (2, 2)


def test_the_mean_attention_counts_every_token_once(fused_run: Path) -> None:
    inputs = yaml.safe_load((fused_run / "seed-1" / "recipe.yaml").read_text("utf-8"))["inputs"]
    masked_model = load_masked_model(inputs["base"])
    load_trained(masked_model, "topic", fused_run / "seed-1", inputs)
    model = TASKS["topic"].learner.new_model(masked_model, 2, {"pooling": "first"}).eval()
    ids = [torch.tensor([[0, 5, 2]]), torch.tensor([[0, 7, 8, 9, 10, 2]])]
    with torch.inference_mode():
        short, long = (mean_attention(model, [{"input_ids": x}]) for x in ids)
        both = mean_attention(model, [{"input_ids": x} for x in ids])
    assert torch.allclose(both, (3 * short + 6 * long) / 9, atol=1e-6)
    assert not torch.allclose(short, long, rtol=0, atol=1e-4)


def test_fuse_says_what_it_cannot_do(
    members: list[Path], tiny_xlm_roberta: Path, tiny_bert: Path, topic_folder: Path, tmp_path: Path, langlift
) -> None:
    def fuse_with(*changed: object, base: Path = tiny_xlm_roberta, adapters: tuple = tuple(members)):
        flags = ("--task", "topic", "--data", topic_folder, "--out", tmp_path / "out")
        return langlift("fuse", *adapters, "--base", base, *flags, *changed)

    lora = tmp_path / "lora"
    lora.mkdir()
    model = load_masked_model(str(tiny_xlm_roberta))
    attach(model, "lora", LoraConfig())
    save_adapter(model, "lora", LoraConfig(), lora, "base")
    for result, message in (
        (fuse_with(adapters=(members[0], lora)), "a LoRA adapter cannot be fused"),
        (fuse_with(adapters=(members[0],)), "one adapter alone"),
        (fuse_with(adapters=(members[0], tmp_path)), "contains its adapters in subfolders"),
        (fuse_with("--method", "full"), "cannot be stacked on language adapters"),
        (fuse_with(base=tiny_bert), "model_type xlm-roberta"),
        (fuse_with("--task", "parsing"), "unknown task 'parsing'"),
    ):
        assert result.code == 2 and message in result.err
        assert result.err.count("\n") <= 4 and "Traceback" not in result.err
        assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ADAPTERHUB)
def test_the_reference_library_loads_ours(architecture: str, tmp_path: Path) -> None:
    python = os.environ.get("LANGLIFT_REFERENCE")
    if not python:
        pytest.skip("LANGLIFT_REFERENCE does not name the Python of the reference environment (make test-all)")
    torch.manual_seed(1)
    base = GOLDEN / architecture / "base"
    model = load_masked_model(str(base))
    for name in ("text", "graph"):
        attach(model, name, SeqBnConfig(3))
        randomise(model, name)
        (tmp_path / "members" / name).mkdir(parents=True)
        save_adapter(model, name, SeqBnConfig(3), tmp_path / "members" / name, "base")
    fused = fuse(model)
    attach(model, "task", SeqBnConfig(3))
    randomise(model, "task")
    with torch.no_grad():
        for _, parameter in fusion_keys(model, fused):
            parameter.normal_(std=0.1)
    run = tmp_path / "seed-1"
    run.mkdir()
    save_fusion(model, fused, run, "base")
    save_adapter(model, "task", SeqBnConfig(3), run, "base")
    inputs = load_file(GOLDEN / architecture / "expected.safetensors")
    inputs = {key: inputs[key] for key in ("input_ids", "attention_mask")}
    hidden = outputs(model, inputs)[1]
    save_file({**inputs, "hidden": hidden.contiguous()}, tmp_path / "expected.safetensors")
    script, expected = GOLDEN / "check_fusion_loads.py", tmp_path / "expected.safetensors"
    command = [python, script, base, tmp_path / "members", run, expected]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def randomise(model, name: str) -> None:
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if name in path.split("."):
                parameter.normal_(std=0.3)
