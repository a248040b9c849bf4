"""Further pre-training of an encoder: a new head if it has none, and which parameters are trained."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import PreTrainedModel

from langlift.backbones.loading import longest_input
from langlift.backbones.registry import backbone_of
from langlift.errors import InputError
from langlift.training.language_model_loss import decoder_of
from langlift.training.recipes import FurtherRecipe

HEAD_DEVIATION = 0.02
UNSEEN_COUNT = 0.5
"""Count of a token that does not occur, whose logarithm must be finite."""


def prepare_further(
    model: PreTrainedModel, has_head: bool, counts: npt.NDArray[np.int64], recipe: FurtherRecipe
) -> None:
    """Create a missing head, turn off dropout (a few epochs do not overfit) and set which parameters are trained,
    in place.
    """
    if not has_head:
        make_head(model, counts, recipe.head_init)
    without_dropout(model)
    body, backbone = model.base_model, backbone_of(model)
    if recipe.train_layers >= 0:
        body.requires_grad_(False)
        layers = list(body.get_submodule(backbone.rows_from.partition(".{layer}")[0]))
        for layer in layers[len(layers) - min(recipe.train_layers, len(layers)) :]:
            layer.requires_grad_(True)
    body.get_submodule(backbone.embeddings).requires_grad_(recipe.train_embeddings)


@torch.no_grad()
def make_head(model: PreTrainedModel, counts: npt.NDArray[np.int64], init: str) -> None:
    """Initialise an MLM head in the form of the model's architecture, in place.

    The dense layer starts from N(0, 0.02), or with ``init`` identity as the identity; its bias is 0, the LayerNorm
    the identity. The decoder is tied to the embeddings, and its bias is the log frequency of each token
    (``counts`` int64 [vocabulary]), so that the initial loss is about that of predicting by frequency.
    """
    model.config.tie_word_embeddings = True
    model.tie_weights()
    decoder = decoder_of(model)
    for path in backbone_of(model).head:
        for module in model.get_submodule(path).modules():
            if isinstance(module, nn.Linear) and module is not decoder:
                if init == "identity":
                    nn.init.eye_(module.weight)
                else:
                    nn.init.normal_(module.weight, std=HEAD_DEVIATION)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
    if decoder.bias is not None:
        frequency = np.maximum(counts, UNSEEN_COUNT) / max(1, counts.sum())
        decoder.bias.copy_(torch.from_numpy(np.log(frequency)))


def without_dropout(model: PreTrainedModel) -> None:
    """Turn all dropout off, in place; the configuration keeps its values for fine-tuning."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0  # ModernBERT's attention has a number instead of a module


def require_row(model: PreTrainedModel, tokenizer: Any, row_tokens: int) -> None:
    """Raise an InputError if rows of ``row_tokens`` tokens are too long for the model."""
    longest = longest_input(model, tokenizer)
    if row_tokens > longest:
        raise InputError(
            f"row_tokens {row_tokens}: the model takes at most {longest} tokens", f"--set row_tokens={longest}"
        )


def lineage(base: str) -> list[str]:
    """The recorded history of a local model, newest step first, as lines for a model card."""
    lines: list[str] = []
    while (record := Path(base).expanduser() / "vocabulary.json").is_file() and len(lines) < 9:
        found = json.loads(record.read_text(encoding="utf-8"))
        result = found.get("result", {})
        after, origin = result.get("vocabulary_after"), result.get("base")
        if not origin:
            break
        lines.append(f"`{Path(base).name}`: {found.get('command')} of `{Path(origin).name}` to {after:,} entries")
        base = origin
    return lines
