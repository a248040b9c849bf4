"""What a backbone is, by attribute names: one table keyed by ``config.model_type``.

Adding a backbone means adding a row. Names are dotted paths inside transformers' own modules;
``{layer}`` stands for the layer's number.
"""

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from langlift.errors import InputError


@dataclass(frozen=True)
class Backbone:
    """Where things are in one architecture.

    Paths marked (body) start at ``model.base_model``, the others at the model with its masked head.
    """

    model_type: str
    feed_forward_norm: str
    """(body) the LayerNorm that closes a layer: bottleneck adapters sit inside it (post-LN)."""
    embeddings: str
    """(body) the embeddings; their output passes through the invertible adapter."""
    lora_targets: tuple[str, ...]
    """Names of the linear modules that LoRA adapts."""
    masked_head: str
    """The masked language modelling head, from hidden states to logits."""
    head_decoder: str
    """The last linear of that head; the inverse of an invertible adapter runs on its input."""
    positions_follow_padding: bool
    """Whether positions count from ``pad_token_id + 1``, so that so many places of the table are lost."""
    adapterhub_bottleneck: str
    """AdapterHub's place for a layer's bottleneck adapters, behind the model's prefix."""


_BERT = Backbone(
    model_type="bert",
    feed_forward_norm="encoder.layer.{layer}.output.LayerNorm",
    embeddings="embeddings",
    lora_targets=("query", "value"),
    masked_head="cls",
    head_decoder="cls.predictions.decoder",
    positions_follow_padding=False,
    adapterhub_bottleneck="encoder.layer.{layer}.output.adapters",
)

BACKBONES: dict[str, Backbone] = {
    "bert": _BERT,
    "xlm-roberta": Backbone(
        model_type="xlm-roberta",
        feed_forward_norm=_BERT.feed_forward_norm,
        embeddings=_BERT.embeddings,
        lora_targets=_BERT.lora_targets,
        masked_head="lm_head",
        head_decoder="lm_head.decoder",
        positions_follow_padding=True,
        adapterhub_bottleneck=_BERT.adapterhub_bottleneck,
    ),
}


def backbone_of_type(model_type: str) -> Backbone:
    """The table's row for a ``config.model_type``.

    Raises:
        InputError: the architecture is not in the table.
    """
    if model_type not in BACKBONES:
        raise InputError(
            f"the architecture '{model_type}' is not supported", f"supported: {', '.join(sorted(BACKBONES))}"
        )
    return BACKBONES[model_type]


def backbone_of(model: PreTrainedModel) -> Backbone:
    """The table's row for a loaded transformers model."""
    config: Any = model.config
    return backbone_of_type(config.model_type)
