"""Measure the peak memory of loading a base for bf16, with and without giving back the pages of its file (Linux).

    python docs/examples/loading_memory.py [MODEL]

Loads the weights (default: random ones at XLM-R-base's shape) and casts them, in a process of its own for
each way, and prints JSON with both peaks in bytes.
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

from langlift.backbones.loading import load_masked_model
from langlift.files import process_peak_memory_bytes
from langlift.training import precision


def peak(base: str, release: bool) -> int:
    """Peak memory of this process after loading."""
    if not release:
        precision.release_pages = lambda address, size: None
    precision.cast_frozen(load_masked_model(base).requires_grad_(False))
    return process_peak_memory_bytes()


def measure(base: str) -> dict[str, int]:
    """Both peaks."""
    command = [sys.executable, __file__, base]
    ways = {"released": "--release", "kept": "--keep"}
    return {name: int(subprocess.check_output([*command, way])) for name, way in ways.items()}


if __name__ == "__main__":
    match sys.argv[1:]:
        case [base, ("--release" | "--keep") as way]:
            print(peak(base, way == "--release"))  # noqa: T201
        case [base]:
            print(json.dumps(measure(base)))  # noqa: T201
        case _:
            with TemporaryDirectory() as folder:
                config = XLMRobertaConfig(vocab_size=250_002, max_position_embeddings=514)
                XLMRobertaForMaskedLM(config).save_pretrained(Path(folder))
                print(json.dumps(measure(folder)))  # noqa: T201
