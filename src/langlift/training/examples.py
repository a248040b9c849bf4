"""The order in which a run sees its training examples, fixed by the seed alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from langlift.masking.masked_language_model import IGNORED, MaskedLanguageModel

Example = dict[str, npt.NDArray[np.int64]]


class MaskedExamples(Dataset[Example]):
    """Masked examples of one pass over the data, always with the masks of epoch 0; used for validation."""

    def __init__(
        self, rows: Sequence[npt.NDArray[np.integer]], masking: MaskedLanguageModel, seed: int
    ) -> None:
        self._rows, self._masking, self._seed = rows, masking, seed

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> Example:
        return self._example(position, epoch=0)

    def _example(self, index: int, epoch: int) -> Example:
        seen, labels = self._masking(self._rows[index], seed=self._seed, epoch=epoch, example=index)
        return {"input_ids": seen, "labels": labels}


class ScheduledMaskedExamples(MaskedExamples):
    """All examples of a whole run laid end to end: epoch after epoch, each in its own shuffled order.

    Position p of the schedule is example ``permutation(seed, p // n)[p % n]``. The Trainer sees a
    single pass over ``total`` positions, so resuming means skipping positions: nothing else is
    needed to go on exactly where a killed run stopped.
    """

    def __init__(
        self, rows: Sequence[npt.NDArray[np.integer]], masking: MaskedLanguageModel, seed: int, total: int
    ) -> None:
        super().__init__(rows, masking, seed)
        self._total = total
        self._permutation: tuple[int, npt.NDArray[np.integer]] = (-1, np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return self._total

    def __getitem__(self, position: int) -> Example:
        epoch, place = divmod(position, len(self._rows))
        if self._permutation[0] != epoch:
            order = np.random.default_rng((self._seed, epoch)).permutation(len(self._rows))
            self._permutation = (epoch, order)
        return self._example(int(self._permutation[1][place]), epoch)


class PadBatch:
    """Collates examples of unequal length into right-padded int64 tensors of shape [batch, longest]."""

    def __init__(self, pad_token_id: int) -> None:
        self._padding = {"input_ids": pad_token_id, "labels": IGNORED}

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        lengths = torch.tensor([len(example["input_ids"]) for example in examples])
        longest = int(lengths.max())
        batch = {
            name: torch.stack(
                [
                    torch.nn.functional.pad(
                        torch.from_numpy(e[name]), (0, longest - len(e[name])), value=padding
                    )
                    for e in examples
                ]
            )
            for name, padding in self._padding.items()
        }
        if int(lengths.min()) < longest:
            batch["attention_mask"] = (torch.arange(longest) < lengths[:, None]).long()
        return batch
