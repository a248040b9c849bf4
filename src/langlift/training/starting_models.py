"""The models that pre-training starts from: new ones, and encoders with or without an MLM head."""

import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
    XLMRobertaModel,
)

from langlift.backbones.loading import BaseModel
from langlift.backbones.registry import backbone_of
from langlift.errors import InputError
from langlift.training.language_model_loss import decoder_of
from langlift.training.recipes import CAUSAL, FurtherRecipe, PretrainRecipe

HEAD_DEVIATION = 0.02
UNSEEN_COUNT = 0.5
"""Count of a token that does not occur, whose logarithm must be finite."""


def prepare_further(base: BaseModel, counts: npt.NDArray[np.int64], recipe: FurtherRecipe) -> None:
    """Create a missing head, turn off dropout (a few epochs do not overfit) and set which parameters are trained,
    in place.
    """
    model, backbone = base.model, base.backbone
    if base.head is None:
        make_head(model, counts, recipe.head_init)
    without_dropout(model)
    body = model.base_model
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


def require_row(base: BaseModel, row_tokens: int) -> None:
    """Raise an InputError if rows of ``row_tokens`` tokens are too long for the model."""
    longest = base.longest_input
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


LOCAL_LAYERS = 2
OFFSETS = (-1, 1, -2, 2)
SHARPNESS = 1.2


@torch.no_grad()
def attend_to_neighbours(body: XLMRobertaModel) -> None:
    """Initialise the heads of the first layers to attend to near neighbours, in place.

    A small encoder with absolute positions behaves like a bag of words for tens of millions of tokens before its
    heads learn that neighbours matter. Therefore the position table starts from sinusoids of wavelengths 2 to 600
    instead of noise, and query and key of the first layers are set so that head h at position i attends to
    position i + OFFSETS[h]: with p(i) = (sin f i, cos f i) for each frequency f, q = R(f * offset) p(i) and k =
    p(j), the product q.k = sum cos(f (i + offset - j)) has its maximum there. All of these remain ordinary
    trainable parameters.
    """
    table = body.embeddings.position_embeddings.weight
    places, width = table.shape
    frequencies = math.pi * torch.exp(torch.linspace(0.0, math.log(0.01 / math.pi), width // 2))
    angles = torch.arange(places)[:, None] * frequencies
    # Twice the root mean square of the word embeddings.
    scale = 2 * body.config.initializer_range * math.sqrt(2)
    table[:, 0::2], table[:, 1::2] = scale * angles.sin(), scale * angles.cos()
    heads = body.config.num_attention_heads
    pairs = width // heads // 2
    for layer in body.encoder.layer[:LOCAL_LAYERS]:
        query, key = layer.attention.self.query.weight, layer.attention.self.key.weight
        for head in range(heads):
            offset = OFFSETS[head % len(OFFSETS)]
            for pair in range(pairs):
                sine, cosine = 2 * pair, 2 * pair + 1
                row = 2 * (head * pairs + pair)
                turn = offset * float(frequencies[pair])
                query[row, sine] += SHARPNESS * math.cos(turn)
                query[row, cosine] += SHARPNESS * math.sin(turn)
                query[row + 1, cosine] += SHARPNESS * math.cos(turn)
                query[row + 1, sine] -= SHARPNESS * math.sin(turn)
                key[row, sine] += SHARPNESS
                key[row + 1, cosine] += SHARPNESS


def new_model(tokenizer: PreTrainedTokenizerBase, recipe: PretrainRecipe) -> PreTrainedModel:
    """A newly initialised model of the recipe's shape, without dropout: a few epochs do not overfit."""
    # On a CPU, plain products in bf16 are faster than the fused attention kernel; the fast path has its own.
    how = {"attn_implementation": "eager", "dtype": torch.float32}
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": recipe.hidden_size,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": recipe.attention_heads,
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    if recipe.objective == CAUSAL:
        # RoPE, RMSNorm and SwiGLU; input and output embeddings are tied, as in small Llama 3 models.
        llama = LlamaConfig(
            **shape,
            intermediate_size=max(8, round(recipe.feed_forward_size * 2 / 3 / 8) * 8),
            max_position_embeddings=recipe.max_tokens,
            tie_word_embeddings=True,
        )
        return LlamaForCausalLM._from_config(llama, **how)
    config = XLMRobertaConfig(
        **shape,
        intermediate_size=recipe.feed_forward_size,
        # XLM-R numbers positions from pad_token_id + 1.
        max_position_embeddings=recipe.max_tokens + tokenizer.pad_token_id + 1,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = XLMRobertaForMaskedLM._from_config(config, **how)
    attend_to_neighbours(model.base_model)
    return model
