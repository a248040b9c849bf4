"""Write the golden fixtures of adapters that leave layers out with the reference library, adapters 1.3.0.

    REF/bin/python tests/golden/make_leave_out_golden.py

REF is the environment of make_golden.py, whose models and task adapters are taken as they lie here; that script
writes each architecture's folder anew, so run this one after it. Offline, seeded, seconds on one CPU.
Every number in leave_out.safetensors comes out of the reference library's own forward pass.
"""

import shutil

import adapters
import torch
from adapters import SeqBnConfig
from adapters.composition import Stack
from make_golden import ARCHS, HERE, randomise_adapter, run
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

NAME = "leave_out"
CASES = {"alone": NAME, "stack": Stack(NAME, "task")}


def make(arch):
    folder = HERE / arch
    shutil.rmtree(folder / NAME, ignore_errors=True)
    torch.manual_seed(40240 + len(arch))
    of_kind = AutoModelForCausalLM if arch == "llama" else AutoModelForMaskedLM
    model = of_kind.from_pretrained(folder / "base", attn_implementation="eager")
    model.config.name_or_path = f"tiny-{arch}"
    adapters.init(model)
    model.load_adapter(str(folder / "task"), use_safetensors=True)
    model.add_adapter(NAME, config=SeqBnConfig(reduction_factor=4, leave_out=[1]))  # the last, as MAD-X 2.0
    randomise_adapter(model, NAME)
    model.save_adapter(str(folder / NAME), NAME, with_head=False, use_safetensors=True)
    model.eval()
    kept = load_file(folder / "expected.safetensors")
    inputs = {name: kept[name] for name in ("input_ids", "attention_mask")}
    expected = dict(inputs)
    for case, active in CASES.items():
        logits, hidden = run(model, active, inputs)
        expected[case], expected[f"hidden.{case}"] = logits.contiguous(), hidden.contiguous()
    assert (expected["alone"] - kept["base"]).abs().max() > 0.01, "it does something"
    assert (expected["stack"] - expected["alone"]).abs().max() > 0.01, "so does the task adapter"
    save_file(expected, folder / f"{NAME}.safetensors")


if __name__ == "__main__":
    for architecture in (*ARCHS, "llama"):
        make(architecture)
