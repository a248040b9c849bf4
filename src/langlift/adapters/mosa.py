"""MoSA, mixtures of sparse adapters (Zhang et al. 2023, arXiv 2312.02923): a way to train Seq_bn adapters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from langlift.adapters.bottleneck import Bottleneck, bottleneck_places

DRAWS = 1297044289
"""Part of the key of the random stream for draws, to keep it distinct from the run's other streams."""


@dataclass(frozen=True)
class MosaConfig:
    """Replaces projections by ``experts`` sparse copies of them.

    ``share`` names the projection that stays one dense matrix (``down``: the hierarchical form; ``up``
    or ``none``); ``merge`` is how the experts become one matrix: their ``mean``, or ``joint``, each
    entry from the expert that owns it.
    """

    experts: int = 4
    share: str = "down"
    merge: str = "mean"

    @property
    def mixed(self) -> tuple[str, ...]:
        """The projections that are split into experts."""
        return tuple(part for part in ("down", "up") if part != self.share)


class SparseExperts(nn.Module):
    """N sparse experts in place of a linear module: one is used per training pass, the merged one otherwise.

    Each expert is a copy W_i of one initialisation W_0, and its gradient is masked to the entries it owns (section
    3.2 of the paper). Entries owned by other experts never change, so one matrix with each entry's value from its
    owner represents all N experts: ``W_i = where(owner == i, entries, W_0)``. Biases are not split: each expert
    has its own. The optimiser thus updates as many weights as in Seq_bn, and an expert that is not drawn has a
    zero gradient rather than none: momentum still updates it, as in the published code (PyTorch 1.11 sets
    gradients to zero).
    """

    initial: Tensor
    owner: Tensor

    def __init__(self, start: nn.Linear, config: MosaConfig) -> None:
        super().__init__()
        self._experts, self._merge = config.experts, config.merge
        self.entries = nn.Parameter(start.weight.detach().clone())
        # All in one vector, because weight decay applies to matrices but not to biases.
        self.biases = nn.Parameter(start.bias.detach().repeat(config.experts))
        owner = shares(start.weight.numel(), config.experts).view(start.weight.shape)
        self.register_buffer("initial", start.weight.detach().clone(), persistent=False)
        self.register_buffer("owner", owner.to(start.weight.device), persistent=False)
        self.drawn: int | None = None

    def expert(self, number: int) -> tuple[Tensor, Tensor]:
        """One expert: its weight [out, in] and its bias [out]."""
        weight = torch.where(self.owner == number, self.entries, self.initial)
        return weight, self.biases.view(self._experts, -1)[number]

    def merged(self) -> tuple[Tensor, Tensor]:
        """All experts as one weight [out, in] and one bias [out], the mean of theirs.

        The mean over experts of an entry, which only its owner has changed, is
        ``W_0 + (entries - W_0) / N``; ``joint`` takes it from its owner.
        """
        bias = self.biases.view(self._experts, -1).mean(dim=0)
        if self._merge == "joint":
            return self.entries, bias
        return torch.lerp(self.initial, self.entries, 1 / self._experts), bias

    def forward(self, x: Tensor) -> Tensor:
        """Shape [..., in] -> [..., out]."""
        if not self.training:
            return linear(x, *self.merged())
        if self.drawn is None:
            raise RuntimeError("no expert has been drawn: call Mixture.draw before a training step")
        return linear(x, *self.expert(self.drawn))


class Mixture:
    """The experts of one attached adapter, in all layers: drawn together, merged together. Made by ``mix``.

    Each layer draws independently. Draws depend only on (seed, step, pass, layer), never on a generator's state,
    so a resumed run draws the same experts.
    """

    def __init__(self, adapters: Sequence[Bottleneck], config: MosaConfig) -> None:
        self._adapters, self._config = adapters, config
        self._step, self._pass = (0, 0), 0
        for adapter in adapters:
            for part in config.mixed:
                setattr(adapter, part, SparseExperts(getattr(adapter, part), config))

    def draw(self, seed: int, step: int) -> None:
        """Draw the experts of a training step (counted from 0)."""
        self._step, self._pass = (seed, step), -1
        self.redraw()

    def redraw(self) -> None:
        """Draw again, for another pass within the same step."""
        self._pass += 1
        random = np.random.default_rng((DRAWS, *self._step, self._pass))
        drawn = random.integers(self._config.experts, size=(len(self._adapters), 2))
        for adapter, (down, up) in zip(self._adapters, drawn.tolist(), strict=True):
            for part, number in (("down", down), ("up", up)):
                if part in self._config.mixed:
                    getattr(adapter, part).drawn = number

    @torch.no_grad()
    def merge(self) -> None:
        """Turn the adapter into an ordinary Seq_bn one, in place; the mixture must not be used afterwards."""
        for adapter in self._adapters:
            for part in self._config.mixed:
                weight, bias = getattr(adapter, part).merged()
                dense = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
                dense.weight, dense.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
                setattr(adapter, part, dense)


def mix(model: PreTrainedModel, name: str, config: MosaConfig, fresh: bool = True) -> Mixture:
    """Split the attached Seq_bn adapter ``name`` into experts, in place, before it is trained.

    All experts start from the adapter's weights; ``fresh`` first sets its up-projections to zero, as in MoSA.
    Which expert owns which entry is part of the initialisation, and drawn from PyTorch's generator.
    """
    places = bottleneck_places(model)
    adapters: list[Any] = [place.adapters[name] for place in places if name in place.adapters]
    if fresh:
        for adapter in adapters:
            nn.init.zeros_(adapter.up.weight)
    return Mixture(adapters, config)


def shares(entries: int, experts: int) -> Tensor:
    """The owner of each entry, int64 [entries], by random scores; shares differ by at most one."""
    owner = torch.empty(entries, dtype=torch.int64)
    for number, share in enumerate(torch.rand(entries).argsort().tensor_split(experts)):
        owner[share] = number
    return owner
