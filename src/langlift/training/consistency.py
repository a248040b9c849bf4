"""Training a MoSA mixture: a random choice of experts for every step, and consistency between two passes."""

from typing import Any

from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from langlift.adapters.mosa import Mixture
from langlift.backbones.hidden_states import hidden_states
from langlift.masking.masked_language_model import IGNORED
from langlift.training.decoder_loss import summed_cross_entropy, summed_symmetric_divergence
from langlift.training.language_model_loss import before_decoder, decoder_of, logit_cap, logits_at
from langlift.training.paths import SummedLoss


class DrawExperts(TrainerCallback):
    """Draws a mixture's experts before every training step."""

    def __init__(self, mixture: Mixture) -> None:
        self._mixture = mixture

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Draw by the run's seed and the step's number."""
        self._mixture.draw(args.seed, state.global_step)


def consistent_loss(path: str, mixture: Mixture, weight: float) -> SummedLoss:
    """The masked loss of a pass plus ``weight`` times its divergence from a second pass.

    The second pass uses other experts and other dropout; only the first is compared with the labels. The
    divergence is computed at the predicted positions only.
    """

    def naive(model: PreTrainedModel, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        chosen = batch["labels"] != IGNORED
        first = logits_at(model, inputs, chosen)
        mixture.redraw()
        second = logits_at(model, inputs, chosen)
        total = cross_entropy(first, batch["labels"][chosen], reduction="sum")
        return total + weight * symmetric_divergence(first, second), chosen.sum()

    def fast(model: PreTrainedModel, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        if logit_cap(model) is not None:  # the chunked divergence does not support a cap
            return naive(model, batch)
        chosen, decoder = batch["labels"] != IGNORED, decoder_of(model)
        first = before_decoder(model, hidden_states(model, batch, chosen))
        mixture.redraw()
        second = before_decoder(model, hidden_states(model, batch, chosen))
        total = summed_cross_entropy(first, decoder.weight, decoder.bias, batch["labels"][chosen])
        divergence = summed_symmetric_divergence(first, second, decoder.weight, decoder.bias)
        return total + weight * divergence, chosen.sum()

    return naive if path == "naive" else fast


def symmetric_divergence(first: Tensor, second: Tensor) -> Tensor:
    """``(KL(p || q) + KL(q || p)) / 2`` of the distributions of two sets of logits, summed over rows (nats).

    Shapes [rows, classes]; float32 scalar. As in the published code, each divergence has gradients only for its
    second distribution.
    """
    p, q = first.float().log_softmax(dim=-1), second.float().log_softmax(dim=-1)
    towards_p = kl_div(q, p.detach(), reduction="sum", log_target=True)
    towards_q = kl_div(p, q.detach(), reduction="sum", log_target=True)
    return (towards_p + towards_q) / 2
