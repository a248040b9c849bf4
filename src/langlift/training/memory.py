"""How much memory a run needed."""

import torch

from langlift.files import forget_process_peak, process_peak_memory_bytes


def peak_memory_bytes() -> int:
    """The most memory held so far: on the GPU where one was used, else by this process (resident)."""
    if torch.cuda.is_available() and (held := torch.cuda.max_memory_allocated()):
        return int(held)
    return process_peak_memory_bytes()


def forget_peak_memory() -> None:
    """Count the peak anew from now on, where the system lets one: for a process that does several runs."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    forget_process_peak()
