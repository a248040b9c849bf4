"""A vector for each sentence: the mean of its tokens' hidden states, of the last or of every layer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from langlift.backbones.base_model import BaseModel
from langlift.backbones.loading import default_device
from langlift.backbones.registry import backbone_of
from langlift.checkpoints.adapter_folder import load_adapter
from langlift.corpus.text_files import read_lines
from langlift.errors import InputError
from langlift.evaluation.scores import batches_by_length
from langlift.progress import ProgressBar

LAYERS = ("last", "every")


def parallel_sentences(first: Path, second: Path) -> list[tuple[str, str]]:
    """The pairs of sentences of two files that are parallel line by line; pairs with a blank side are skipped.

    Raises:
        InputError: a file cannot be read, the numbers of lines differ, or no pair is left.
    """
    ours, theirs = _lines(first), _lines(second)
    if len(ours) != len(theirs):
        raise InputError(
            f"{first} has {len(ours)} lines and {second} {len(theirs)}: not parallel line by line",
            "each line of one file must be the translation of the same line of the other",
        )
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a and b]
    if not pairs:
        raise InputError(f"{first}: no sentence", "give text files with one sentence per line")
    return pairs


def sentence_vectors(
    base: str, sentences: Sequence[str], adapter: Path | None = None, layers: str = "last"
) -> npt.NDArray[np.float32]:
    """The mean hidden state of each sentence's tokens, without special tokens: [layers, sentences, width].

    ``layers``: ``last`` is the model's output; ``every`` is the output of each layer (with its adapter), lowest
    first, with the model's output as the last one. Computed in float32.

    Raises:
        InputError: an unusable model or adapter, or a sentence without a token.
    """
    loaded = BaseModel.load(base, masked_only=True, head_needed=False)
    model, tokenizer = loaded.model, loaded.tokenizer
    if adapter is not None:
        load_adapter(model, adapter)
    model = model.to(default_device()).eval()
    encoded = tokenizer(
        list(sentences), truncation=True, max_length=loaded.longest_input,
        return_special_tokens_mask=True, verbose=False,
    )  # fmt: skip
    ids, special = encoded["input_ids"], encoded["special_tokens_mask"]
    empty = next((text for text, mask in zip(sentences, special, strict=True) if all(mask)), None)
    if empty is not None:
        raise InputError(f"a sentence without a token: {empty!r}", "delete the line in both files")
    found: list[Any] = [None] * len(sentences)
    with ProgressBar("sentence vectors", len(sentences), "sentences") as bar, torch.inference_mode():
        for batch in batches_by_length([len(one) for one in ids]):
            pooled = _pooled(
                model, tokenizer.pad_token_id, [ids[i] for i in batch], [special[i] for i in batch], layers
            )
            for place, number in enumerate(batch):
                found[number] = pooled[:, place]
            bar.advance(len(batch))
    return np.stack(found, axis=1)


def _lines(path: Path) -> list[str]:
    lines = read_lines(path)
    return lines[:-1] if lines[-1:] == [""] else lines


def _pooled(
    model: PreTrainedModel, pad: int, ids: Sequence[list[int]], special: Sequence[list[int]], layers: str
) -> npt.NDArray[np.float32]:
    """Mean hidden states of one batch: [layers, sentences, width]."""
    padded = pad_sequence([torch.tensor(one) for one in ids], batch_first=True, padding_value=pad)
    attended = pad_sequence([torch.ones(len(one), dtype=torch.long) for one in ids], batch_first=True)
    weights = pad_sequence([1 - torch.tensor(one) for one in special], batch_first=True).to(
        model.device, torch.float32
    )
    weights = weights / weights.sum(dim=1, keepdim=True)
    with _outputs_of_layers(model, layers) as outputs:
        last = model.base_model(
            input_ids=padded.to(model.device), attention_mask=attended.to(model.device)
        ).last_hidden_state
    states = torch.stack([*outputs[:-1], last])
    return torch.einsum("lstd,st->lsd", states, weights).float().cpu().numpy()


@contextmanager
def _outputs_of_layers(model: PreTrainedModel, layers: str) -> Iterator[list[Tensor]]:
    """A list that collects each layer's output while the model runs; it stays empty for ``last``.

    Outputs are taken from the modules with bottleneck adapters, the last ones of their layers.
    """
    outputs: list[Tensor] = []

    def keep(module: Any, arguments: Any, output: Any) -> None:
        outputs.append(output[0] if isinstance(output, tuple) else output)

    paths = [backbone_of(model).bottleneck.format(layer=i) for i in range(model.config.num_hidden_layers)]
    chosen = paths if layers == "every" else []
    handles = [model.base_model.get_submodule(path).register_forward_hook(keep) for path in chosen]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
