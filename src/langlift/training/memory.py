"""Peak memory of a run."""

import torch

from langlift.files import process_peak_memory_bytes, reset_process_peak


def peak_memory_bytes() -> int:
    """Peak memory so far: on the GPU if one was used, else resident memory of this process."""
    if torch.cuda.is_available() and (peak := torch.cuda.max_memory_allocated()):
        return int(peak)
    return process_peak_memory_bytes()


def reset_peak_memory() -> None:
    """Start a new measurement, if the system can: for a process that does several runs."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    reset_process_peak()
