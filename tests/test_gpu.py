"""On a GPU the same numbers as on the processor. (The other tests run on a GPU too, where there is one.)"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import MALTESE
from safetensors.torch import load_file
from test_training import masked_batch

from langlift.adapters.composition import attach, train_only
from langlift.adapters.method import METHODS
from langlift.backbones import segmented_attention
from langlift.backbones.cuda_graphs import GraphedStates
from langlift.backbones.loading import load_masked_model, load_tokenizer
from langlift.backbones.segmented_attention import Attention, Segments
from langlift.training.language_model_loss import loss_path
from langlift.training.precision import autocast, cast_frozen
from langlift.training.recipes import AdaptRecipe
from langlift.training.trainer import on_device

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU here")

LENGTHS = (3, 3, 17, 40, 64, 65, 130)
WAYS = [Attention(causal, window, 0.2) for causal in (False, True) for window in (None, 16)]


def attended(way, lengths, how, dtype, device):
    """The output and the gradients of query, key and value, in float64 on the processor."""
    random = torch.Generator().manual_seed(1)
    parts = [torch.randn(sum(lengths), 4, 32, generator=random).to(device, dtype) for _ in range(4)]
    inputs = [part.requires_grad_() for part in parts[:3]]
    output = way(*inputs, Segments(lengths), how)
    return [part.detach().double().cpu() for part in (output, *torch.autograd.grad(output, inputs, parts[3]))]


def without_dropout(base: Path, copy: Path) -> Path:
    shutil.copytree(base, copy)
    config = json.loads((copy / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (copy / "config.json").write_text(json.dumps(config))
    return copy


@pytest.mark.parametrize("how", WAYS, ids=str)
@pytest.mark.parametrize("way", ["_fused", "_fused_by_run", "_fused_padded"])
def test_attention_is_that_of_the_processor(way, how):
    expected = attended(segmented_attention._fused_by_run, LENGTHS, how, torch.float64, "cpu")
    for dtype, most in ((torch.float32, 1e-4), (torch.bfloat16, 2e-2)):
        found = attended(getattr(segmented_attention, way), LENGTHS, how, dtype, "cuda")
        for ours, theirs in zip(found, expected, strict=True):
            assert ((ours - theirs).norm() / theirs.norm()).item() < most


def test_attention_drops_as_often_as_asked():
    lengths = Segments((400, 512))
    ones = torch.ones(sum(lengths.lengths), 8, 32, device="cuda", dtype=torch.bfloat16)
    dropped = segmented_attention._fused(ones, ones, ones, lengths, Attention(False, None, 1.0, 0.25))[400:, :, 0]
    assert dropped.float().mean().item() == pytest.approx(1.0, abs=0.01)
    assert dropped.float().std().item() == pytest.approx((0.25 / 0.75 / 512) ** 0.5, rel=0.1)


@pytest.mark.parametrize("way", ["_fused_by_run", "_fused_padded"])
def test_attention_with_dropout_has_the_right_gradient(way):
    """With the same draw the output is linear in the values."""
    random = torch.Generator().manual_seed(2)
    q, k, v, change, g = (torch.randn(sum(LENGTHS), 4, 32, generator=random).to("cuda") for _ in range(5))

    def output(values):
        torch.manual_seed(0)
        return getattr(segmented_attention, way)(q, k, values, Segments(LENGTHS), Attention(False, None, 0.2, 0.3))

    before = output(v.requires_grad_())
    (gradient,) = torch.autograd.grad((before * g).sum(), v)
    moved = ((output(v.detach() + change) - before.detach()) * g).sum()
    assert (gradient * change).sum().item() == pytest.approx(moved.item(), rel=1e-3, abs=0.05)


@pytest.mark.parametrize("bf16", [False, True])
def test_loss_and_gradients_are_those_of_the_processor(tiny_model: Path, maltese_lines: list[str], bf16: bool):
    tokenizer = load_tokenizer(str(tiny_model))
    examples = masked_batch(tokenizer, maltese_lines[:12])
    found = {}
    for where in ("cpu", "cuda"):
        model = load_masked_model(str(tiny_model)).eval().to(where)
        model.requires_grad_(False)
        for parameter in (trained := [p for n, p in model.named_parameters() if "layer.1.output" in n]):
            parameter.requires_grad_(True)
        if bf16:
            cast_frozen(model)
        path = loss_path("fast", model, tokenizer.pad_token_id)
        rows = zip(examples["input_ids"], examples["labels"], examples["attention_mask"].bool(), strict=True)
        batch = path.collate(
            [{"input_ids": ids[mask].numpy(), "labels": labels[mask].numpy()} for ids, labels, mask in rows]
        )
        with autocast(torch.device(where), bf16):
            total, count = path.loss(model, on_device(batch, torch.device(where)))
        gradients = torch.autograd.grad(total / count, trained)
        found[where] = (total.item(), torch.cat([g.flatten().double().cpu() for g in gradients]))
    (theirs, expected), (ours, gradient) = found["cpu"], found["cuda"]
    assert ours == pytest.approx(theirs, rel=2e-3 if bf16 else 1e-5)
    cosine = (gradient @ expected / gradient.norm() / expected.norm()).item()
    assert cosine > (0.995 if bf16 else 0.999999)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("method", ["seq_bn", "seq_bn_inv", "lora", "full"])
def test_replayed_passes_equal_the_fast_path(
    tiny_model: Path, maltese_lines: list[str], method: str, bf16: bool, tmp_path
):
    tokenizer = load_tokenizer(str(tiny_model))
    rows = masked_batch(tokenizer, maltese_lines[:12])
    examples = [
        {"input_ids": ids[mask].numpy(), "labels": labels[mask].numpy()}
        for ids, labels, mask in zip(*(rows[n] for n in ("input_ids", "labels", "attention_mask")), strict=True)
        for mask in [mask.bool()]
    ]
    model = load_masked_model(str(without_dropout(tiny_model, tmp_path / "base"))).to("cuda").train()
    if (config := METHODS[method].config(AdaptRecipe(method=method))) is not None:
        attach(model, "mlt", config)
    train_only(model, None if config is None else "mlt")
    if bf16:
        cast_frozen(model)
    graphs = loss_path("graphs", model, tokenizer.pad_token_id)
    fast = loss_path("fast", model, tokenizer.pad_token_id)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}

    def summed(path):
        """The losses, and the gradients summed, of three batches of two shapes; the first shape is replayed."""
        losses = []
        model.zero_grad()
        for some in (examples[:4], examples[4:12], examples[8:12]):
            with autocast(torch.device("cuda"), bf16):
                total, count = path.loss(model, on_device(path.collate(some), torch.device("cuda")))
            (total / count).backward()
            losses.append(total.item())
        gradients = {name: p.grad.double().flatten() for name, p in trained.items() if p.grad is not None}
        return losses, gradients

    (theirs, expected), (ours, found) = summed(fast), summed(graphs)
    assert ours == pytest.approx(theirs, rel=5e-3 if bf16 else 1e-5)
    a, b = (torch.cat([each[name] for name in sorted(expected)]) for each in (expected, found))
    assert torch.cosine_similarity(a, b, dim=0).item() > (0.99 if bf16 else 0.99999)


def test_dropout_differs_from_replay_to_replay(tiny_model: Path, maltese_lines: list[str]):
    tokenizer = load_tokenizer(str(tiny_model))
    model = load_masked_model(str(tiny_model)).to("cuda").train()
    states = GraphedStates(model)
    batch = on_device(masked_batch(tokenizer, maltese_lines[:4]), torch.device("cuda"))
    torch.manual_seed(0)
    first, second = states(batch).detach().clone(), states(batch).detach().clone()
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(states(batch), first), "drawn by the generator's state"


@pytest.mark.parametrize("method", ["seq_bn", "seq_bn_inv", "lora", "mosa"])
def test_an_adapter_is_that_of_the_processor(method: str, tmp_path: Path):
    base = without_dropout(MALTESE.parent / "langlift-nano", tmp_path / "base")  # else each device draws its own
    found, weights = {}, {}
    for where, visible in (("cpu", ""), ("cuda", os.environ.get("CUDA_VISIBLE_DEVICES", "0"))):
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": visible}

        def langlift(*arguments, environment=environment):
            command = [sys.executable, "-m", "langlift", *map(str, arguments), "--json"]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout.splitlines()[-1])

        for steps in (1, 30):
            run = tmp_path / f"{where}-{steps}"
            adapted = langlift(
                "adapt", "mlt", "--base", base, "--data", MALTESE, "--method", method, "--steps", steps,
                "--batch-size", 8, "--lr", 5e-3, "--precision", "float32", "--out", run,
            )  # fmt: skip
            weights[where, steps] = torch.cat(
                [w.flatten() for w in load_file(next(run.glob("*.safetensors"))).values()]
            )
        scored = langlift(
            "score", "--base", base, "--adapter", run, "--text", MALTESE, "--sentences", 20,
            "--precision", "float32",
        )  # fmt: skip
        gain = adapted["validation_loss_before"] - adapted["validation_loss"]
        found[where] = {
            "before": adapted["validation_loss_before"],
            "gain": gain,
            "score": scored["pseudo_perplexity"],
        }
    theirs, ours = found["cpu"], found["cuda"]
    # Which weights MoSA's experts take turns on last digits; on a processor two orders of the sums differ as much.
    close, alike = (0.1, 0.7) if method == "mosa" else (0.005, 0.99)
    assert ours["before"] == pytest.approx(theirs["before"], rel=1e-5)
    assert theirs["gain"] > 0.5 and ours["gain"] == pytest.approx(theirs["gain"], rel=close)
    assert ours["score"] == pytest.approx(theirs["score"], rel=close)
    expected, moved = (weights[where, 30] - weights[where, 1] for where in ("cpu", "cuda"))
    assert torch.cosine_similarity(moved, expected, dim=0) > alike
