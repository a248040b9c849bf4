"""The parts of an MLM head that can be trained with an adapter: all but the decoder's weight."""

from torch import nn
from transformers import PreTrainedModel

from langlift.backbones.registry import backbone_of


def head_parameters(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """The MLM head's dense layer and LayerNorm, by their names in the model.

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
