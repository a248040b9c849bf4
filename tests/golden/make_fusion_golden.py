"""Write the golden fixtures of AdapterFusion with the reference library, adapters 1.3.0 (AdapterHub).

    REF/bin/python tests/golden/make_fusion_golden.py

REF is the environment of make_golden.py, whose models and adapters are taken as they lie here; that script
writes each architecture's folder anew, so run this one after it. Offline, seeded, seconds on one CPU.
Every number in fusion.safetensors comes out of the reference library's own forward and backward pass.
"""

import shutil

import adapters
import torch
from adapters.composition import Fuse, Stack
from make_golden import ARCHS, HERE
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM

MEMBERS = ("seq_bn", "seq_bn_inv")
DROPOUT = 0.5
SEED = 7
"""Of the training pass: the fusion's dropout is the only one in these models."""


@torch.no_grad()
def randomise(model, name):
    """Away from the start, where W_v is the identity and all shares are nearly equal; none near 0 or 1."""
    for key, p in model.named_parameters():
        if f".adapter_fusion_layer.{name}." in key:
            noise = 0.12 * torch.randn_like(p)
            p.copy_(torch.eye(len(p)) + noise if key.endswith("value.weight") else noise)


@torch.no_grad()
def run(model, setup, inputs):
    model.set_active_adapters(setup)
    out = model(**inputs, output_hidden_states=True, output_adapter_fusion_attentions=True, return_dict=True)
    attentions = out.adapter_fusion_attentions[setup.children[0].name]
    shares = [torch.from_numpy(next(iter(attentions[layer].values()))) for layer in sorted(attentions)]
    return out.logits.contiguous(), out.hidden_states[-1].contiguous(), torch.stack(shares)


def make(arch):
    folder = HERE / arch
    for name in ("fusion", "fusion_bin"):
        shutil.rmtree(folder / name, ignore_errors=True)
    torch.manual_seed(30240 + len(arch))
    model = AutoModelForMaskedLM.from_pretrained(folder / "base", attn_implementation="eager")
    model.config.name_or_path = f"tiny-{arch}"
    adapters.init(model)
    for name in (*MEMBERS, "task"):
        model.load_adapter(str(folder / name), use_safetensors=True)
    fused, turned = Fuse(*MEMBERS), Fuse(*reversed(MEMBERS))
    model.add_adapter_fusion(fused, {**adapters.DynamicAdapterFusionConfig().to_dict(), "dropout_prob": DROPOUT})
    randomise(model, fused.name)
    model.save_adapter_fusion(str(folder / "fusion"), fused, use_safetensors=True)
    if arch == "bert":
        model.save_adapter_fusion(str(folder / "fusion_bin"), fused)
    model.add_adapter_fusion(turned, "dynamic")
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for key, p in parameters.items():
            if f".{turned.name}." in key:
                p.copy_(parameters[key.replace(turned.name, fused.name)])

    stored = load_file(folder / "expected.safetensors")
    inputs = {key: stored[key] for key in ("input_ids", "attention_mask")}
    expected = dict(inputs)
    model.eval()
    for case, setup in {
        "fused": Stack(fused),
        "stack": Stack(fused, "task"),
        "stack_invertible_first": Stack(turned, "task"),  # only the first member's invertible block is used
    }.items():
        logits, hidden, shares = run(model, setup, inputs)
        expected |= {f"logits.{case}": logits, f"hidden.{case}": hidden, f"attention.{case}": shares}
    cases = [expected[f"hidden.{case}"] for case in ("fused", "stack", "stack_invertible_first")]
    for i, a in enumerate(cases):
        for b in cases[:i]:
            assert (a - b).abs().max() > 0.01

    # A training step: the library's dropout, loss with its regulariser, gradients of all that trains.
    setup = Stack(fused, "task")
    model.delete_adapter_fusion(turned)
    model.train_adapter_fusion(setup, unfreeze_adapters=False)
    trained = {
        key: p for key, p in model.named_parameters() if f".{fused.name}." in key or ".adapters.task." in key
    }
    for p in trained.values():
        p.requires_grad_(True)
    expected["probe"] = torch.randn_like(expected["hidden.stack"])
    for mode in (False, True):
        model.train(mode).zero_grad()
        torch.manual_seed(SEED)
        out = model(**inputs, output_hidden_states=True, return_dict=True)
        penalty = model.base_model.get_fusion_regularization_loss()
        loss = (out.hidden_states[-1] * expected["probe"]).mean() + penalty
        loss.backward()
        prefix = "train" if mode else "eval"
        expected[f"{prefix}.loss"], expected["penalty"] = loss.detach(), penalty.detach()
        expected |= {f"{prefix}.gradient.{key}": p.grad.clone() for key, p in trained.items()}
    assert not torch.equal(expected["train.loss"], expected["eval.loss"]), "the dropout must show"
    save_file(expected, folder / "fusion.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for arch in ARCHS:
        make(arch)
