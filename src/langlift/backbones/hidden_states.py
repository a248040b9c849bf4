"""Run a model's body on a padded or a flat batch, computing only the rows that are needed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from langlift.backbones.registry import backbone_of
from langlift.backbones.segmented_attention import Segments


def hidden_states(model: PreTrainedModel, batch: Mapping[str, Tensor], rows: Tensor | None = None) -> Tensor:
    """The body's last hidden states at the selected tokens (``None``: all), in order; shape [selected, d].

    A flat batch has ``input_ids`` and ``position_ids`` int64 [1, tokens] and ``lengths`` int64 [sentences]; a
    padded one has ``input_ids`` [sentences, length] and perhaps ``attention_mask``. ``rows`` is boolean, of the
    shape of ``input_ids``. In the last layer, computation for other rows is skipped where possible.
    """
    body = model.base_model
    inputs: dict[str, Any] = {"input_ids": batch["input_ids"], "attention_mask": batch.get("attention_mask")}
    if backbone_of(model).causal:
        inputs["use_cache"] = False
    if "lengths" in batch:
        inputs["position_ids"] = batch["position_ids"]
        inputs["segments"] = Segments(tuple(batch["lengths"].tolist()))
        # transformers passes a 4-dimensional mask on unchanged instead of creating its own.
        inputs["attention_mask"] = torch.empty(1, 1, 1, 0, device=batch["input_ids"].device)
    if rows is None:
        every: Tensor = body(**inputs).last_hidden_state
        return every.reshape(-1, every.shape[-1])
    places = rows.reshape(-1).nonzero().squeeze(1)
    if 2 * len(places) > rows.numel():  # too little to skip, for example when every next token is predicted
        return hidden_states(model, batch).index_select(0, places)
    with only_rows(model, places) as narrowed:
        output: Tensor = body(**inputs).last_hidden_state
    output = output.reshape(-1, output.shape[-1])
    return output if narrowed else output.index_select(0, places)


def mean_states(states: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """The means over each sentence's tokens of the states [tokens, d] of a whole batch; shape [sentences, d]."""
    if "lengths" in batch:
        runs = Segments(tuple(batch["lengths"].tolist())).runs
        parts = states.split([count * length for _, count, length in runs])
        means = [x.view(count, length, -1).mean(dim=1) for x, (_, count, length) in zip(parts, runs, strict=True)]
        return torch.cat(means)
    states = states.view(*batch["input_ids"].shape, -1)
    if (mask := batch.get("attention_mask")) is None:
        return states.mean(dim=1)
    weights = mask[:, :, None].to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1)


@contextmanager
def only_rows(model: PreTrainedModel, places: Tensor) -> Iterator[bool]:
    """Within this context, compute the end of the last layer (after its attention) only for some tokens.

    ``places`` int64 [chosen] counts tokens of all sentences. Yields whether the body's output is then
    [1, chosen, d]; where the layer's own code needs all rows again, it keeps its shape, with the rows
    not chosen unfinished.
    """
    backbone, config = backbone_of(model), model.config
    last = config.num_hidden_layers - 1
    layer = model.base_model.get_submodule(f"{backbone.rows_from.partition('.{layer}')[0]}.{last}")
    # Chunks have a fixed number of rows, and a checkpointed layer is computed again when this is over.
    if getattr(config, "chunk_size_feed_forward", 0) or getattr(layer, "gradient_checkpointing", False):
        yield False
        return
    first_module = model.base_model.get_submodule(backbone.rows_from.format(layer=last))

    shape: list[int] = []

    def narrow(module: Any, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        shape[:] = arguments[0].shape[:2]
        return tuple(x.reshape(-1, x.shape[-1]).index_select(0, places)[None] for x in arguments)

    handles = [first_module.register_forward_pre_hook(narrow)]
    if backbone.rows_until is not None:

        def widen(module: Any, arguments: Any, output: Tensor) -> Tensor:
            everywhere = output.new_zeros(shape[0] * shape[1], output.shape[-1])
            return everywhere.index_copy(0, places, output[0]).view(*shape, -1)

        last_module = model.base_model.get_submodule(backbone.rows_until.format(layer=last))
        handles.append(last_module.register_forward_hook(widen))
    try:
        yield backbone.rows_until is None
    finally:
        for handle in handles:
            handle.remove()
