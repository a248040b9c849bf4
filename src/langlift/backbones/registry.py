"""What a backbone is, by attribute names: one table keyed by ``config.model_type``.

Adding a backbone means adding a row; docs/backbones.md shows how. Names are dotted paths inside
transformers' own modules; ``{layer}`` stands for the layer's number.
"""

from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from langlift.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """The locations of the parts of one architecture.

    Paths marked (body) start at ``model.base_model``, the others at the model with its language modelling head.
    """

    model_type: str
    bottleneck: str
    """(body) the module at which bottleneck adapters sit: the LayerNorm that closes a post-LN layer, or
    the whole layer where it is pre-LN."""
    pre_layer_norm: bool = False
    """Whether normalisation comes before the sublayers, so that a layer's output is a plain sum."""
    rows_from: str
    """(body) the first module of a layer, after its attention, that can run on some tokens only: from
    here on the last layer is computed for the tokens that are needed."""
    rows_until: str | None = None
    """(body) the module after which all tokens are needed again; ``None`` if there is none."""
    embeddings: str = "embeddings"
    """(body) the embeddings; their output passes through the invertible adapter."""
    lora_targets: tuple[str, ...]
    """Names of the linear modules that LoRA adapts."""
    ia3_scaled_outputs: tuple[str, ...]
    """Name suffixes of the linear modules whose outputs IA3 scales; PEFT's default, if it has one."""
    ia3_scaled_inputs: tuple[str, ...]
    """The same for the modules whose inputs it scales, after the feed-forward activation."""
    head: tuple[str, ...]
    """The modules of the language modelling head, in order, from hidden states to logits."""
    head_decoder: str
    """The last linear of that head; the inverse of an invertible adapter runs on its input."""
    positions_follow_padding: bool = False
    """Whether positions count from ``pad_token_id + 1``, so that the first rows of the table are unused."""
    dropout: str
    """The field of ``config`` with the dropout for new heads."""
    attention_dropout: str = "attention_dropout"
    """The field of ``config`` with the dropout of attention, which AdapterFusion uses too."""
    adapterhub_bottleneck: str
    """AdapterHub's path of a layer's bottleneck adapters, after the model's prefix."""
    adapterhub_agrees: bool = True
    """Whether the ``adapters`` library (1.3.0) computes the same with the same weights."""
    causal: bool = False
    """Whether it is a decoder: each token attends to the previous ones, and the head predicts the next one."""


_BERT = Backbone(
    model_type="bert",
    bottleneck="encoder.layer.{layer}.output.LayerNorm",
    rows_from="encoder.layer.{layer}.attention.output",
    lora_targets=("query", "value"),
    ia3_scaled_outputs=("key", "value"),
    ia3_scaled_inputs=("output.dense",),  # the attention's, too
    head=("cls",),
    head_decoder="cls.predictions.decoder",
    dropout="hidden_dropout_prob",
    attention_dropout="attention_probs_dropout_prob",
    adapterhub_bottleneck="encoder.layer.{layer}.output.adapters",
)
_ROBERTA = replace(
    _BERT, model_type="roberta", head=("lm_head",), head_decoder="lm_head.decoder", positions_follow_padding=True
)
_XLM_ROBERTA = replace(_ROBERTA, model_type="xlm-roberta")
_ELECTRA = replace(
    _BERT,
    model_type="electra",
    head=("generator_predictions", "generator_lm_head"),
    head_decoder="generator_lm_head",
)
_DISTILBERT = Backbone(
    model_type="distilbert",
    bottleneck="transformer.layer.{layer}.output_layer_norm",
    rows_from="transformer.layer.{layer}.sa_layer_norm",
    lora_targets=("q_lin", "v_lin"),
    ia3_scaled_outputs=("k_lin", "v_lin"),
    ia3_scaled_inputs=("lin2",),
    head=("vocab_transform", "activation", "vocab_layer_norm", "vocab_projector"),
    head_decoder="vocab_projector",
    dropout="dropout",
    adapterhub_bottleneck="transformer.layer.{layer}.output_adapters.adapters",
)
_MODERNBERT = Backbone(
    model_type="modernbert",
    bottleneck="layers.{layer}",
    pre_layer_norm=True,
    rows_from="layers.{layer}.mlp_norm",
    rows_until="layers.{layer}.mlp",  # its result is added to the residual of all tokens
    lora_targets=("Wqkv",),  # query, key and value are one matrix
    ia3_scaled_outputs=("Wqkv",),
    ia3_scaled_inputs=("mlp.Wo",),
    head=("head", "decoder"),
    head_decoder="decoder",
    dropout="classifier_dropout",
    adapterhub_bottleneck="layers.{layer}.output_adapters.adapters",
    adapterhub_agrees=False,  # there the adapter reads mlp_norm(h) + mlp(h), not the layer's output
)

_LLAMA = Backbone(
    model_type="llama",
    bottleneck="layers.{layer}",
    pre_layer_norm=True,
    rows_from="layers.{layer}.post_attention_layernorm",
    rows_until="layers.{layer}.mlp",
    embeddings="embed_tokens",
    lora_targets=("q_proj", "v_proj"),
    ia3_scaled_outputs=("k_proj", "v_proj"),
    ia3_scaled_inputs=("down_proj",),
    head=("lm_head",),  # after the final norm, which belongs to the body
    head_decoder="lm_head",
    dropout="attention_dropout",  # these models have no other; the adapters library takes it too
    adapterhub_bottleneck="layers.{layer}.output_adapters.adapters",
    causal=True,
)
# The adapters library does not support Qwen and Gemma; in both, PEFT's IA3 scales queries, not keys.
_QWEN2 = replace(_LLAMA, model_type="qwen2", adapterhub_agrees=False, ia3_scaled_outputs=("q_proj", "v_proj"))
_QWEN3 = replace(_QWEN2, model_type="qwen3")
# Gemma's embed_tokens scales, so the invertible block sees what the layers see.
_GEMMA = replace(_QWEN2, model_type="gemma")
_GEMMA2 = replace(
    _GEMMA,
    model_type="gemma2",
    rows_from="layers.{layer}.pre_feedforward_layernorm",
    rows_until="layers.{layer}.post_feedforward_layernorm",  # one norm more, before the residual is added
)
_GEMMA3 = replace(_GEMMA2, model_type="gemma3_text")

BACKBONES: dict[str, Backbone] = {
    row.model_type: row
    for row in (
        *(_BERT, _ROBERTA, _XLM_ROBERTA, _ELECTRA, _DISTILBERT, _MODERNBERT),
        *(_LLAMA, _QWEN2, _QWEN3, _GEMMA, _GEMMA2, _GEMMA3),
    )
}


def first_position(model: PreTrainedModel) -> int:
    """The position id of a text's first token."""
    config: Any = model.config
    return int(config.pad_token_id) + 1 if backbone_of(model).positions_follow_padding else 0


def backbone_of_type(model_type: str) -> Backbone:
    """The table's row for a ``config.model_type``; InputError if the architecture is not in the table."""
    if model_type not in BACKBONES:
        raise InputError(
            f"the architecture '{model_type}' is not supported", f"supported: {', '.join(sorted(BACKBONES))}"
        )
    return BACKBONES[model_type]


def backbone_of(model: PreTrainedModel) -> Backbone:
    """The table's row for a loaded transformers model."""
    config: Any = model.config
    return backbone_of_type(config.model_type)


def head_parameters(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """The part of the MLM head that an adapter may train with it: dense layer and LayerNorm, by their names.

    Never the decoder, whose weight is tied to the embeddings. At width 768 these are 592,128 parameters in
    BERT, RoBERTa and XLM-R: what the ``adapters`` library trains with an adapter through its static head.
    """
    backbone = backbone_of(model)
    decoder = {id(parameter) for parameter in model.get_submodule(backbone.head_decoder).parameters()}
    return {
        f"{path}.{name}": parameter
        for path in backbone.head
        for name, parameter in model.get_submodule(path).named_parameters()
        if id(parameter) not in decoder
    }


def decoder_bias(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """The bias of the head's decoder [vocabulary], by its name in the model; empty if it has none."""
    backbone = backbone_of(model)
    bias = model.get_submodule(backbone.head_decoder).bias
    return {} if bias is None else {f"{backbone.head_decoder}.bias": bias}
