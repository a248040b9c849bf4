"""How much memory a run needed."""

import resource
import sys

import torch


def peak_memory_bytes() -> int:
    """The most memory held so far: on the GPU when there is one, else by this process (resident)."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
