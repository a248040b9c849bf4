"""Attention over a flat batch: concatenated sentences without padding, each attending only to itself.

It is registered with transformers under the name ``FLAT`` and reads the sentences' lengths from the
``segments`` that the model's forward passes on; without them it is PyTorch's own attention (sdpa).
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from langlift.backbones.quick_dropout import dropout_noise

FLAT = "langlift_flat"

Run = tuple[int, int, int]
"""(first token, number of sentences, their length): neighbours of equal length, computed together."""


@dataclass(frozen=True)
class Segments:
    """The sentences of a flat batch by their lengths in tokens, in order.

    Sentences of equal length that stand side by side are computed together: sort a batch by length.
    """

    lengths: tuple[int, ...]

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The batch as runs of equal length."""
        runs, start = [], 0
        for length, group in groupby(self.lengths):
            count = len(list(group))
            runs.append((start, count, length))
            start += count * length
        return tuple(runs)


@dataclass(frozen=True)
class Attention:
    """How a sentence attends to itself: softmax(q k' ``scale``) v, with ``dropout`` of the shares.

    A token attends to those closer than ``window`` and, if ``causal``, not to those after it.
    """

    causal: bool
    window: int | None
    scale: float
    dropout: float = 0.0

    def hides_some(self, length: int) -> bool:
        """Whether some tokens of a sentence do not see each other."""
        return self.causal or (self.window is not None and length > self.window)

    def hidden(self, length: int, device: torch.device) -> Tensor:
        """Boolean [length, length]: true where the first token does not see the second."""
        places = torch.arange(length, device=device)
        distance = places[:, None] - places
        hidden = distance < 0 if self.causal else torch.zeros_like(distance, dtype=torch.bool)
        return hidden if self.window is None else hidden | (distance.abs() >= self.window)


def supports_flat_batches(model: PreTrainedModel) -> bool:
    """Whether a model uses a registered attention function and accepts explicit positions.

    Gemma 2 caps its attention scores, which PyTorch's kernels cannot: it keeps transformers' own attention.
    """
    body = model.base_model
    if caps_attention(model.config):
        return False
    handed_on = getattr(type(body), "_supports_attention_backend", False)
    return bool(handed_on) and "position_ids" in inspect.signature(body.forward).parameters


def caps_attention(config: Any) -> bool:
    """Whether a model squeezes its attention scores through a tanh (Gemma 2)."""
    return getattr(config, "attn_logit_softcapping", None) is not None


def use_flat_attention(model: PreTrainedModel) -> None:
    """Make a model use this attention, in place; ordinary batches are computed as before."""
    AttentionInterface.register(FLAT, flat_attention)
    AttentionMaskInterface.register(FLAT, sdpa_mask)
    model.set_attn_implementation(FLAT)


def flat_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    segments: Segments | None = None,
    **further: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: [1, heads, tokens, d] -> [1, tokens, heads, d].

    ``sliding_window`` w lets tokens i and j see each other where |i - j| < w. Where the module is causal, no
    token sees later ones. Key and value may have fewer heads, each for as many queries.
    """
    if segments is None:
        ordinary: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **further
        )
        return ordinary
    if (shared := query.shape[1] // key.shape[1]) > 1:
        key, value = (x.repeat_interleave(shared, dim=1) for x in (key, value))
    # Rotary positions may leave queries and keys in float32 where autocast made the values bf16.
    q, k, v = (x[0].transpose(0, 1).to(value.dtype) for x in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    how = Attention(module.is_causal, sliding_window, scale, dropout)  # type: ignore[arg-type]
    if query.is_cuda or (query.dtype == torch.float32 and not torch.is_grad_enabled()):
        return _fused(q, k, v, segments, how)[None], None
    return SegmentedAttention.apply(q, k, v, segments.runs, how)[None], None


class SegmentedAttention(torch.autograd.Function):
    """softmax(q k' scale) v in every sentence, by plain batched matrix products over runs of equal length.

    On a CPU this is faster than the fused kernel, except for float32 inference.
    Saved for the backward pass are query, key, value and the attention probabilities.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, runs: tuple[Run, ...], how: Attention
    ) -> Tensor:
        """Shapes [tokens, heads, d] -> the same."""
        output = torch.empty(query.shape, dtype=query.dtype, device=query.device)
        kept: list[Tensor] = []
        for run in runs:
            q, k, v = (_products(x, run) for x in (query, key, value))
            scores = torch.bmm(q, k.transpose(1, 2)).mul_(how.scale)
            if how.hides_some(run[2]):
                scores.masked_fill_(how.hidden(run[2], scores.device), -torch.inf)
            shares = scores.softmax(dim=-1)
            kept.append(shares)
            if how.dropout:
                kept.append(dropout_noise(shares, how.dropout))
                shares = shares * kept[-1]
            _put(output, run, torch.bmm(shares, v))
        ctx.save_for_backward(query, key, value, *kept)
        ctx.runs, ctx.how = runs, how
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of query, key and value, where they are wanted."""
        query, key, value, *kept = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        gradients = [
            torch.empty(x.shape, dtype=x.dtype, device=x.device) if wants else None
            for x, wants in zip((query, key, value), wanted, strict=True)
        ]
        for run in ctx.runs:
            shares = kept.pop(0)
            keep = kept.pop(0) if ctx.how.dropout else None
            of_output = _products(gradient, run)
            if gradients[2] is not None:
                used = shares if keep is None else shares * keep
                _put(gradients[2], run, torch.bmm(used.transpose(1, 2), of_output))
            if gradients[0] is None and gradients[1] is None:
                continue
            of_shares = torch.bmm(of_output, _products(value, run).transpose(1, 2))
            if keep is not None:
                of_shares *= keep
            of_scores = torch._softmax_backward_data(of_shares, shares, -1, shares.dtype).mul_(ctx.how.scale)
            if gradients[0] is not None:
                _put(gradients[0], run, torch.bmm(of_scores, _products(key, run)))
            if gradients[1] is not None:
                _put(gradients[1], run, torch.bmm(of_scores.transpose(1, 2), _products(query, run)))
        return (*gradients, None, None)


def _products(x: Tensor, run: Run) -> Tensor:
    """A run of [tokens, heads, d] as [sentences * heads, length, d]; a view where there is one sentence."""
    start, count, length = run
    heads, width = x.shape[1:]
    block = x[start : start + count * length].view(count, length, heads, width).transpose(1, 2)
    return block.reshape(count * heads, length, width)


def _put(target: Tensor, run: Run, products: Tensor) -> None:
    """The reverse: write [sentences * heads, length, d] to a run's place."""
    start, count, length = run
    heads, width = target.shape[1:]
    place = target[start : start + count * length].view(count, length, heads, width)
    place.copy_(products.view(count, heads, length, width).transpose(1, 2))


def _fused(query: Tensor, key: Tensor, value: Tensor, segments: Segments, how: Attention) -> Tensor:
    """The same with fused kernels; on a GPU few calls for all lengths: a call costs more than some padding."""
    if not query.is_cuda or len(segments.runs) == 1:
        return _fused_by_run(query, key, value, segments, how)
    kernel = _variable_length_kernel()
    if kernel is None or how.dropout or query.dtype not in (torch.float16, torch.bfloat16):
        return _fused_padded(query, key, value, segments, how)
    boundaries, longest = _boundaries(segments.lengths, query.device), max(segments.lengths)
    behind = -1 if how.window is None else how.window - 1
    window = (behind, 0 if how.causal else behind)
    output: Tensor = kernel(
        query, key, value, boundaries, boundaries, longest, longest, scale=how.scale, window_size=window
    )
    return output


def _fused_by_run(query: Tensor, key: Tensor, value: Tensor, segments: Segments, how: Attention) -> Tensor:
    sizes = [count * length for _, count, length in segments.runs]
    outputs = []
    for (_, count, length), *parts in zip(
        segments.runs, *(x.split(sizes) for x in (query, key, value)), strict=True
    ):
        q, k, v = (x.unflatten(0, (count, length)).transpose(1, 2) for x in parts)
        plain = how.window is None or length <= how.window
        seen = None if plain else ~how.hidden(length, q.device)
        attended = scaled_dot_product_attention(
            q, k, v, attn_mask=seen, dropout_p=how.dropout, scale=how.scale, is_causal=plain and how.causal
        )
        outputs.append(attended.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs)


def _fused_padded(query: Tensor, key: Tensor, value: Tensor, segments: Segments, how: Attention) -> Tensor:
    """One fused call for all sentences, padded here only, or one for each group of them."""
    if len(groups := _padded_together(segments.lengths)) > 1:
        sizes = [sum(group.lengths) for group in groups]
        parts = zip(query.split(sizes), key.split(sizes), value.split(sizes), groups, strict=True)
        return torch.cat([_fused_padded(q, k, v, group, how) for q, k, v, group in parts])
    places, is_token = _grid(segments.lengths, query.device)
    count, longest = is_token.shape
    q, k, v = (
        x.new_zeros(count * longest, *x.shape[1:])
        .index_copy(0, places, x)
        .unflatten(0, (count, longest))
        .transpose(1, 2)
        for x in (query, key, value)
    )
    whole = how.window is None or longest <= how.window
    seen: Tensor | None = is_token[:, None, None]
    if how.causal and whole:
        seen = None  # padding comes after everything that is attended to
    elif not whole:
        # Padding attends to itself: a row without any key would have no softmax and no gradient.
        itself = torch.eye(longest, dtype=torch.bool, device=is_token.device)
        seen = (is_token[:, None, None] & ~how.hidden(longest, is_token.device)) | itself
    attended = scaled_dot_product_attention(
        q, k, v, attn_mask=seen, dropout_p=how.dropout, scale=how.scale, is_causal=seen is None
    )
    return attended.transpose(1, 2).flatten(0, 1).index_select(0, places)


def _padded_together(lengths: tuple[int, ...]) -> list[Segments]:
    """Neighbouring sentences to pad together: all, unless that were more padding than text."""
    if len(lengths) * max(lengths) <= 2 * sum(lengths):
        return [Segments(lengths)]
    return [Segments(tuple(group)) for _, group in groupby(lengths, key=lambda length: (length - 1).bit_length())]


# Not as inference tensors, though a validation may ask first: training saves them for its backward pass.


@lru_cache(maxsize=16)
@torch.inference_mode(mode=False)
def _boundaries(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    """Where sentences begin and end, int32 [sentences + 1]; all layers of a model share it."""
    return torch.tensor((0, *lengths)).cumsum(0).to(device, torch.int32)


@lru_cache(maxsize=16)
@torch.inference_mode(mode=False)
def _grid(lengths: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """The positions of a flat batch's tokens in a padded batch, int64 [tokens], and which positions are tokens.

    The latter is boolean [sentences, longest], with ``longest`` a multiple of eight, as a GPU's kernels want it.
    """
    longest = -(-max(lengths) // 8) * 8
    is_token = torch.arange(longest) < torch.tensor(lengths)[:, None]
    return is_token.flatten().nonzero().squeeze(1).to(device), is_token.to(device)


@cache
def _variable_length_kernel() -> Callable[..., Any] | None:
    """PyTorch's variable-length flash attention, if its version supports windows and the GPU supports it."""
    if torch.cuda.get_device_capability() < (8, 0):
        return None
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    known = inspect.signature(varlen_attn).parameters
    kernel: Callable[..., Any] | None = varlen_attn if {"scale", "window_size"} <= known.keys() else None
    return kernel
