"""The order in which a run sees its training examples, fixed by the seed alone, and how they become batches."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from langlift.masking.full_word import FullWordMasking
from langlift.masking.masked_language_model import IGNORED, MaskedLanguageModel
from langlift.masking.targeted import TargetedMasking
from langlift.training.encoding import EncodedRow

Example = dict[str, npt.NDArray[np.int64]]
ExampleOf = Callable[[int, int], Example]
"""(number of the example in its data set, epoch) -> the example as it is seen in that epoch."""
TokenMatrix = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
"""Token ids, [examples, length]: 16 bits where the vocabulary fits into them."""
Rows = Sequence[npt.NDArray[np.int64]] | TokenMatrix
"""Token ids: one array [length] for each example, or a matrix."""


def masked_examples(rows: Rows, masking: MaskedLanguageModel, seed: int) -> ExampleOf:
    """Rows of token ids, masked afresh in every epoch."""

    def example(index: int, epoch: int) -> Example:
        seen, labels = masking(rows[index], seed=seed, epoch=epoch, example=index)
        return {"input_ids": seen, "labels": labels}

    return example


def objective_examples(rows: Sequence[EncodedRow], masking: MaskedLanguageModel, seed: int) -> ExampleOf:
    """Rows masked afresh in every epoch, each as it asks for: targeted, by full words, or by ``masking`` alone."""
    targeted = TargetedMasking(masking.mask_token_id, masking.special_ids)
    full_word = FullWordMasking(masking)

    def example(index: int, epoch: int) -> Example:
        row = rows[index]
        if row.arguments:
            seen, labels = targeted(row.ids, row.arguments, seed=seed, epoch=epoch, example=index)
        elif row.words is not None:
            seen, labels = full_word(row.ids, row.words, seed=seed, epoch=epoch, example=index)
        else:
            seen, labels = masking(row.ids, seed=seed, epoch=epoch, example=index)
        return {"input_ids": seen, "labels": labels}

    return example


def causal_examples(rows: Rows) -> ExampleOf:
    """Rows of token ids, each token but the last labelled with the one that follows; the same in every epoch."""

    def example(index: int, epoch: int) -> Example:
        ids = np.asarray(rows[index], dtype=np.int64)
        return {"input_ids": ids, "labels": np.append(ids[1:], IGNORED)}

    return example


def labelled_examples(rows: Rows, labels: Sequence[int]) -> ExampleOf:
    """Rows of token ids, each with the number of its class; the same in every epoch."""

    def example(index: int, epoch: int) -> Example:
        return {
            "input_ids": rows[index].astype(np.int64),
            "labels": np.asarray(labels[index], dtype=np.int64),
        }

    return example


class OnePass(Dataset[Example]):
    """All examples once, in order, as in epoch 0; used for validation and testing."""

    def __init__(self, example_of: ExampleOf, count: int) -> None:
        self._example_of, self._count = example_of, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, position: int) -> Example:
        if not 0 <= position < self._count:
            raise IndexError(position)
        return self._example_of(position, 0)


BATCHES_SORTED_TOGETHER = 50


@dataclass(frozen=True)
class LengthGroups:
    """Batches of ``batch_size`` examples of similar length, so that little is padded; ``lengths`` in tokens.

    As Hugging Face's "group by length": 50 batches at a time are sorted by length, then shuffled as
    whole batches.
    """

    lengths: npt.NDArray[np.int64]
    batch_size: int

    def arrange(
        self, order: npt.NDArray[np.integer], start: int, random: np.random.Generator
    ) -> npt.NDArray[np.integer]:
        """``order`` rearranged, given that its first element is at position ``start`` of the run."""
        first = -start % self.batch_size  # the batch begun in the epoch before
        parts, window = [order[:first]], self.batch_size * BATCHES_SORTED_TOGETHER
        for begin in range(first, len(order), window):
            together = order[begin : begin + window]
            together = together[np.argsort(self.lengths[together], kind="stable")]
            whole = len(together) // self.batch_size * self.batch_size
            batches = together[:whole].reshape(-1, self.batch_size)
            parts += [random.permutation(batches).reshape(-1), together[whole:]]
        return np.concatenate(parts)


LEAST_PLACES = 1000


class Rounds:
    """Several data sets in given shares, whatever their sizes: every round holds each share of examples.

    The data sets' examples are numbered on end. A round has about as many places as there are examples (at
    least ``LEAST_PLACES``, so that rounding a share to whole places matters little; one place at least for
    each data set). Every data set goes through its own epochs, in which each of its examples comes once, at
    its own pace and from round to round without a break.
    """

    def __init__(self, sizes: Sequence[int], shares: Sequence[float], seed: int) -> None:
        self._sizes, self._seed = sizes, seed
        places = max(sum(sizes), LEAST_PLACES)
        self._places = [max(1, round(share / sum(shares) * places)) for share in shares]

    def __len__(self) -> int:
        """Places in a round."""
        return sum(self._places)

    def round(self, number: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """A round's examples, data set by data set, and the epoch each is seen in: int64, both [places]."""
        examples, epochs = [], []
        first = 0
        for which, (size, places) in enumerate(zip(self._sizes, self._places, strict=True)):
            begin, end = number * places, (number + 1) * places
            for epoch in range(begin // size, (end - 1) // size + 1):
                order = np.random.default_rng((self._seed, epoch, which)).permutation(size)
                part = order[max(begin - epoch * size, 0) : end - epoch * size]
                examples.append(first + part)
                epochs.append(np.full(len(part), epoch))
            first += size
        return np.concatenate(examples), np.concatenate(epochs)


class Schedule(Dataset[Example]):
    """All examples of a whole run laid end to end: epoch after epoch, each in its own shuffled order.

    Position p of the schedule is an example as seen in epoch ``p // count``; every epoch holds every
    example once. With ``Rounds`` those take the place of the epochs. The Trainer sees a single pass
    over ``total`` positions, so resuming means skipping positions: nothing else is needed to go on exactly
    where a killed run stopped.
    """

    def __init__(
        self,
        example_of: ExampleOf,
        count: int,
        seed: int,
        total: int,
        arrangement: LengthGroups | Rounds | None = None,
    ) -> None:
        self._example_of, self._seed, self._total = example_of, seed, total
        self._arrangement = arrangement
        self._count = len(arrangement) if isinstance(arrangement, Rounds) else count
        self._epoch = -1
        self._examples: npt.NDArray[np.integer] = np.empty(0, dtype=np.int64)
        self._epochs = self._examples

    def __len__(self) -> int:
        return self._total

    def __getitem__(self, position: int) -> Example:
        if not 0 <= position < self._total:
            raise IndexError(position)
        epoch, place = divmod(position, self._count)
        if self._epoch != epoch:
            self._epoch = epoch
            self._examples, self._epochs = self._arranged(epoch)
        return self._example_of(int(self._examples[place]), int(self._epochs[place]))

    def numbers(self) -> Iterator[npt.NDArray[np.integer]]:
        """The examples of the whole run in order, by their numbers, an epoch or round at a time."""
        for start in range(0, self._total, self._count):
            yield self._arranged(start // self._count)[0][: self._total - start]

    def _arranged(self, epoch: int) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]:
        """The examples of an epoch or round in order, and the epoch in which each is seen."""
        random = np.random.default_rng((self._seed, epoch))
        order: npt.NDArray[np.integer] = random.permutation(self._count)
        if isinstance(self._arrangement, Rounds):
            examples, epochs = self._arrangement.round(epoch)
            return examples[order], epochs[order]
        if self._arrangement is not None:
            order = self._arrangement.arrange(order, epoch * self._count, random)
        return order, np.full(self._count, epoch)


class PadBatch:
    """Collates examples of unequal length into right-padded int64 tensors of shape [batch, longest].

    ``labels`` are padded alike when there is one for each token, else stacked to [batch]. The
    ``attention_mask`` is left out of a batch without padding.
    """

    def __init__(self, pad_token_id: int) -> None:
        self._pad_token_id = pad_token_id

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """The examples as one batch."""
        lengths = torch.tensor([len(example["input_ids"]) for example in examples])
        longest = int(lengths.max())
        batch = {
            "input_ids": _padded([e["input_ids"] for e in examples], longest, self._pad_token_id),
            "labels": _padded([e["labels"] for e in examples], longest, IGNORED),
        }
        if int(lengths.min()) < longest:
            batch["attention_mask"] = (torch.arange(longest) < lengths[:, None]).long()
        return batch


class FlatBatch:
    """Collates examples end to end, shortest first and without padding, into a flat batch.

    ``input_ids`` and ``position_ids`` int64 [1, tokens]; ``lengths`` int64 [examples]; ``labels``
    [1, tokens] when there is one for each token, else [examples]. ``first_position`` is the position
    id of an example's first token.
    """

    def __init__(self, first_position: int) -> None:
        self._first_position = first_position

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """The examples as one batch; those of equal length stay in order."""
        ordered = sorted(examples, key=lambda example: len(example["input_ids"]))
        lengths = [len(example["input_ids"]) for example in ordered]
        positions = np.concatenate([np.arange(length) for length in lengths]) + self._first_position
        labels = [example["labels"] for example in ordered]
        return {
            "input_ids": torch.from_numpy(np.concatenate([e["input_ids"] for e in ordered]))[None],
            "position_ids": torch.from_numpy(positions)[None],
            "lengths": torch.tensor(lengths),
            "labels": torch.from_numpy(np.concatenate(labels)[None] if labels[0].ndim else np.stack(labels)),
        }


Collate = Callable[[Sequence[Example]], dict[str, Tensor]]
"""Examples in, a batch out: ``PadBatch`` or ``FlatBatch``."""


def _padded(arrays: Sequence[npt.NDArray[np.int64]], longest: int, value: int) -> Tensor:
    tensors = [torch.from_numpy(array) for array in arrays]
    if tensors[0].ndim:
        tensors = [torch.nn.functional.pad(t, (0, longest - len(t)), value=value) for t in tensors]
    return torch.stack(tensors)
