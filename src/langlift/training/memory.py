"""How much memory a run needed."""

import torch

from langlift.files import forget_process_peak, process_peak_memory_bytes


def peak_memory_bytes() -> int:
    """The most memory held so far: on the GPU when there is one, else by this process (resident)."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return process_peak_memory_bytes()


def forget_peak_memory() -> None:
    """Count the peak anew from now on, where the system lets one: for a process that does several runs."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    forget_process_peak()
