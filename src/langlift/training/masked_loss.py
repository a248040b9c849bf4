"""The masked language modelling loss, with the head computed only where a token is predicted."""

from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from langlift.backbones.registry import backbone_of
from langlift.masking.masked_language_model import IGNORED


def logits_at(model: PreTrainedModel, inputs: dict[str, Tensor], rows: Tensor) -> Tensor:
    """Logits of the masked head at chosen positions only: float32, shape [chosen, vocabulary].

    ``inputs`` are the model's (``input_ids`` int64 [batch, length], ``attention_mask`` optional);
    ``rows`` is a boolean mask [batch, length]. The same numbers as running the head everywhere and
    selecting afterwards, without computing the rest: with 15 % of the tokens masked and a large
    vocabulary most of a naive step is spent on logits that nobody reads.
    """
    hidden = model.base_model(**inputs).last_hidden_state
    output: Tensor = hidden[rows]
    for path in backbone_of(model).masked_head:
        output = model.get_submodule(path)(output)
    return output.float()


def summed_masked_loss(model: PreTrainedModel, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The summed cross-entropy (nats, float32 scalar) over the batch's labelled tokens, and their number."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    chosen = batch["labels"] != IGNORED
    logits = logits_at(model, inputs, chosen)
    return cross_entropy(logits, batch["labels"][chosen], reduction="sum"), chosen.sum()
