"""The arithmetic of a run: float32, or bf16 for frozen weights where that is faster and accurate enough."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import torch
from torch import Tensor, nn

from langlift.files import locked, settle
from langlift.processes import release_pages
from langlift.progress import say

TOLERANCE = 1e-3
"""``auto`` uses bf16 if it changes the loss of a real batch by less than this, relative to float32."""
PART = 2**22
"""The number of weights that are cast at once."""
_KEPT: ContextVar[Path | None] = ContextVar("_KEPT", default=None)


def use_bf16(precision: str, model: nn.Module, measure: Callable[[], Tensor], device: torch.device) -> bool:
    """Whether to compute in bf16; if so, the model's frozen weights are cast to it, in place.

    The rest then runs under autocast; trainable weights and their optimiser stay float32. ``precision`` is
    ``float32``, ``bf16`` or ``auto``: bf16 if the device supports it and ``measure`` (the model's loss on a real
    batch) hardly changes, unless ``one_precision`` holds. No random numbers are drawn.
    """
    if precision == "auto":
        bf16, why = _choose(model, measure, device)
        precision = _agreed(precision_name(bf16))
        other = f"as in the other runs of the study; alone it would be {precision_name(bf16)}, because "
        say(f"computing in {precision}: {'' if precision == precision_name(bf16) else other}{why}")
    if precision == "bf16":
        cast_frozen(model)
    return precision == "bf16"


@contextmanager
def one_precision(kept: Path) -> Iterator[None]:
    """Within it ``auto`` is what it was first, in any process: that is kept in a file."""
    token = _KEPT.set(kept)
    try:
        yield
    finally:
        _KEPT.reset(token)


def _agreed(chosen: str) -> str:
    if (kept := _KEPT.get()) is None:
        return chosen
    kept.touch()
    with locked(kept, f"{kept}: another process does not release it", wait=60.0):
        first = kept.read_text(encoding="utf-8").strip()
        if first not in (precision_name(True), precision_name(False)):
            kept.write_text(f"{(first := chosen)}\n", encoding="utf-8")
            settle(kept)
    return first


def precision_name(bf16: bool) -> str:
    """``bf16`` or ``float32``."""
    return "bf16" if bf16 else "float32"


def _choose(model: nn.Module, measure: Callable[[], Tensor], device: torch.device) -> tuple[bool, str]:
    if not has_bf16(device):
        return False, f"this {'processor' if device.type == 'cpu' else 'GPU'} has no bf16"
    exact = _measured(model, measure, device, bf16=False)
    originals = cast_frozen(model)
    difference = abs(_measured(model, measure, device, bf16=True) - exact) / max(abs(exact), 1e-9)
    for parameter, original in originals:
        parameter.data = original
    return difference < TOLERANCE, f"the faster bf16 changes the loss of one batch by {difference:.3%}"


def cast_frozen(model: nn.Module) -> list[tuple[nn.Parameter, Tensor]]:
    """Cast a model's frozen float32 parameters to bf16, in place; returns each with its original.

    Where embeddings train, the states are float32; LayerNorms then stay so too, because a CPU's cannot mix both.
    """
    originals = []
    modules = list(model.modules())
    embeddings = [one.weight for one in modules if isinstance(one, nn.Embedding)]
    norms = [part for one in modules if isinstance(one, nn.LayerNorm) for part in one.parameters()]
    kept = {id(part) for part in norms} if any(weight.requires_grad for weight in embeddings) else set()
    for parameter in model.parameters():
        if parameter.requires_grad:
            # Copied, because the mapped file uses memory as long as any weight refers to it.
            parameter.data = parameter.data.clone()
        elif parameter.dtype == torch.float32 and id(parameter) not in kept:
            originals.append((parameter, parameter.data))
            parameter.data = _to_bf16(parameter.data)
    return originals


def _to_bf16(weights: Tensor) -> Tensor:
    """A copy, made in parts, so that float32 and bf16 weights are never in memory as wholes, together."""
    copy = torch.empty(weights.shape, dtype=torch.bfloat16, device=weights.device)
    for part, target in zip(weights.flatten().split(PART), copy.flatten().split(PART), strict=True):
        target.copy_(part)
        if part.device.type == "cpu":
            release_pages(part.data_ptr(), part.nbytes)
    return copy


def autocast(device: torch.device, bf16: bool) -> torch.autocast:
    """A context that computes with bf16 and float32 weights together, in bf16; does nothing without ``bf16``."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)


def has_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bf16 matrices natively."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and cpu_has_bf16()


def cpu_has_bf16() -> bool:
    """Whether this processor multiplies bf16 matrices natively (AVX-512 BF16 or AMX), about twice as fast."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def _measured(model: nn.Module, measure: Callable[[], Tensor], device: torch.device, bf16: bool) -> float:
    training = model.training
    model.eval()
    with torch.no_grad(), autocast(device, bf16):
        value = float(measure())
    model.train(training)
    return value
