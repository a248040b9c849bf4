"""Which arithmetic a run uses."""

import torch


def uses_bf16(precision: str) -> bool:
    """Whether forward passes run under bf16 autocast; parameters and optimiser are float32 either way.

    ``auto`` is float32 on a CPU and bf16 on a GPU that has it.
    """
    if precision == "auto":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return precision == "bf16"


def cpu_has_bf16() -> bool:
    """Whether this processor multiplies bf16 matrices by itself (AVX-512 BF16 or AMX), about twice as fast."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)
