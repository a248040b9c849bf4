"""The validation loss of a language model, over one or several data sets."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from langlift.training.trainer import Batch, SummedLoss, Validation, on_device


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
