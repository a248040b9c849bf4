"""Adapt a model to another vocabulary: input and output embeddings, the head's bias, positions."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, PreTrainedModel

from langlift.backbones.loading import BaseModel, model_location, quiet_transformers, read_config
from langlift.backbones.registry import backbone_of
from langlift.files import new_folder, write_json
from langlift.vocab.parts import RECORD, special_ids

POSITIONS = "position_embeddings.weight"


def row_count(tokenizer: Any) -> int:
    """The number of rows that a model needs for the tokenizer's ids."""
    return max(tokenizer.get_vocab().values()) + 1


def vocabulary_tensors(model: PreTrainedModel) -> set[int]:
    """The addresses of the tensors with a row for each token: embeddings, tied or not, and the head's bias."""
    decoder = backbone_of(model).head_decoder
    found = [model.get_input_embeddings().weight, *model.get_submodule(decoder).parameters()]
    # The heads of BERT and RoBERTa have a second copy of the decoder's bias, tied only if the embeddings are.
    beside = getattr(model.get_submodule(decoder.rpartition(".")[0]), "bias", None)
    if isinstance(beside, Tensor):
        found.append(beside)
    return {tensor.data_ptr() for tensor in found}


def with_vocabulary(model: PreTrainedModel, tokenizer: Any, rows: Callable[[Tensor], Tensor]) -> PreTrainedModel:
    """The model with ``rows`` of each matrix (or bias) of the vocabulary, float32, in evaluation mode.

    ``rows`` takes such a tensor [old vocabulary, ...] and returns the new one; it is called once for each tensor,
    first for the input embeddings, and tied tensors stay tied. Ids in the configuration are set to the tokenizer's
    special tokens by role. If positions count from the pad token's id, the position table is shifted accordingly.
    """
    config: Any = copy.deepcopy(model.config)
    config.vocab_size = row_count(tokenizer)
    for role, number in special_ids(tokenizer).items():
        if getattr(config, f"{role}_token_id", None) is not None:
            setattr(config, f"{role}_token_id", number)
    shift = config.pad_token_id - model.config.pad_token_id if backbone_of(model).positions_follow_padding else 0
    config.max_position_embeddings += shift

    state = model.state_dict()
    addresses = vocabulary_tensors(model)
    first = model.get_input_embeddings().weight
    renewed = {first.data_ptr(): rows(first)}
    for name, tensor in state.items():
        address = tensor.data_ptr()
        if address in addresses:
            if address not in renewed:
                renewed[address] = rows(tensor)
            state[name] = renewed[address]
        elif shift and name.endswith(POSITIONS):
            first_place = config.pad_token_id + 1
            state[name] = tensor.new_zeros(tensor.shape[0] + shift, tensor.shape[1])
            state[name][first_place:] = tensor[first_place - shift :]
    with quiet_transformers():
        changed = type(model)._from_config(config, dtype=torch.float32)
    changed.load_state_dict(state)
    finished: PreTrainedModel = changed.eval()
    return finished


def save_model(
    model: PreTrainedModel, tokenizer: Any, base: BaseModel, out: Path, record: Mapping[str, Any]
) -> None:
    """Write an ordinary model folder in the dtype of the base, and the ``record`` of how it was made.

    If the base has no head, the folder has none either; the base's pooler is copied.
    """
    stored = read_config(base.source).dtype
    dtype = stored if isinstance(stored, torch.dtype) else torch.float32
    headed = base.head is not None
    kept = (model if headed else model.base_model).to(dtype)
    state = None if headed else _weights(base, dtype) | kept.state_dict()
    with new_folder(out) as staging:
        with quiet_transformers():
            kept.save_pretrained(staging, state_dict=state)
            tokenizer.save_pretrained(staging)
        write_json(staging / RECORD, record)


def parameter_count(base: BaseModel, model: PreTrainedModel) -> int:
    """The number of parameters of a model, without the head if its base has none."""
    counted = model if base.head is not None else model.base_model
    return sum(parameter.numel() for parameter in counted.parameters())


def _weights(base: BaseModel, dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights in the checkpoint of a model without head."""
    where, trust = model_location(base.source), base.source.trust_remote_code
    with quiet_transformers():
        model, info = AutoModel.from_pretrained(
            where, dtype=dtype, trust_remote_code=trust, output_loading_info=True
        )
    return {name: weight for name, weight in model.state_dict().items() if name not in info["missing_keys"]}
