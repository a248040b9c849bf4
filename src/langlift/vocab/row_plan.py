"""Where each row of a new vocabulary's matrices comes from: copied, combined from others, or drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor

MIXED = -1
"""The group of a row that is not drawn."""


@dataclass(frozen=True)
class RowPlan:
    """How the rows of the source's matrices become those of the target's.

    ``mixing`` float32 [target, source]: a copied row has a single 1, a combined row weights that sum to 1,
    and a drawn row nothing. ``group_of`` int64 [target]: the group a row is drawn from, or ``MIXED``.
    ``groups``: the source rows (int64) whose mean and standard deviation a group is drawn with.
    """

    mixing: csr_array
    group_of: npt.NDArray[np.int64]
    groups: Sequence[npt.NDArray[np.int64]]

    def rows(self, source: Tensor, random: torch.Generator) -> Tensor:
        """The target's rows from the ``source``'s: float32 [target, d], or [target] of a bias [source].

        Drawn rows come from a normal distribution with the group's mean and standard deviation in each
        dimension, one after the other in the order of their ids; a bias takes the group's mean.
        """
        matrix = source.detach().to("cpu", torch.float32)
        target = torch.from_numpy(np.asarray(self.mixing @ matrix.numpy(), dtype=np.float32))
        drawn = np.flatnonzero(self.group_of != MIXED)
        moments = {
            int(group): torch.std_mean(matrix[torch.from_numpy(self.groups[group])], dim=0)
            for group in np.unique(self.group_of[drawn])
        }
        for row in drawn:
            deviation, mean = moments[int(self.group_of[row])]
            target[row] = torch.normal(mean, deviation, generator=random) if matrix.ndim == 2 else mean
        return target

    def counts(self) -> dict[str, int]:
        """How many rows are copied, combined and drawn."""
        entries = np.diff(self.mixing.indptr)
        copied = int((entries == 1).sum())
        drawn = int((self.group_of != MIXED).sum())
        return {"copied": copied, "combined": int((entries > 1).sum()), "drawn": drawn}


def row_plan(
    shape: tuple[int, int],
    copied: Mapping[int, int],
    combined: Mapping[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]] | None = None,
    drawn: Mapping[int, int] | None = None,
    groups: Sequence[npt.NDArray[np.int64]] = (),
) -> RowPlan:
    """A plan for ``shape`` [target, source] rows.

    ``copied``: target id -> source id. ``combined``: target id -> (source ids, weights). ``drawn``: target id
    -> group. All other rows, which no token has, stay zero.
    """
    rows: list[npt.NDArray[np.int64]] = [np.fromiter(copied, np.int64, len(copied))]
    columns: list[npt.NDArray[np.int64]] = [np.fromiter(copied.values(), np.int64, len(copied))]
    weights: list[npt.NDArray[np.float32]] = [np.ones(len(copied), dtype=np.float32)]
    for row, (sources, shares) in (combined or {}).items():
        rows.append(np.full(len(sources), row, dtype=np.int64))
        columns.append(sources)
        weights.append(shares.astype(np.float32))
    places = (np.concatenate(rows), np.concatenate(columns))
    group_of = np.full(shape[0], MIXED, dtype=np.int64)
    for row, group in (drawn or {}).items():
        group_of[row] = group
    return RowPlan(csr_array((np.concatenate(weights), places), shape=shape), group_of, groups)
