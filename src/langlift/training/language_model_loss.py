"""The language modelling loss, masked or causal, with the head computed only where a token is predicted."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import mean
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from langlift.backbones.cuda_graphs import LENGTH_STEP, GraphedStates
from langlift.backbones.hidden_states import hidden_states
from langlift.backbones.quick_dropout import use_quick_dropout
from langlift.backbones.registry import backbone_of, first_position
from langlift.backbones.segmented_attention import supports_flat_batches, use_flat_attention
from langlift.errors import InputError
from langlift.masking import IGNORED
from langlift.progress import say
from langlift.training.decoder_loss import summed_cross_entropy
from langlift.training.examples import Collate, FlatBatch, PadBatch
from langlift.training.trainer import Batch, SummedLoss, Validation, on_device


@dataclass(frozen=True)
class LossPath:
    """The layout of batches, and the summed loss of a batch."""

    collate: Collate
    loss: SummedLoss


def loss_path(path: str, model: PreTrainedModel, pad_token_id: int) -> LossPath:
    """The ``fast``, ``graphs`` or ``naive`` path for a model, whose attention is set accordingly, in place.

    InputError for ``graphs`` without a GPU.
    """
    if path == "graphs":
        if model.device.type != "cuda":
            raise InputError("path: graphs needs an NVIDIA GPU, and PyTorch sees none here", "use --path fast")
        return LossPath(PadBatch(pad_token_id, LENGTH_STEP), graphed_loss(GraphedStates(model)))
    return LossPath(collate_for(path, model, pad_token_id), summed_loss if path == "naive" else fast_loss)


def collate_for(path: str, model: PreTrainedModel, pad_token_id: int) -> Collate:
    """Flat batches on the fast path if the model supports them; otherwise padded ones, with a message."""
    if path == "naive":
        return PadBatch(pad_token_id)
    if supports_flat_batches(model):
        use_flat_attention(model)
        use_quick_dropout(model)
        return FlatBatch(first_position(model))
    say(f"{type(model).__name__} does not support unpadded batches; texts of similar length are padded instead")
    return PadBatch(pad_token_id)


def logits_at(model: PreTrainedModel, inputs: Batch, rows: Tensor) -> Tensor:
    """Logits of the language modelling head at chosen positions only: float32, shape [chosen, vocabulary].

    ``inputs`` are the model's (``input_ids`` int64 [batch, length], ``attention_mask`` optional);
    ``rows`` is a boolean mask [batch, length]. The result equals running the head everywhere and selecting
    afterwards, without computing unused logits: with 15 % of the tokens masked and a large vocabulary they would
    take most of a step.
    """
    output: Tensor = model.base_model(**inputs).last_hidden_state[rows]
    for path in backbone_of(model).head:
        output = model.get_submodule(path)(output)
    cap = logit_cap(model)
    return output.float() if cap is None else (output.float() / cap).tanh() * cap


def summed_loss(model: PreTrainedModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """The summed cross-entropy (nats, float32 scalar) over the batch's labelled tokens, and their number.

    The naive path, for padded batches: the reference for all others.
    """
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    chosen = batch["labels"] != IGNORED
    logits = logits_at(model, inputs, chosen)
    return cross_entropy(logits, batch["labels"][chosen], reduction="sum"), chosen.sum()


def fast_loss(model: PreTrainedModel, batch: Batch, states: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The same for a flat or a padded batch, computing only what is needed.

    ``states`` are the last hidden states of all tokens [tokens, d], if they are known.
    """
    chosen, decoder = batch["labels"] != IGNORED, decoder_of(model)
    hidden = hidden_states(model, batch, chosen) if states is None else states[chosen.reshape(-1)]
    before = before_decoder(model, hidden)
    total = summed_cross_entropy(before, decoder.weight, decoder.bias, batch["labels"][chosen], logit_cap(model))
    return total, chosen.sum()


def graphed_loss(states: GraphedStates) -> SummedLoss:
    """``fast_loss`` of padded batches with the body's passes replayed by CUDA graphs, where that applies."""
    return lambda model, batch: fast_loss(model, batch, states(batch) if states.applies(batch) else None)


def logit_cap(model: PreTrainedModel) -> float | None:
    """The cap of a model's logits (by tanh, after the decoder), if it has one (Gemma 2)."""
    cap: float | None = getattr(model.config, "final_logit_softcapping", None)
    return cap


def decoder_of(model: PreTrainedModel) -> nn.Linear:
    """The last linear layer of the language modelling head."""
    decoder = model.get_submodule(backbone_of(model).head_decoder)
    if not isinstance(decoder, nn.Linear):
        raise TypeError(f"{backbone_of(model).head_decoder} is a {type(decoder).__name__}, not a linear module")
    return decoder


def before_decoder(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """The language modelling head up to the input of its decoder; shape [rows, d] -> [rows, d]."""
    with _passing_through(decoder_of(model)):
        for path in backbone_of(model).head:
            hidden = model.get_submodule(path)(hidden)
    return hidden


@contextmanager
def _passing_through(module: nn.Module) -> Iterator[None]:
    """Within this context, a module returns its input; its hooks still run."""
    vars(module)["forward"] = lambda x: x
    try:
        yield
    finally:
        del vars(module)["forward"]


def validation_losses(
    loss: SummedLoss,
    parts: Mapping[str, Sequence[Any]],
    collate: Callable[[Any], Batch],
    batch_size: int,
    shares: Mapping[str, float] | None = None,
) -> Validation:
    """The mean losses over data sets by name, as measures ``loss_NAME``, and over all of them as ``loss``.

    ``loss`` is the mean over data sets, each counting once. With ``shares`` it is the mean over items if examples
    were drawn from the data sets in these shares, however many of each are measured; for a single data set it is
    then the only measure.
    """
    batches: dict[str, Any] = {
        name: DataLoader(examples, batch_size=batch_size, collate_fn=collate)  # type: ignore[arg-type]
        for name, examples in parts.items()
    }

    def measure(model: nn.Module) -> dict[str, float]:
        sums = {name: _summed(loss, model, some) for name, some in batches.items()}
        each = {f"loss_{name}": total / items for name, (total, items) in sums.items()}
        if shares is None:
            return {"loss": mean(each.values()), **each}
        if len(each) == 1:
            return {"loss": next(iter(each.values()))}
        total, items = (
            sum(shares[name] * sums[name][i] / len(part) for name, part in parts.items()) for i in range(2)
        )
        return {"loss": total / items, **each}

    return measure


def _summed(loss: SummedLoss, model: nn.Module, batches: Iterable[Batch]) -> tuple[float, int]:
    """The loss summed over a data set, and the number of its items."""
    device = next(model.parameters()).device
    total, items = 0.0, 0
    for batch in batches:
        batch_total, batch_items = loss(model, on_device(batch, device))
        total += float(batch_total)
        items += int(batch_items)
    return total, items
