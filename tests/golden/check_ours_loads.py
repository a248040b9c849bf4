"""Prove that the reference library loads an adapter folder and computes the same hidden states.

    REF/bin/python tests/golden/check_ours_loads.py BASE_FOLDER ADAPTER_FOLDER EXPECTED.safetensors [--pickle]

REF is the environment of benchmarks/reference-requirements.txt. EXPECTED holds
input_ids, attention_mask and hidden (the last hidden state with the adapter active). Prints the largest
absolute difference;
exit code 1 if it is above 1e-5, or if a weight of the adapter is missing from or unknown to the model.
With --pickle the library reads pytorch_adapter.bin, as it does by default.
"""

import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import adapters
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM


@torch.no_grad()
def main(base_folder, adapter_folder, expected_file, use_safetensors):
    causal = AutoConfig.from_pretrained(base_folder).model_type == "llama"
    of_kind = AutoModelForCausalLM if causal else AutoModelForMaskedLM
    model = of_kind.from_pretrained(base_folder, attn_implementation="eager")
    adapters.init(model)
    info = {}
    name = model.load_adapter(adapter_folder, use_safetensors=use_safetensors, with_head=False, loading_info=info)
    model.set_active_adapters(name)
    model.eval()
    bad = {k: info.get(k) for k in ("missing_keys", "unexpected_keys") if info.get(k)}
    if bad:
        print("not a clean load:", bad)
        return 1
    expected = load_file(expected_file)
    inputs = {k: expected[k] for k in ("input_ids", "attention_mask")}
    hidden = model(**inputs, output_hidden_states=True, return_dict=True).hidden_states[-1]
    difference = (hidden - expected["hidden"].float()).abs().max().item()
    print(f"adapter {name}: max absolute difference {difference:.3e}")
    return 0 if difference <= 1e-5 else 1


if __name__ == "__main__":
    paths = [argument for argument in sys.argv[1:] if argument != "--pickle"]
    if len(paths) != 3:
        sys.exit(__doc__)
    sys.exit(main(*paths, use_safetensors="--pickle" not in sys.argv))
