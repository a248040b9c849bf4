"""The fast path computes what the naive one computes: each trick by itself, then all of them on every backbone."""

import dataclasses
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import test_training
import torch
from conftest import MALTESE
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.composition import attach, train_only
from langlift.adapters.peft_adapter import LoraConfig
from langlift.backbones import segmented_attention
from langlift.backbones.cuda_graphs import LENGTH_STEP, GraphedStates
from langlift.backbones.hidden_states import hidden_states
from langlift.backbones.loading import NANO, default_device, load_masked_model, load_tokenizer
from langlift.backbones.quick_dropout import QuickDropout, dropout_noise, use_quick_dropout
from langlift.backbones.registry import backbone_of, first_position
from langlift.backbones.segmented_attention import (
    Attention,
    SegmentedAttention,
    Segments,
    _fused_by_run,
    _fused_padded,
)
from langlift.config.loading import resolve
from langlift.errors import InputError
from langlift.evaluation.pseudo_perplexity import score_sentences
from langlift.heads.classification import summed_class_loss
from langlift.languages import find_language
from langlift.masking import IGNORED, MaskedLanguageModel
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.runner import train_task
from langlift.tasks.sentences import SentenceEncoder, class_probabilities
from langlift.tasks.task import TASKS
from langlift.training import decoder_loss, language_model_loss, precision
from langlift.training.adaptation import adapt
from langlift.training.decoder_loss import log_probabilities, summed_cross_entropy
from langlift.training.examples import FlatBatch, PadBatch, masked_examples
from langlift.training.language_model_loss import fast_loss, loss_path, summed_loss
from langlift.training.precision import autocast, cast_frozen, has_bf16, precision_name, use_bf16
from langlift.training.recipes import AdaptRecipe, FurtherRecipe

CPU = torch.device("cpu")
CONFIGS = {
    "seq_bn": SeqBnConfig(2),
    "seq_bn_inv": SeqBnConfig(2, invertible=True),
    "lora": LoraConfig(rank=4),
    "full": None,
}


def examples(tokenizer, sentences, share=0.3):
    rows = [np.asarray(ids) for ids in tokenizer(sentences)["input_ids"]]
    special = frozenset(tokenizer.all_special_ids)
    masking = MaskedLanguageModel(tokenizer.mask_token_id, special, len(tokenizer), share)
    example = masked_examples(rows, masking, seed=0)
    return [example(i, 0) for i in range(len(rows))]


def prepared(base: Path, method: str):
    model = load_masked_model(str(base))
    torch.manual_seed(1)
    if CONFIGS[method] is not None:
        attach(model, "mlt", CONFIGS[method])
        train_only(model, "mlt")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "mlt" in name.split("."):  # also LoRA's B, which starts from zero
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def loss_and_gradients(model, way, batch_of, bf16=False):
    """The mean loss, and the gradients of everything that trains."""
    model.zero_grad()
    with autocast(CPU, bf16):
        total, count = way(model, batch_of)
    (total / count).backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return total.item() / count.item(), gradients


def cosine(left, right):
    assert left.keys() == right.keys()
    a, b = (torch.cat([g[n].double().reshape(-1) for n in sorted(left)]) for g in (left, right))
    return float(a @ b / (a.norm() * b.norm()))


# --- each trick by itself


def separate_attention(q, k, v, lengths, how):
    outputs, start = [], 0
    for length in lengths:
        part = [x[start : start + length].transpose(0, 1) for x in (q, k, v)]
        places = torch.arange(length)
        near = torch.ones(length, length, dtype=torch.bool)
        if how.window is not None:
            near &= (places[:, None] - places).abs() < how.window
        if how.causal:
            near &= places[:, None] >= places
        outputs.append(scaled_dot_product_attention(*part, attn_mask=near, scale=how.scale).transpose(0, 1))
        start += length
    return torch.cat(outputs)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    how=st.builds(Attention, st.booleans(), st.sampled_from([None, 1, 4]), st.just(0.3)),
    cost=st.sampled_from([0, 30, 10_000]),
)
def test_segmented_attention_is_attention_in_each_sentence(lengths, how, cost):
    random = torch.Generator().manual_seed(sum(lengths))
    q, k, v, g = (torch.randn(sum(lengths), 2, 4, generator=random, dtype=torch.float64) for _ in range(4))
    inputs = [x.requires_grad_() for x in (q, k, v)]
    segments = Segments(tuple(lengths))
    assert sum(count for _, count, _ in segments.runs) == len(lengths)
    with patch.object(segmented_attention, "GROUP_COST", cost):
        groups = segments.groups
        segmented_attention._layout.cache_clear()
        ours = SegmentedAttention.apply(*inputs, segments, how)
    assert [length for group in groups for length in group.lengths] == lengths
    assert len(groups) == {0: len(segments.runs), 10_000: 1}.get(cost, len(groups))
    expected = separate_attention(*inputs, lengths, how)
    assert torch.allclose(ours, expected)
    wanted = torch.autograd.grad(expected, inputs, g, retain_graph=True)
    fused = [way(*inputs, segments, how) for way in (_fused_by_run, _fused_padded)]
    for found in (ours, *fused):
        assert torch.allclose(found, expected)
        for mine, theirs in zip(torch.autograd.grad(found, inputs, g), wanted, strict=True):
            assert torch.allclose(mine, theirs)


def test_attention_that_validation_asked_for_first_can_be_trained():
    random = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(12, 2, 4, generator=random) for _ in range(3))
    segments = Segments((3, 9))
    with torch.inference_mode():
        expected = _fused_padded(q, k, v, segments, Attention(False, 2, 0.5))
    found = _fused_padded(q.requires_grad_(), k, v, segments, Attention(False, 2, 0.5))
    assert torch.allclose(found, expected)
    assert torch.autograd.grad(found.sum(), q)[0].isfinite().all()


def test_segmented_attention_with_dropout_has_the_right_gradient():
    q, k, v = (torch.randn(9, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(3))

    def attended(*inputs):
        torch.manual_seed(0)
        return SegmentedAttention.apply(*inputs, Segments((3, 3, 2, 1)), Attention(False, None, 0.5, 0.3))

    assert torch.autograd.gradcheck(attended, (q, k, v))
    torch.manual_seed(1)
    ones, segments = torch.ones(4000, 1, 1), Segments((40,) * 100)
    dropped = SegmentedAttention.apply(ones, ones, ones, segments, Attention(False, None, 1.0, 0.25))
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.01)
    assert dropped.var().item() == pytest.approx(0.25 / 0.75 / 40, rel=0.1)


def test_quick_dropout_drops_and_scales_as_dropout_does():
    torch.manual_seed(0)
    for dtype, shape in ((torch.float32, (1001, 301)), (torch.bfloat16, (7, 3, 11_000)), (torch.float32, (0, 4))):
        model = nn.Sequential(nn.Dropout(0.3))
        use_quick_dropout(model)
        assert type(model[0]) is QuickDropout
        ones = torch.ones(shape, dtype=dtype, requires_grad=True)
        out = model(ones)
        assert out.dtype == dtype and out.shape == shape
        assert torch.equal(torch.autograd.grad(out.sum(), ones)[0], out)
        if out.numel():
            kept = out[out != 0].double()
            assert kept.unique().numel() == 1 and kept[0].item() == pytest.approx(1 / 0.7, rel=2e-3)
            assert (out != 0).double().mean().item() == pytest.approx(0.7, abs=0.005)
            neighbours = (out.flatten()[1:] != 0) & (out.flatten()[:-1] != 0)
            assert neighbours.double().mean().item() == pytest.approx(0.49, abs=0.01), "drawn independently"
        assert torch.equal(model.eval()(ones), ones)
    torch.manual_seed(5)
    first = dropout_noise(torch.ones(50), 0.5)
    torch.manual_seed(5)
    assert torch.equal(dropout_noise(torch.ones(50), 0.5), first), "resuming depends on it"
    assert dropout_noise(torch.ones(9), 1.0).tolist() == [0.0] * 9


@pytest.mark.parametrize("at_once", [1, 300, 2**26])
@pytest.mark.parametrize("with_bias", [True, False])
def test_chunked_cross_entropy_is_cross_entropy(at_once, with_bias, monkeypatch):
    monkeypatch.setattr(decoder_loss, "CHUNK_LOGITS", at_once)
    monkeypatch.setattr(decoder_loss, "CACHE_LOGITS", 200)
    torch.manual_seed(0)
    hidden, weight = torch.randn(13, 8, requires_grad=True), torch.randn(90, 8, requires_grad=True)
    bias = torch.randn(90, requires_grad=True) if with_bias else None
    targets = torch.randint(90, (13,))
    inputs = [x for x in (hidden, weight, bias) if x is not None]
    logits = nn.functional.linear(hidden, weight, bias)
    plain = cross_entropy(logits, targets, reduction="sum")
    expected = torch.autograd.grad(plain * 0.5, inputs)
    total = summed_cross_entropy(hidden, weight, bias, targets)
    assert total.item() == pytest.approx(plain.item(), rel=1e-6)
    for mine, theirs in zip(torch.autograd.grad(total * 0.5, inputs), expected, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    log_p = logits.log_softmax(-1)[torch.arange(13), targets]
    assert torch.allclose(log_probabilities(hidden, weight, bias, targets), log_p, atol=1e-5)
    with torch.no_grad():
        assert summed_cross_entropy(hidden, weight, bias, targets).item() == pytest.approx(plain.item(), rel=1e-6)


def test_no_logits_are_kept_for_the_backward_pass():
    hidden, weight = torch.randn(50, 8, requires_grad=True), torch.randn(1000, 8)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        summed_cross_entropy(hidden, weight, None, torch.zeros(50, dtype=torch.long))
    assert sum(kept) <= hidden.numel() + 1


def test_flat_batches_are_sorted_and_unpadded():
    rows = [np.array([0, 7, 8, 2]), np.array([0, 5, 2]), np.array([0, 9, 2])]
    batch = FlatBatch(first_position=2)([{"input_ids": row, "labels": row + 10} for row in rows])
    assert batch["input_ids"].tolist() == [[0, 5, 2, 0, 9, 2, 0, 7, 8, 2]]
    assert batch["labels"].tolist() == [[10, 15, 12, 10, 19, 12, 10, 17, 18, 12]]
    assert batch["position_ids"].tolist() == [[2, 3, 4, 2, 3, 4, 2, 3, 4, 5]]
    assert batch["lengths"].tolist() == [3, 3, 4]
    classes = FlatBatch(0)([{"input_ids": row, "labels": np.array(4 + i)} for i, row in enumerate(rows)])
    assert classes["labels"].tolist() == [5, 6, 4]


def test_the_last_layer_ends_with_the_rows_that_are_needed(base: Path, maltese_lines: list[str]) -> None:
    model, tokenizer = load_masked_model(str(base)), load_tokenizer(str(base))
    batch = loss_path("fast", model, tokenizer.pad_token_id).collate(examples(tokenizer, maltese_lines[:4]))
    rows = batch["labels"] != IGNORED
    last = model.base_model.get_submodule(backbone_of(model).bottleneck.format(layer=1).split(".output")[0])
    counts = {}
    for name, module in last.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(
                lambda m, i, o, name=name: counts.update({name: o.reshape(-1, o.shape[-1]).shape[0]})
            )
    with torch.no_grad():
        few = hidden_states(model, batch, rows)
        narrow = {name for name, count in counts.items() if count == int(rows.sum())}
        assert set(counts.values()) == {int(rows.sum()), rows.numel()}
        all_rows = hidden_states(model, batch)
    assert len(narrow) >= 2, "the feed-forward part"
    assert set(counts.values()) == {rows.numel()}, "no hook is left behind"
    assert torch.allclose(few, all_rows[rows.reshape(-1)], atol=1e-6)


def test_nothing_is_kept_below_the_first_trainable_module(base: Path, maltese_lines: list[str]) -> None:
    model, tokenizer = prepared(base, "seq_bn"), load_tokenizer(str(base))
    for name, parameter in model.named_parameters():  # only the last layer's adapter trains
        parameter.requires_grad_(parameter.requires_grad and ".1." in name)
    way = loss_path("fast", model, tokenizer.pad_token_id)
    batch = way.collate(examples(tokenizer, maltese_lines[:4]))
    seen = []
    layer = backbone_of(model).bottleneck.format(layer=0)
    model.base_model.get_submodule(layer).register_forward_hook(lambda m, i, o: seen.append(o.requires_grad))
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        way.loss(model, batch)
    weights = {p.data_ptr() for p in model.parameters()}
    activations = sum(x.numel() for x in kept if x.data_ptr() not in weights)
    hidden_states_of_a_layer = batch["input_ids"].numel() * model.config.hidden_size
    assert seen == [False]
    assert activations < 4 * hidden_states_of_a_layer


def test_inputs_of_frozen_linears_are_not_kept(tiny_xlm_roberta: Path, maltese_lines: list[str]) -> None:
    tokenizer = load_tokenizer(str(tiny_xlm_roberta))
    kept = {}
    for method in ("seq_bn", "full"):
        model = prepared(tiny_xlm_roberta, method)
        way = loss_path("fast", model, tokenizer.pad_token_id)
        batch = way.collate(examples(tokenizer, maltese_lines[:4]))
        weights = {p.data_ptr() for p in model.parameters()}
        pointers: dict[int, int] = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, w=weights, p=pointers: (
                p.update({x.data_ptr(): x.numel()} if x.data_ptr() not in w else {}) or x
            ),
            lambda x: x,
        ):
            way.loss(model, batch)
        kept[method] = sum(pointers.values()) / batch["input_ids"].numel() / model.config.hidden_size
    # A layer's four linears have inputs of 1 + 1 + 1 + 2 widths here; adapters add one and a half.
    assert kept["seq_bn"] < kept["full"] - 4


# --- all of them together


@pytest.mark.parametrize("method", sorted(CONFIGS))
def test_loss_and_gradients_equal_the_naive_path(base: Path, method: str, maltese_lines: list[str]) -> None:
    model, tokenizer = prepared(base, method), load_tokenizer(str(base))
    some = examples(tokenizer, [*maltese_lines[:6], "Iva.", maltese_lines[2]])
    naive = loss_path("naive", model, tokenizer.pad_token_id)
    batch = naive.collate(some)
    assert "attention_mask" in batch, "the naive batch must hold padding"
    loss, gradients = loss_and_gradients(model, naive.loss, batch)
    padded_loss, padded_gradients = loss_and_gradients(model, fast_loss, batch)
    fast = loss_path("fast", model, tokenizer.pad_token_id)
    flat = fast.collate(some)
    assert "attention_mask" not in flat and flat["input_ids"].shape[0] == 1
    flat_loss, flat_gradients = loss_and_gradients(model, fast.loss, flat)
    for found, others in ((padded_loss, padded_gradients), (flat_loss, flat_gradients)):
        assert found == pytest.approx(loss, rel=1e-6)
        assert cosine(gradients, others) > 0.99999
        for name, gradient in gradients.items():
            assert torch.allclose(others[name], gradient, rtol=1e-3, atol=1e-6), name
    again, _ = loss_and_gradients(model, summed_loss, batch)
    assert again == pytest.approx(loss, rel=1e-6), "the flat attention still takes ordinary batches"


def replayed(body, sample, allow_unused_input, pool):
    """``torch.cuda.make_graphed_callables`` on a processor: one shape, memory that every replay writes again."""
    weights = tuple(body.parameters())
    trained = [weight for weight in weights if weight.requires_grad]
    assert not torch.is_autocast_cache_enabled() and allow_unused_input
    body(*sample)  # a warm-up, which draws random numbers
    kept: dict[str, Any] = {"gradients": [torch.zeros_like(weight) for weight in trained]}

    class Replay(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            for static, one in zip(sample, inputs, strict=False):
                static.copy_(one)  # an error if the shape is another
            with torch.enable_grad():
                kept["output"] = body(*sample)
            return kept["output"].detach()

        @staticmethod
        def backward(ctx, gradient):
            found = torch.autograd.grad(kept["output"], trained, gradient, allow_unused=True)
            for static, one in zip(kept["gradients"], found, strict=True):
                static.copy_(torch.zeros_like(static) if one is None else one)
            each = iter(kept["gradients"])
            return None, None, *(next(each).detach() if one.requires_grad else None for one in weights)

    return lambda *inputs: Replay.apply(*inputs, *weights)


@pytest.mark.parametrize("method", sorted(CONFIGS))
def test_replayed_passes_equal_the_naive_path(
    base: Path, method: str, maltese_lines: list[str], monkeypatch
) -> None:
    captured = []
    monkeypatch.setattr(
        torch.cuda, "make_graphed_callables", lambda *a, **kw: captured.append(a) or replayed(*a, **kw)
    )
    model, tokenizer = prepared(base, method), load_tokenizer(str(base))
    naive = loss_path("naive", model, tokenizer.pad_token_id)
    graphed = PadBatch(tokenizer.pad_token_id, LENGTH_STEP)
    parts = [examples(tokenizer, maltese_lines[start : start + 4]) for start in (0, 4, 8)]
    batches = [graphed(part) for part in parts]
    assert all(batch["input_ids"].shape[1] % LENGTH_STEP == 0 and "attention_mask" in batch for batch in batches)

    states = GraphedStates(model.train())
    model.train(False)  # no dropout; captured in training
    expected = [loss_and_gradients(model, naive.loss, naive.collate(part)) for part in parts]
    random = torch.get_rng_state()
    found = [
        loss_and_gradients(model, lambda m, batch: fast_loss(m, batch, states(batch)), batch) for batch in batches
    ]
    assert torch.equal(torch.get_rng_state(), random)
    assert len(captured) == len({batch["input_ids"].shape for batch in batches})
    for (loss, gradients), (ours, replays) in zip(expected, found, strict=True):
        assert ours == pytest.approx(loss, rel=1e-6)
        assert cosine(gradients, {name: replays[name] for name in gradients}) > 0.99999

    model.zero_grad()
    for batch in batches:  # accumulated over several replays
        total, count = fast_loss(model, batch, states(batch))
        (total / count).backward()
    for name, parameter in model.named_parameters():
        if name in expected[0][1]:
            whole = sum(gradients[name] for _, gradients in expected)
            assert torch.allclose(parameter.grad, whole, rtol=1e-3, atol=1e-6), name
    assert not states.applies(batches[0]), "on a processor"


def test_path_graphs_is_refused_where_it_cannot_be_used(tiny_bert: Path):
    with pytest.raises(InputError, match="graphs needs an NVIDIA GPU"):
        loss_path("graphs", load_masked_model(str(tiny_bert)), 0)
    for settings_ in ({"contrast": 0.1}, {"gradient_checkpointing": True}, {"method": "mosa"}):
        assert any("path: graphs" in one for one in AdaptRecipe(path="graphs", **settings_).conflicts())
    assert FurtherRecipe(path="graphs", keep_states=1.0).conflicts()
    assert not FurtherRecipe(path="graphs").conflicts() + AdaptRecipe(path="graphs").conflicts()


def test_a_stack_on_a_frozen_adapter_equals_the_naive_path(base: Path, maltese_lines: list[str]) -> None:
    tokenizer = load_tokenizer(str(base))
    for first in ("lora", "seq_bn_inv"):
        model = prepared(base, first)
        attach(model, "second", SeqBnConfig(4))
        train_only(model, "second")
        some = examples(tokenizer, maltese_lines[:5])
        naive = loss_path("naive", model, tokenizer.pad_token_id)
        loss, gradients = loss_and_gradients(model, naive.loss, naive.collate(some))
        fast = loss_path("fast", model, tokenizer.pad_token_id)
        flat_loss, flat_gradients = loss_and_gradients(model, fast.loss, fast.collate(some))
        assert flat_loss == pytest.approx(loss, rel=1e-6)
        assert cosine(gradients, flat_gradients) > 0.99999


@pytest.mark.parametrize("method", sorted(CONFIGS))
def test_bf16_stays_close_to_float32(base: Path, method: str, maltese_lines: list[str]) -> None:
    model, tokenizer = prepared(base, method), load_tokenizer(str(base))
    fast = loss_path("fast", model, tokenizer.pad_token_id)
    batch = fast.collate(examples(tokenizer, maltese_lines[:16]))
    loss, gradients = loss_and_gradients(model, fast.loss, batch)
    cast_frozen(model)
    half_loss, half_gradients = loss_and_gradients(model, fast.loss, batch, bf16=True)
    assert half_loss == pytest.approx(loss, rel=1e-3)
    assert cosine(gradients, half_gradients) > 0.998
    assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)
    assert {p.dtype for p in model.parameters() if not p.requires_grad} <= {torch.bfloat16}


SENTENCES = [
    "Iva.",
    "Il-baħar kien kalm.",
    "Il-kelb raqad wara l-bieb.",
    "Illum xtrajna l-ħobż u l-ħalib mis-suq.",
]


def test_a_sentence_comes_out_the_same_whatever_else_is_in_the_batch(base: Path) -> None:
    model, tokenizer = prepared(base, "seq_bn_inv").eval(), load_tokenizer(str(base))
    loss_path("fast", model, tokenizer.pad_token_id)
    collate = FlatBatch(first_position(model))
    mine = SENTENCES[3] + " Hekk."
    alone = collate(examples(tokenizer, [mine]))
    length = alone["input_ids"].numel()
    with torch.no_grad():
        expected = hidden_states(model, alone)

    @settings(derandomize=True, deadline=None, max_examples=10)
    @given(others=st.lists(st.sampled_from([*SENTENCES, "Le!", "Kuljum immorru nixtru."]), max_size=6))
    def holds(others: list[str]) -> None:
        batch = collate(examples(tokenizer, [mine, *others]))
        lengths = batch["lengths"].tolist()
        start = sum(lengths[: lengths.index(length)])
        batch["input_ids"][0, start : start + length] = alone["input_ids"][0]
        with torch.no_grad():
            found = hidden_states(model, batch)[start : start + length]
        assert torch.allclose(found, expected, atol=1e-5)

    holds()


@pytest.mark.parametrize("method", ["seq_bn", "seq_bn_inv", "lora"])
def test_scores_equal_the_naive_path(base: Path, method: str) -> None:
    tokenizer = load_tokenizer(str(base))
    for variant in ("default", "published"):
        naive, fast, half = (
            score_sentences(prepared(base, method), tokenizer, SENTENCES, variant, path, arithmetic)
            for path, arithmetic in (("naive", "float32"), ("fast", "float32"), ("fast", "bf16"))
        )
        assert (naive.path, fast.path, half.precision) == ("naive", "fast", "bf16")
        for mine, theirs, rough in zip(fast.per_sentence, naive.per_sentence, half.per_sentence, strict=True):
            assert mine.log_probability == pytest.approx(theirs.log_probability, abs=1e-5 * mine.tokens)
            assert rough.pseudo_perplexity == pytest.approx(theirs.pseudo_perplexity, rel=0.01)
        assert fast.tokens_per_second > 0 and fast.peak_memory_bytes > 0


def test_unknown_ways_of_scoring_are_refused(tiny_bert: Path) -> None:
    model, tokenizer = load_masked_model(str(tiny_bert)), load_tokenizer(str(tiny_bert))
    with pytest.raises(InputError, match="unknown path 'quick'"):
        score_sentences(model, tokenizer, SENTENCES, path="quick")
    with pytest.raises(InputError, match="unknown precision 'half'"):
        score_sentences(model, tokenizer, SENTENCES, precision="half")


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_classifiers_equal_the_naive_path(base: Path, pooling: str) -> None:
    masked_model, tokenizer = prepared(base, "seq_bn"), load_tokenizer(str(base))
    torch.manual_seed(0)
    model = TASKS["topic"].learner.new_model(masked_model, 3, {"pooling": pooling}).eval()
    texts = [*SENTENCES, "Le!", SENTENCES[1]]
    found = {}
    for path in ("naive", "fast"):
        encode = SentenceEncoder(tokenizer, masked_model, 64, path)
        batch = encode.collate(encode.examples(texts, "abc", "abcabc"))
        loss, gradients = loss_and_gradients(model, lambda m, b: summed_class_loss(m(b), b["labels"]), batch)
        found[path] = loss, gradients, class_probabilities(model, encode, texts)
    assert found["fast"][0] == pytest.approx(found["naive"][0], rel=1e-6)
    assert cosine(found["fast"][1], found["naive"][1]) > 0.99999
    assert np.allclose(found["fast"][2], found["naive"][2], atol=1e-6)


# --- what runs do with it


QUICK = dataclasses.replace(test_training.QUICK, steps=6)


def test_a_run_says_how_it_was_computed(tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    results = {}
    for path in ("naive", "fast"):
        recipe = dataclasses.replace(QUICK, path=path, precision="float32")
        results[path] = adapt(find_language("mlt"), str(tiny_bert), MALTESE, tmp_path / path, recipe)
        assert (results[path].path, results[path].precision) == (path, "float32")
    before = {path: result.validation_loss_before for path, result in results.items()}
    assert before["fast"] == pytest.approx(before["naive"], rel=1e-6)
    assert results["fast"].tokens == results["naive"].tokens
    assert "unpadded" not in capsys.readouterr().err


def test_a_backbone_that_takes_no_flat_batches_is_padded_and_said_so(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(language_model_loss, "supports_flat_batches", lambda model: False)
    recipe = dataclasses.replace(QUICK, precision="float32")
    padded = adapt(find_language("mlt"), str(tiny_bert), MALTESE, tmp_path / "padded", recipe)
    assert "BertForMaskedLM does not support unpadded batches" in capsys.readouterr().err
    monkeypatch.undo()
    flat = adapt(find_language("mlt"), str(tiny_bert), MALTESE, tmp_path / "flat", recipe)
    assert flat.validation_loss_before == pytest.approx(padded.validation_loss_before, rel=1e-6)


@pytest.mark.parametrize(
    ("in_bf16", "available", "chosen"),
    [(2.0005, True, "bf16"), (2.01, True, "float32"), (float("nan"), True, "float32"), (2.0, False, "float32")],
)
def test_auto_takes_bf16_where_it_is_there_and_safe(in_bf16, available, chosen, monkeypatch, capsys):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: available)
    model = nn.Linear(3, 3)
    before = model.weight.detach().clone()
    model.weight.requires_grad_(False)
    values = {torch.float32: 2.0, torch.bfloat16: in_bf16}
    bf16 = use_bf16("auto", model, lambda: torch.tensor(values[model.weight.dtype]), CPU)
    assert precision_name(bf16) == chosen
    assert f"computing in {chosen}" in capsys.readouterr().err
    assert model.bias.dtype == torch.float32, "what trains stays float32"
    assert model.training
    if chosen == "float32":
        assert torch.equal(model.weight, before)
    else:
        assert model.weight.dtype == torch.bfloat16


def test_the_first_choice_holds_for_all_runs_of_a_study(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)
    for name, losses in {"safe first": (2.0005, 2.01), "unsafe first": (2.01, 2.0005)}.items():
        chosen = []
        for in_bf16 in losses:
            model = nn.Linear(3, 3).requires_grad_(False)
            values = {torch.float32: 2.0, torch.bfloat16: in_bf16}
            with precision.one_precision(tmp_path / name):
                choice = use_bf16("auto", model, lambda m=model, v=values: torch.tensor(v[m.weight.dtype]), CPU)
            assert model.weight.dtype == (torch.bfloat16 if choice else torch.float32)
            chosen.append(choice)
        assert chosen == [name == "safe first"] * 2
        assert "as in the other runs of the study; alone it would be" in capsys.readouterr().err
        with precision.one_precision(tmp_path / name):
            assert use_bf16("bf16", nn.Linear(3, 3), lambda: torch.zeros(()), CPU), "what is set is not changed"
    assert use_bf16("auto", model, lambda: torch.zeros(()), CPU), "and only within a study"


def test_a_topic_run_in_bf16_on_either_path(tiny_bert: Path, topic_folder: Path, tmp_path: Path) -> None:
    for path in ("fast", "naive"):
        recipe = TaskRecipe(
            epochs=24,
            batch_size=8,
            learning_rate=3e-3,
            seeds=(1,),
            reduction_factor=4,
            pooling="mean",
            precision="bf16",
            path=path,
        )
        result = train_task("topic", str(tiny_bert), topic_folder, tmp_path / path, recipe)
        assert result.mean > 60


@pytest.mark.slow
@pytest.mark.skipif(not has_bf16(default_device()), reason="without bf16 in hardware this takes an hour")
def test_bf16_training_ends_where_float32_does() -> None:
    """200 steps of the bundled model on real text, three seeds: mean validation loss within 0.5 %."""
    found: dict[str, list[float]] = {}
    for arithmetic in ("float32", "bf16"):
        for seed in (1, 2, 3):
            flags = {"steps": 200, "seed": seed, "precision": arithmetic, "method": "seq_bn"}
            recipe = resolve(AdaptRecipe, "adapt", preset="nano", flags=flags)
            with TemporaryDirectory() as folder:
                result = adapt(find_language("mlt"), NANO, MALTESE, Path(folder) / "run", recipe)
            assert result.validation_loss < result.validation_loss_before - 0.5
            found.setdefault(arithmetic, []).append(result.validation_loss)
    assert sum(found["bf16"]) == pytest.approx(sum(found["float32"]), rel=5e-3)


@pytest.mark.slow
def test_bf16_scores_of_the_bundled_model_stay_within_one_percent(maltese_lines: list[str]) -> None:
    exact, rough = (
        score_sentences(load_masked_model(NANO), load_tokenizer(NANO), maltese_lines[:20], precision=arithmetic)
        for arithmetic in ("float32", "bf16")
    )
    assert rough.pseudo_perplexity == pytest.approx(exact.pseudo_perplexity, rel=0.01)
