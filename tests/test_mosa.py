"""MoSA: the experts and their shares, the draws, both merges, the consistency term, and runs from end to end."""

import copy
import dataclasses
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MALTESE
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from test_fast_path import cosine, examples, loss_and_gradients
from test_ner import conll, sentence
from torch import nn
from torch.nn.functional import linear

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.composition import attach, train_only
from langlift.adapters.mosa import MosaConfig, SparseExperts, mix, shares
from langlift.backbones.loading import load_masked_model, load_tokenizer
from langlift.checkpoints.adapter_folder import load_adapter, save_adapter
from langlift.languages import find_language
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.runner import train_task
from langlift.tasks.setups import setup_for
from langlift.tasks.task import TASKS
from langlift.training import decoder_loss
from langlift.training.adaptation import adapt
from langlift.training.decoder_loss import summed_symmetric_divergence
from langlift.training.language_model_loss import loss_path
from langlift.training.loss_terms import consistent_loss, symmetric_divergence
from langlift.training.recipes import AdaptRecipe
from langlift.training.trainer import LiftTrainer, trainable_parameters

TOPIC = TASKS["topic"].learner
GOLDEN = Path(__file__).parent / "golden"
MALTESE_LANGUAGE = find_language("mlt")
QUICK = AdaptRecipe(
    method="mosa", steps=12, batch_size=4, learning_rate=1e-2, validate_every=3, save_steps=3, max_tokens=48,
    reduction_factor=2, precision="float32", validation_examples=24,
)  # fmt: skip
CONFIGS = [
    MosaConfig(experts, share, merge)
    for experts, share, merge in [
        (4, "down", "mean"),
        (3, "up", "joint"),
        (2, "none", "joint"),
        (4, "none", "mean"),
    ]
]


# --- shares


@given(entries=st.integers(1, 400), experts=st.integers(2, 9), seed=st.integers(0, 2**32 - 1))
def test_shares_are_disjoint_even_and_cover_every_entry(entries: int, experts: int, seed: int) -> None:
    torch.manual_seed(seed)
    owner = shares(entries, experts).numpy()
    masks = np.stack([owner == number for number in range(experts)])
    assert owner.shape == (entries,)
    assert (masks.sum(axis=0) == 1).all(), "every entry has exactly one owner"
    assert np.ptp(masks.sum(axis=1)) <= 1


def test_shares_are_scattered() -> None:
    torch.manual_seed(0)
    owner = shares(40_000, 4).numpy().reshape(200, 200)
    for number in range(4):
        for sums in ((owner == number).sum(axis=0), (owner == number).sum(axis=1)):
            assert sums.min() > 25 and sums.max() < 75, "each row and column belongs to all of them"


# --- one projection, against N full-size copies with masked gradients


class Copies:
    """The definition: N full-size copies of a linear module, each with its mask on the gradient."""

    def __init__(self, start: nn.Linear, experts: SparseExperts, count: int) -> None:
        self.linears = [copy.deepcopy(start) for _ in range(count)]
        self.masks = [experts.owner == number for number in range(count)]
        self.optimizer = torch.optim.AdamW(
            [p for m in self.linears for p in m.parameters()], lr=0.05, weight_decay=0
        )
        for module in self.linears:
            for parameter in module.parameters():
                parameter.grad = torch.zeros_like(parameter)  # as PyTorch 1.11's zero_grad leaves it

    def step(self, number: int, x: torch.Tensor, goal: torch.Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=False)
        (self.linears[number](x) - goal).square().mean().backward()
        self.linears[number].weight.grad *= self.masks[number]
        self.optimizer.step()


def new_experts(config: MosaConfig) -> tuple[nn.Linear, SparseExperts]:
    torch.manual_seed(0)
    start = nn.Linear(7, 5)
    return start, SparseExperts(start, config)


@settings(deadline=None, max_examples=20)
@given(draws=st.lists(st.integers(0, 2), min_size=1, max_size=12), merge=st.sampled_from(["mean", "joint"]))
def test_training_and_both_merges_equal_full_size_copies(draws: list[int], merge: str) -> None:
    start, ours = new_experts(MosaConfig(3, "none", merge))
    copies = Copies(start, ours, 3)
    optimizer = torch.optim.AdamW(ours.parameters(), lr=0.05, weight_decay=0)
    random = torch.Generator().manual_seed(len(draws))
    for number in draws:
        x, goal = torch.randn(6, 7, generator=random), torch.randn(6, 5, generator=random)
        copies.step(number, x, goal)
        ours.drawn = number
        optimizer.zero_grad()
        (ours(x) - goal).square().mean().backward()
        optimizer.step()
    for number, theirs in enumerate(copies.linears):
        weight, bias = ours.expert(number)
        assert torch.allclose(weight, theirs.weight, atol=1e-6)
        assert torch.allclose(bias, theirs.bias, atol=1e-6)
        outside = ~copies.masks[number]
        assert torch.equal(weight[outside], start.weight[outside])
    weights = torch.stack([m.weight for m in copies.linears])
    expected = weights.mean(dim=0) if merge == "mean" else sum(
        m * w for m, w in zip(copies.masks, weights, strict=True)
    )  # fmt: skip
    bias = torch.stack([m.bias for m in copies.linears]).mean(dim=0)
    ours.eval()
    x = torch.randn(4, 7, generator=random)
    assert torch.allclose(ours.merged()[0], expected, atol=1e-6)
    assert torch.allclose(ours(x), linear(x, expected, bias), atol=1e-5)


@pytest.mark.parametrize("number", [0, 3])
def test_gradients_vanish_outside_the_drawn_experts_share(number: int) -> None:
    _, experts = new_experts(MosaConfig(4, "none"))
    experts.drawn = number
    experts(torch.randn(9, 7)).square().sum().backward()
    own = experts.owner == number
    assert not experts.entries.grad[~own].any()
    assert experts.entries.grad[own].abs().min() > 0
    of_biases = experts.biases.grad.view(4, 5)
    assert of_biases[number].abs().min() > 0
    assert not of_biases[[i for i in range(4) if i != number]].any()


def test_training_without_a_draw_is_an_error() -> None:
    _, experts = new_experts(MosaConfig())
    with pytest.raises(RuntimeError, match="no expert has been drawn"):
        experts(torch.randn(2, 7))


# --- a mixture in a model


def mixed_model(folder: Path, config: MosaConfig, reduction_factor: float = 2):
    """A model with a mixture whose entries and biases have moved, as by training."""
    model = load_masked_model(str(folder))
    torch.manual_seed(5)
    attach(model, "mlt", SeqBnConfig(reduction_factor))
    mixture = mix(model, "mlt", config)
    train_only(model, "mlt")
    with torch.no_grad():
        for parameter in trainable(model):
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model, mixture


def trainable(model) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def experts_of(model) -> list[SparseExperts]:
    return [module for module in model.modules() if isinstance(module, SparseExperts)]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_mixture_starts_from_one_initialisation_with_the_up_projection_zero(tiny_bert: Path, config) -> None:
    model = load_masked_model(str(tiny_bert))
    attach(model, "mlt", SeqBnConfig(2))
    down = {n: p.clone() for n, p in model.named_parameters() if n.endswith("down.weight")}
    mix(model, "mlt", config)
    assert len(experts_of(model)) == 2 * len(config.mixed)
    for name, module in model.named_modules():
        if isinstance(module, SparseExperts):
            first = down.get(f"{name}.weight", torch.zeros_like(module.initial))
            for number in range(config.experts):
                weight, bias = module.expert(number)
                assert torch.equal(weight, first) and not bias.any()
        elif name.endswith(".mlt.up"):
            assert not module.weight.any()
    train_only(model, "mlt")
    # 2 layers x (weights of Seq_bn, a bias for each expert of what is split).
    biases = {"down": 16, "up": 32}
    count = sum(size * (config.experts if part in config.mixed else 1) for part, size in biases.items())
    assert sum(p.numel() for p in trainable(model)) == 2 * (2 * 16 * 32 + count)
    assert sum(p.numel() for p in trainable_parameters(model).values()) == 2 * (2 * 16 * 32 + count)


def test_layers_have_shares_of_their_own(tiny_bert: Path) -> None:
    model, _ = mixed_model(tiny_bert, MosaConfig(share="none"))
    owners = [m.owner.flatten() for m in experts_of(model)]
    assert all(not torch.equal(a, b) for i, a in enumerate(owners) for b in owners[:i])
    again, _ = mixed_model(tiny_bert, MosaConfig(share="none"))
    assert all(torch.equal(a.owner, b.owner) for a, b in zip(experts_of(model), experts_of(again), strict=True))


def test_draws_follow_from_seed_step_and_pass_alone(tiny_bert: Path) -> None:
    model, mixture = mixed_model(tiny_bert, MosaConfig(2, "none"))

    def drawn() -> tuple[int, ...]:
        return tuple(m.drawn for m in experts_of(model))

    seen: dict[tuple[int, int], tuple[int, ...]] = {}
    for step in range(300):
        mixture.draw(7, step)
        seen[step, 0] = drawn()
        mixture.redraw()
        seen[step, 1] = drawn()
    torch.manual_seed(99)
    np.random.seed(99)
    for step in (250, 3):
        mixture.draw(7, step)
        assert drawn() == seen[step, 0]
        mixture.redraw()
        assert drawn() == seen[step, 1]
    for which in (0, 1):  # all combinations of down and up in both layers occur, about as often
        counts = np.unique([seen[step, which] for step in range(300)], axis=0, return_counts=True)[1]
        assert len(counts) == 16 and counts.min() >= 5
    assert 0.3 < np.mean([np.array(seen[s, 0]) == np.array(seen[s, 1]) for s in range(300)]) < 0.7
    again = {}
    for step in range(300):
        mixture.draw(8, step)
        again[step] = drawn()
    assert 0.3 < np.mean([np.array(seen[s, 0]) == np.array(again[s]) for s in range(300)]) < 0.7, "another seed"


@pytest.mark.parametrize("config", CONFIGS)
def test_merged_saved_and_loaded_it_computes_the_same(base: Path, config: MosaConfig, tmp_path: Path) -> None:
    model, mixture = mixed_model(base, config)
    batch = {"input_ids": torch.tensor([[2, 9, 30, 41, 7, 3]])}
    model.eval()
    with torch.no_grad():
        validated = model(**batch).logits
        mixture.merge()
        merged = model(**batch).logits
        save_adapter(model, "mlt", SeqBnConfig(2), tmp_path, "base")
        plain = load_masked_model(str(base))
        without = plain(**batch).logits
        load_adapter(plain, tmp_path)
        loaded = plain.eval()(**batch).logits
    assert not experts_of(model)
    assert torch.equal(merged, loaded)
    assert torch.equal(merged, validated)
    assert not torch.allclose(without, loaded, atol=1e-2)
    seq_bn = tmp_path / "seq_bn"
    seq_bn.mkdir()
    ordinary = load_masked_model(str(base))
    attach(ordinary, "mlt", SeqBnConfig(2))
    save_adapter(ordinary, "mlt", SeqBnConfig(2), seq_bn, "base")
    ours, theirs = (load_file(folder / "adapter.safetensors") for folder in (tmp_path, seq_bn))
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    texts = [(folder / "adapter_config.json").read_text(encoding="utf-8") for folder in (tmp_path, seq_bn)]
    assert texts[0] == texts[1]


def test_a_mixture_that_is_not_merged_cannot_be_saved(tiny_bert: Path, tmp_path: Path) -> None:
    model, _ = mixed_model(tiny_bert, MosaConfig())
    with pytest.raises(AttributeError):
        save_adapter(model, "mlt", SeqBnConfig(2), tmp_path, "base")


# --- the consistency term


@pytest.mark.parametrize("at_once", [1, 300, 2**26])
@pytest.mark.parametrize("with_bias", [True, False])
def test_the_divergence_in_chunks_is_the_published_one(at_once: int, with_bias: bool, monkeypatch) -> None:
    monkeypatch.setattr(decoder_loss, "CHUNK_LOGITS", at_once)
    monkeypatch.setattr(decoder_loss, "CACHE_LOGITS", 200)
    torch.manual_seed(0)
    first, second = (torch.randn(13, 8, requires_grad=True) for _ in range(2))
    weight, bias = torch.randn(90, 8), torch.randn(90) if with_bias else None
    a, b = linear(first, weight, bias), linear(second, weight, bias)
    p, q = a.softmax(-1), b.softmax(-1)
    value = 0.5 * ((p * (p / q).log()).sum() + (q * (q / p).log()).sum())
    # each distribution is drawn towards the other one, which stands still
    moving = 0.5 * ((q.detach() * (q.detach() / p).log()).sum() + (p.detach() * (p.detach() / q).log()).sum())
    expected = torch.autograd.grad(moving * 0.7, [first, second], retain_graph=True)
    for total in (symmetric_divergence(a, b), summed_symmetric_divergence(first, second, weight, bias)):
        assert total.item() == pytest.approx(value.item(), rel=1e-5)
        for mine, theirs in zip(torch.autograd.grad(total * 0.7, [first, second]), expected, strict=True):
            assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        same = summed_symmetric_divergence(first, first, weight, bias)
    assert same.item() == 0.0


def test_no_logits_are_kept_for_the_divergence() -> None:
    first, second, weight = torch.randn(50, 8, requires_grad=True), torch.randn(50, 8), torch.randn(1000, 8)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        summed_symmetric_divergence(first, second, weight, None)
    assert sum(kept) <= first.numel() + 1


@pytest.mark.parametrize("share", ["down", "none"])
def test_consistent_loss_and_gradients_on_both_paths(base: Path, share: str, maltese_lines: list[str]) -> None:
    model, mixture = mixed_model(base, MosaConfig(share=share))
    tokenizer = load_tokenizer(str(base))
    model.eval()  # no dropout, so that only the experts differ between passes
    for module in experts_of(model):
        module.train()
    some = examples(tokenizer, maltese_lines[:6])
    found = {}
    for path in ("naive", "fast"):
        way = loss_path(path, model, tokenizer.pad_token_id)
        batch = way.collate(some)
        for weight in (0.0, 2.0):
            mixture.draw(0, 3)
            loss = consistent_loss(path, mixture, weight)
            found[path, weight] = loss_and_gradients(model, loss, batch)
        mixture.draw(0, 3)
        plain = loss_and_gradients(model, way.loss, batch)
        assert found[path, 0.0][0] == pytest.approx(plain[0], rel=1e-6)
    assert found["fast", 2.0][0] > found["fast", 0.0][0] + 1e-3
    assert found["fast", 2.0][0] == pytest.approx(found["naive", 2.0][0], rel=1e-6)
    assert cosine(found["fast", 2.0][1], found["naive", 2.0][1]) > 0.99999
    assert cosine(found["fast", 2.0][1], found["fast", 0.0][1]) < 0.999


# --- runs


def run(tiny_bert: Path, out: Path, resume: bool = False, **changes):
    return adapt(MALTESE_LANGUAGE, str(tiny_bert), MALTESE, out, dataclasses.replace(QUICK, **changes), resume)


@pytest.mark.parametrize(
    ("share", "merge", "consistency", "path"),
    [("down", "mean", 1.0, "fast"), ("none", "joint", 0.0, "fast"), ("up", "mean", 1.0, "naive")],
)
def test_adapting_lowers_the_loss_and_validates_what_is_saved(
    tiny_bert: Path, tmp_path: Path, share: str, merge: str, consistency: float, path: str
) -> None:
    settings_ = {"share": share, "merge": merge, "consistency": consistency, "path": path}
    result = run(tiny_bert, tmp_path / "run", steps=40, learning_rate=3e-2, validate_every=8, **settings_)
    assert result.validation_loss < result.validation_loss_before - 0.01
    assert result.best_step > 0
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert {"adapter_config.json", "adapter.safetensors", "metrics.json"} <= names and "checkpoints" not in names
    # An ordinary Seq_bn run that goes on from the saved adapter begins at the loss that was reported.
    recipe = dataclasses.replace(QUICK, method="seq_bn", steps=1)
    after = adapt(MALTESE_LANGUAGE, str(tiny_bert), MALTESE, tmp_path / "after", recipe, init=tmp_path / "run")
    assert after.validation_loss_before == pytest.approx(result.validation_loss, rel=1e-6)


def test_a_mixture_can_start_from_an_adapter(tiny_bert: Path, tmp_path: Path) -> None:
    """All experts are that adapter."""
    first = run(tiny_bert, tmp_path / "first", method="seq_bn", steps=24, validate_every=8, learning_rate=3e-2)
    recipe = dataclasses.replace(QUICK, steps=1, share="none")
    mixed = adapt(MALTESE_LANGUAGE, str(tiny_bert), MALTESE, tmp_path / "mixed", recipe, init=tmp_path / "first")
    assert first.best_step > 0
    assert mixed.validation_loss_before == pytest.approx(first.validation_loss, rel=1e-6)


def test_a_stopped_run_goes_on_with_all_its_experts(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tiny_bert, tmp_path / "whole", share="none")
    save = LiftTrainer._save_checkpoint

    def save_and_stop(self, *arguments, **keywords):
        save(self, *arguments, **keywords)
        if self.state.global_step == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(LiftTrainer, "_save_checkpoint", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_bert, tmp_path / "broken", share="none")
    monkeypatch.undo()
    stored = load_file(tmp_path / "broken" / "checkpoints" / "checkpoint-6" / "trainable.safetensors")
    assert sum(".entries" in name for name in stored) == 4
    assert all(len(v) == 4 * 32 for k, v in stored.items() if k.endswith("up.biases"))
    resumed = run(tiny_bert, tmp_path / "broken", share="none", resume=True)
    assert resumed.validation_loss == whole.validation_loss
    files = [(tmp_path / name / "adapter.safetensors").read_bytes() for name in ("whole", "broken")]
    assert files[0] == files[1]


def test_weights_decay_and_biases_do_not(tiny_bert: Path, tmp_path: Path, monkeypatch) -> None:
    groups = []
    monkeypatch.setattr(
        LiftTrainer,
        "resume_or_start",
        lambda self: groups.append((self.model, self.create_optimizer().param_groups)) or 1 / 0,
    )
    with pytest.raises(ZeroDivisionError):
        run(tiny_bert, tmp_path / "run", share="none", weight_decay=0.1)
    model, found = groups[0]
    decayed = {id(p) for group in found if group["weight_decay"] > 0 for p in group["params"]}
    names = {n.rsplit(".", 1)[1]: id(p) in decayed for n, p in model.named_parameters() if p.requires_grad}
    assert names == {"entries": True, "biases": False}


def test_from_the_command_line_to_a_score(langlift, tiny_bert: Path, tmp_path: Path) -> None:
    out, text = tmp_path / "run", tmp_path / "text.txt"
    text.write_text("Il-baħar kien kalm.\nIl-kelb raqad wara l-bieb.\n", encoding="utf-8")
    made = langlift(
        "adapt", "mlt", "--base", tiny_bert, "--data", MALTESE, "--out", out, "--method", "mosa", "--steps", 4,
        "--set", "experts=3", "--set", "share=none", "--set", "merge=joint", "--set", "consistency=0.5", "--json",
    )  # fmt: skip
    assert made.code == 0, made.err
    assert made.json["method"] == "mosa"
    recipe = (out / "recipe.yaml").read_text(encoding="utf-8")
    assert all(line in recipe for line in ("experts: 3", "share: none", "merge: joint", "consistency: 0.5"))
    assert "mixture of sparse adapters" in (out / "README.md").read_text(encoding="utf-8")
    scored = langlift("score", "--base", tiny_bert, "--adapter", out, "--text", text, "--json")
    assert scored.code == 0, scored.err
    wrong = langlift("adapt", "mlt", "--base", tiny_bert, "--data", MALTESE, "--out", out, "--set", "share=both")
    assert wrong.code == 2 and "share must be one of down, up, none, not 'both'" in wrong.err


def test_a_task_stacked_on_a_language_adapter(
    langlift, tiny_bert: Path, topic_folder: Path, tmp_path: Path
) -> None:
    below, out, text = tmp_path / "language", tmp_path / "run", tmp_path / "text.txt"
    below.mkdir()
    torch.manual_seed(0)  # the adapter below is random; on some of them so short a training does not get far
    model = load_masked_model(str(tiny_bert))
    attach(model, "mlt", SeqBnConfig(4))
    save_adapter(model, "mlt", SeqBnConfig(4), below, str(tiny_bert))
    command = [
        "task", "topic", "--base", tiny_bert, "--language-adapter", below, "--data", topic_folder, "--out", out,
        "--method", "mosa", "--epochs", 14, "--batch-size", 8, "--lr", "5e-3", "--seeds", "1",  # 2e-2 is too high
        "--set", "reduction_factor=2", "--set", "pooling=mean", "--set", "share=none",
        "--precision", "float32", "--json",  # as predict computes: a tie must not fall otherwise
    ]  # fmt: skip
    made = langlift(*command)
    assert made.code == 0, made.err
    assert made.json["method"] == "mosa" and made.json["mean"] > 60
    again = langlift(*command, "--resume")
    assert again.json == made.json
    stored = load_file(out / "seed-1" / "adapter.safetensors")
    assert sum(v.numel() for v in stored.values()) == 2 * (2 * 16 * 32 + 16 + 32), "an ordinary adapter"
    rows = (out / "seed-1" / "test_predictions.jsonl").read_text(encoding="utf-8").splitlines()
    tested = [json.loads(row) for row in rows]
    text.write_text("".join(row["text"] + "\n" for row in tested), encoding="utf-8")
    labelled = langlift("predict", out, "--text", text, "--out", tmp_path / "answers.jsonl")
    assert labelled.code == 0, labelled.err
    answers = (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line)["predicted"] for line in answers]
    assert found == [row["predicted"] for row in tested], "the saved adapter predicts as the tested model did"
    assert len(set(found)) == 2


def test_the_loss_of_a_task_adds_the_divergence_of_a_second_pass(tiny_bert: Path) -> None:
    recipe = TaskRecipe(method="mosa", share="none", reduction_factor=2, consistency=3.0)
    setup = setup_for("topic", recipe)
    masked_model = load_masked_model(str(tiny_bert))
    torch.manual_seed(0)
    setup.attach(masked_model)
    model = TOPIC.new_model(masked_model, 3, {"pooling": "mean"})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.eval()
    for module in experts_of(model):
        module.train()
    batch = {"input_ids": torch.tensor([[2, 9, 30, 3], [2, 8, 7, 3]]), "labels": torch.tensor([0, 2])}
    setup.mixture.draw(1, 0)
    total, items = setup.loss(model, batch, TOPIC.loss)
    setup.mixture.draw(1, 0)
    first = model(batch)
    setup.mixture.redraw()
    p, q = first.softmax(-1), model(batch).softmax(-1)
    divergence = ((p - q) * (p.log() - q.log())).sum() / 2
    assert items == 2 and divergence > 1e-4
    assert total.item() == pytest.approx((TOPIC.loss(first, batch)[0] + 3 * divergence).item(), rel=1e-5)


def test_named_entities_are_learned_by_a_mixture(tiny_bert: Path, tmp_path: Path) -> None:
    for split, count in (("train", 24), ("dev", 6), ("test", 6)):
        (tmp_path / f"{split}.conll").write_text(conll([sentence(i) for i in range(count)]), encoding="utf-8")
    recipe = TaskRecipe(
        method="mosa",
        epochs=10,
        batch_size=8,
        learning_rate=2e-2,
        seeds=(1,),
        reduction_factor=2,
        precision="float32",
    )
    result = train_task("ner", str(tiny_bert), tmp_path, tmp_path / "run", recipe)
    assert result.mean > 30
    assert load_adapter(load_masked_model(str(tiny_bert)), tmp_path / "run" / "seed-1") == "ner"


def test_a_task_stopped_and_resumed_ends_in_the_same_adapter(
    tiny_bert: Path, topic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = TaskRecipe(method="mosa", epochs=2, batch_size=8, learning_rate=1e-2, seeds=(3,), precision="float32")
    train_task("topic", str(tiny_bert), topic_folder, tmp_path / "whole", recipe)
    save = LiftTrainer._save_checkpoint

    def save_and_stop(self, *arguments, **keywords):
        save(self, *arguments, **keywords)
        raise KeyboardInterrupt

    monkeypatch.setattr(LiftTrainer, "_save_checkpoint", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        train_task("topic", str(tiny_bert), topic_folder, tmp_path / "broken", recipe)
    monkeypatch.undo()
    train_task("topic", str(tiny_bert), topic_folder, tmp_path / "broken", recipe, resume=True)
    files = [(tmp_path / n / "seed-3" / "adapter.safetensors").read_bytes() for n in ("whole", "broken")]
    assert files[0] == files[1]


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS)
def test_the_reference_library_loads_a_merged_mixture(config: MosaConfig, tmp_path: Path) -> None:
    python = os.environ.get("LANGLIFT_REFERENCE")
    if not python:
        pytest.skip("LANGLIFT_REFERENCE does not name the Python of the reference environment (make test-all)")
    base = GOLDEN / "xlm-roberta" / "base"
    model, mixture = mixed_model(base, config, reduction_factor=3)
    mixture.merge()
    expected = load_file(GOLDEN / "xlm-roberta" / "expected.safetensors")
    inputs = {key: expected[key] for key in ("input_ids", "attention_mask")}
    with torch.no_grad():
        hidden = model.eval()(**inputs, output_hidden_states=True).hidden_states[-1]
    save_file({**inputs, "hidden": hidden.contiguous()}, tmp_path / "expected.safetensors")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    save_adapter(model, "mlt", SeqBnConfig(3), adapter, "base")
    command = [python, GOLDEN / "check_ours_loads.py", base, adapter, tmp_path / "expected.safetensors"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
