"""Prove that the reference library loads a fusion of ours and computes the same hidden states.

    REF/bin/python tests/golden/check_fusion_loads.py BASE MEMBERS FUSION EXPECTED.safetensors

REF is the environment of benchmarks/reference-requirements.txt. MEMBERS holds the folder of each
fused adapter by its name; FUSION a fusion and the task adapter on top of it. EXPECTED holds input_ids,
attention_mask and hidden (the last hidden state). Prints the largest absolute difference; exit code 1 if it is
above 1e-5, or if a weight is missing from or unknown to the model.
"""

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import adapters
import torch
from adapters.composition import Fuse, Stack
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM


@torch.no_grad()
def main(base, members, fusion, expected_file):
    model = AutoModelForMaskedLM.from_pretrained(base, attn_implementation="eager")
    adapters.init(model)
    names = json.loads((Path(fusion) / "adapter_fusion_config.json").read_text())["adapter_names"]
    loaded = {}
    for folder in (*(Path(members) / name for name in names), fusion):
        info = {}
        loaded[model.load_adapter(str(folder), use_safetensors=True, with_head=False, loading_info=info)] = info
    task = list(loaded)[-1]
    model.load_adapter_fusion(fusion, use_safetensors=True)
    written = load_file(Path(fusion) / "model_adapter_fusion.safetensors")
    parameters = dict(model.named_parameters())
    # The library tells nothing of a fusion's weights that do not fit.
    unknown = {
        key for key, value in written.items() if key not in parameters or not torch.equal(parameters[key], value)
    }
    missing = {key for key in parameters if ".adapter_fusion_layer." in key} - written.keys()
    bad = [info for info in loaded.values() if any(info.get(k) for k in ("missing_keys", "unexpected_keys"))]
    if bad or unknown or missing:
        print("not a clean load:", bad, unknown, missing)
        return 1
    model.set_active_adapters(Stack(Fuse(*names), task))
    model.eval()
    expected = load_file(expected_file)
    inputs = {k: expected[k] for k in ("input_ids", "attention_mask")}
    hidden = model(**inputs, output_hidden_states=True, return_dict=True).hidden_states[-1]
    difference = (hidden - expected["hidden"].float()).abs().max().item()
    print(f"fusion of {names}: max absolute difference {difference:.3e}")
    return 0 if difference <= 1e-5 else 1


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
