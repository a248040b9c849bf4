"""Cross-entropy at the last linear layer of a language modelling head, in chunks: the full logits are never
stored.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

CHUNK_LOGITS = 2**26
"""Number of logits computed at a time by one matrix product (268 rows of XLM-R's vocabulary)."""
CACHE_LOGITS = 2**20
"""Number of those that a CPU processes at a time in float32, small enough for its cache; a GPU processes all."""


def summed_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, cap: float | None = None
) -> Tensor:
    """The cross-entropy of ``hidden @ weight' + bias`` against ``targets``, summed (nats, float32 scalar).

    Shapes [rows, d], [vocabulary, d], [vocabulary], int64 [rows]. Gradients are computed in the forward pass,
    chunk by chunk, so that no logits are kept for the backward pass. With ``cap`` c
    each logit x becomes c tanh(x / c) (Gemma 2).
    """
    with_gradients = torch.is_grad_enabled()
    total: Tensor = _ChunkedCrossEntropy.apply(hidden, weight, bias, targets, cap, with_gradients)
    return total


def summed_symmetric_divergence(first: Tensor, second: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``(KL(p || q) + KL(q || p)) / 2`` of the two distributions at the decoder, summed over rows (nats).

    p is the distribution of ``first @ weight' + bias``, q that of ``second``; shapes [rows, d], [rows, d],
    [vocabulary, d], [vocabulary]. Each divergence has gradients only for its second distribution
    (``loss_terms.symmetric_divergence``), and the decoder gets none. In chunks, as above.
    """
    with_gradients = torch.is_grad_enabled()
    total: Tensor = _ChunkedDivergence.apply(first, second, weight, bias, with_gradients)
    return total


@torch.no_grad()
def log_probabilities(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, cap: float | None = None
) -> Tensor:
    """The log-probability (natural, float32 [rows]) of each row's target, in the same chunks."""
    found = []
    for rows in _chunks(hidden, weight):
        logits = linear(hidden[rows], weight, bias)
        for part, goal in _in_cache(logits, targets[rows]):
            values = part.float()
            if cap is not None:
                values = values.div_(cap).tanh_().mul_(cap)
            found.append(_at(values, goal) - values.logsumexp(dim=1))
    return torch.cat(found)


class _ChunkedCrossEntropy(torch.autograd.Function):
    """With p = softmax(h W' + b) and y one-hot: dh = (p - y) W, dW = (p - y)' h, db = sum (p - y).

    With a cap, p is computed from the capped logits z, and (p - y)(1 - (z / cap)^2) replaces p - y.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        cap: float | None,
        with_gradients: bool,
    ) -> Tensor:
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        wanted = [with_gradients and wants for wants in ctx.needs_input_grad[:3]]
        h, w = hidden.to(dtype), weight.to(dtype)
        b = None if bias is None else bias.to(dtype)
        total = torch.zeros((), device=hidden.device)
        of_hidden = torch.empty_like(h) if wanted[0] else None
        of_weight = torch.zeros_like(weight) if wanted[1] else None
        of_bias = torch.zeros_like(bias) if wanted[2] and bias is not None else None
        for rows in _chunks(h, w):
            errors = linear(h[rows], w, b)
            for part, goal in _in_cache(errors, targets[rows]):
                values = part.float()
                slope = None
                if cap is not None:
                    squeezed = (values / cap).tanh_()
                    values, slope = squeezed * cap, 1 - squeezed**2
                top, right = values.amax(dim=1), _at(values, goal)
                shares = values.softmax(dim=1)
                total += (top - shares.amax(dim=1).log() - right).sum()  # the largest share is 1 / sum exp
                if any(wanted):
                    shares[torch.arange(len(goal), device=goal.device), goal] -= 1
                    part.copy_(shares if slope is None else shares.mul_(slope))
            if of_hidden is not None:
                torch.mm(errors, w, out=of_hidden[rows])
            if of_weight is not None:
                of_weight += errors.t() @ h[rows]
            if of_bias is not None:
                of_bias += errors.sum(dim=0, dtype=torch.float32)
        ctx.gradients = (of_hidden, of_weight, of_bias)
        ctx.hidden_dtype = hidden.dtype
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_hidden, of_weight, of_bias = ctx.gradients
        if of_hidden is not None:
            of_hidden = (of_hidden.float() * gradient).to(ctx.hidden_dtype)
        scaled = [None if g is None else g.mul_(gradient.to(g.dtype)) for g in (of_weight, of_bias)]
        ctx.gradients = None
        return of_hidden, *scaled, None, None, None


class _ChunkedDivergence(torch.autograd.Function):
    """``sum (p - q)(log p - log q) / 2``; dfirst = (p - q) W / 2 = -dsecond."""

    @staticmethod
    def forward(
        ctx: Any, first: Tensor, second: Tensor, weight: Tensor, bias: Tensor | None, with_gradients: bool
    ) -> Tensor:
        kind = first.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else first.dtype
        h, g, w = first.to(dtype), second.to(dtype), weight.to(dtype)
        b = None if bias is None else bias.to(dtype)
        total = torch.zeros((), device=first.device)
        of_first = torch.empty_like(h) if with_gradients and any(ctx.needs_input_grad[:2]) else None
        for rows in _chunks(h, w):
            differences, others = linear(h[rows], w, b), linear(g[rows], w, b)
            for part, other in _in_cache(differences, others):
                p, q = part.float().log_softmax(dim=1), other.float().log_softmax(dim=1)
                difference = p.exp() - q.exp()
                total += (difference * (p - q)).sum() / 2
                part.copy_(difference)
            if of_first is not None:
                torch.mm(differences, w, out=of_first[rows])
        ctx.of_first, ctx.dtypes = of_first, (first.dtype, second.dtype)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        scaled = ctx.of_first.float() * (gradient / 2)
        ctx.of_first = None
        return scaled.to(ctx.dtypes[0]), (-scaled).to(ctx.dtypes[1]), None, None, None


def _chunks(hidden: Tensor, weight: Tensor) -> list[slice]:
    size = max(1, CHUNK_LOGITS // len(weight))
    return [slice(start, start + size) for start in range(0, len(hidden), size)]


def _in_cache(logits: Tensor, targets: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    if logits.is_cuda:  # smaller parts would only need more kernel launches
        return [(logits, targets)]
    size = max(1, CACHE_LOGITS // logits.shape[1])
    return zip(logits.split(size), targets.split(size), strict=True)


def _at(values: Tensor, targets: Tensor) -> Tensor:
    return values.gather(1, targets[:, None]).squeeze(1)
