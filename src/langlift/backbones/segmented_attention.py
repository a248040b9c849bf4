"""Attention over a flat batch: concatenated sentences without padding, each attending only to itself.

It is registered with transformers under the name ``FLAT`` and reads the sentences' lengths from the
``segments`` that the model's forward passes on; without them it is PyTorch's own attention (sdpa).
"""

import inspect
from collections.abc import Callable, Iterator
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
from langlift.processes import keep_freed_memory

Run = tuple[int, int, int]
"""(first token, number of sentences, their length): neighbours of equal length."""

GROUP_COST = 2048
"""A further group of sentences costs about as much time as the scores of this many padded pairs of tokens."""


@dataclass(frozen=True)
class Group:
    """Neighbouring sentences that are computed together, padded to the same length."""

    lengths: tuple[int, ...]

    @property
    def padded(self) -> bool:
        """Whether the sentences differ in length."""
        return min(self.lengths) < max(self.lengths)

    @property
    def longest(self) -> int:
        """The common length in tokens: the longest sentence's, with padding a multiple of eight."""
        return -(-max(self.lengths) // 8) * 8 if self.padded else self.lengths[0]


@dataclass(frozen=True)
class Segments:
    """The sentences of a flat batch by their lengths in tokens, in order.

    Sentences of similar length that stand side by side are computed together: sort a batch by length.
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

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The batch as groups of runs, with the least cost in calls and padding."""
        runs, groups = self.runs, []
        costs, begins = [0.0], [0]  # of the best groups of the first runs, and the first run of the last group
        for end in range(1, len(runs) + 1):
            count, longest, options = 0, 0, []
            for begin in reversed(range(end)):
                count, longest = count + runs[begin][1], max(longest, runs[begin][2])
                options.append((costs[begin] + GROUP_COST + count * longest**2, begin))
            cost, begin = min(options)
            costs.append(cost)
            begins.append(begin)
        end = len(runs)
        while end:
            begin = begins[end]
            lengths = [length for _, count, length in runs[begin:end] for _ in range(count)]
            groups.append(Group(tuple(lengths)))
            end = begin
        return tuple(reversed(groups))


FLAT = "langlift_flat"


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
    keep_freed_memory()
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
    return SegmentedAttention.apply(q, k, v, segments, how)[None], None


class SegmentedAttention(torch.autograd.Function):
    """softmax(q k' scale) v in every sentence, by plain batched matrix products over groups of similar length.

    On a CPU this is faster than the fused kernel, except for float32 inference. Saved for the backward pass
    are query, key, value and the attention probabilities.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, segments: Segments, how: Attention) -> Tensor:
        """Shapes [tokens, heads, d] -> the same."""
        layout = _layout(segments, query.shape[1], query.device)
        queries, keys, values = (layout.by_head(x) for x in (query, key, value))
        output = torch.empty_like(values)
        kept: list[Tensor] = []
        for group, q, k, v, o in layout.split(queries, keys, values, output):
            first, *others = _biases(group, how, query.shape[1], q.dtype, q.device)
            scores = torch.baddbmm(first, q, k.transpose(1, 2), alpha=how.scale)
            for bias in others:
                scores += bias
            shares = _softmax(scores)
            kept.append(shares)
            if how.dropout:
                kept.append(dropout_noise(shares, how.dropout))
                shares = shares * kept[-1]
            torch.bmm(shares, v, out=o)
        ctx.save_for_backward(queries, keys, values, *kept)
        ctx.layout, ctx.how = layout, how
        return layout.by_token(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of query, key and value, where they are wanted."""
        layout, how = ctx.layout, ctx.how
        queries, keys, values, *kept = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        gradients = [torch.empty_like(values) for _ in wanted]
        for _, q, k, v, of_output, of_q, of_k, of_v in layout.split(
            queries, keys, values, layout.by_head(gradient), *gradients
        ):
            shares = kept.pop(0)
            keep = kept.pop(0) if how.dropout else None
            if wanted[2]:
                used = shares if keep is None else shares * keep
                torch.bmm(used.transpose(1, 2), of_output, out=of_v)
            if wanted[0] or wanted[1]:
                of_shares = torch.bmm(of_output, v.transpose(1, 2))
                if keep is not None:
                    of_shares *= keep
                of_scores = torch._softmax_backward_data(of_shares, shares, -1, shares.dtype)
                torch.baddbmm(of_q, of_scores, k, beta=0, alpha=how.scale, out=of_q)
                torch.baddbmm(of_k, of_scores.transpose(1, 2), q, beta=0, alpha=how.scale, out=of_k)
        found = (layout.by_token(x) if wants else None for x, wants in zip(gradients, wanted, strict=True))
        return (*found, None, None)


@dataclass(frozen=True)
class Layout:
    """Where a flat batch's tokens stand when each group is [sentences * heads, longest, d], one after the other.

    ``places`` int64 [tokens, heads] are rows of that buffer; ``tokens`` int64 [rows] is the reverse, with
    tokens * heads for padding.
    """

    groups: tuple[Group, ...]
    places: Tensor
    tokens: Tensor

    def by_head(self, x: Tensor) -> Tensor:
        """From [tokens, heads, d] to [rows, d], zero for padding."""
        rows = x.reshape(-1, x.shape[-1])
        if len(self.tokens) > len(rows):
            rows = torch.cat([rows, rows.new_zeros(1, rows.shape[-1])])
        return rows.index_select(0, self.tokens)

    def by_token(self, rows: Tensor) -> Tensor:
        """The reverse."""
        return rows.index_select(0, self.places.view(-1)).view(*self.places.shape, -1)

    def split(self, *buffers: Tensor) -> Iterator[tuple[Any, ...]]:
        """Each group with its parts of the buffers [rows, d] as [sentences * heads, longest, d]."""
        heads, start = self.places.shape[1], 0
        for group in self.groups:
            stop = start + len(group.lengths) * heads * group.longest
            yield group, *(x[start:stop].view(-1, group.longest, x.shape[-1]) for x in buffers)
            start = stop


@lru_cache(maxsize=16)
@torch.inference_mode(mode=False)
def _layout(segments: Segments, heads: int, device: torch.device) -> Layout:
    """The layout of a batch; all layers of a model share it."""
    places, rows = [], 0
    for group in segments.groups:
        lengths = torch.tensor(group.lengths)
        sentence = torch.arange(len(lengths)).repeat_interleave(lengths)
        word = torch.arange(len(sentence)) - (lengths.cumsum(0) - lengths)[sentence]
        places.append(rows + (sentence[:, None] * heads + torch.arange(heads)) * group.longest + word[:, None])
        rows += len(lengths) * heads * group.longest
    where = torch.cat(places)
    tokens = torch.full((rows,), where.numel()).index_copy_(0, where.view(-1), torch.arange(where.numel()))
    return Layout(segments.groups, where.to(device), tokens.to(device))


def _softmax(scores: Tensor) -> Tensor:
    """Softmax over the last dimension; PyTorch's bf16 kernel is slow unless its size is a multiple of 32."""
    if scores.dtype == torch.bfloat16 and scores.shape[-1] % 32:
        return scores.softmax(dim=-1, dtype=torch.float32).to(scores.dtype)
    return scores.softmax(dim=-1)


@lru_cache(maxsize=16)
@torch.inference_mode(mode=False)
def _biases(group: Group, how: Attention, heads: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """What is added to a group's scores [sentences * heads, longest, longest] to hide tokens, to be broadcast.

    One is the same for all sentences, the other for all queries: together they would be as large as the scores.
    """
    size, found = group.longest, []
    if how.hides_some(size):
        hidden = how.hidden(size, device)
        found.append(torch.zeros(1, size, size, dtype=dtype, device=device).masked_fill_(hidden, -torch.inf))
    if group.padded and not how.causal:  # a token that sees no later ones sees no padding
        hidden = ~_grid(group.lengths, device)[1][:, None].repeat_interleave(heads, dim=0)
        # Finite, because padding that saw nothing at all would have no softmax.
        nothing = torch.finfo(dtype).min / 4
        found.append(torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(hidden, nothing))
    return found or [torch.zeros(1, 1, size, dtype=dtype, device=device)]


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
