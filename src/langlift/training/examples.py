"""The order of a run's training examples, which depends only on the seed, and their batches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from langlift.masking import IGNORED, FullWordMasking, MaskedLanguageModel, TargetedMasking
from langlift.training.encoding import EncodedRow

Example = dict[str, npt.NDArray[np.int64]]
ExampleOf = Callable[[int, int], Example]
"""(number of the example in its data set, epoch) -> the example in that epoch."""
Collate = Callable[[Sequence[Example]], dict[str, Tensor]]
"""Collates examples into a batch: ``PadBatch`` or ``FlatBatch``."""
TokenMatrix = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
"""Token ids [examples, length], in 16 bits if the vocabulary fits."""
Rows = Sequence[npt.NDArray[np.int64]] | TokenMatrix
"""Token ids: one array [length] for each example, or a matrix."""


def masked_examples(rows: Rows, masking: MaskedLanguageModel, seed: int) -> ExampleOf:
    """Rows of token ids, with new masks in every epoch."""

    def example(index: int, epoch: int) -> Example:
        seen, labels = masking(rows[index], seed=seed, epoch=epoch, example=index)
        return {"input_ids": seen, "labels": labels}

    return example


def objective_examples(rows: Sequence[EncodedRow], masking: MaskedLanguageModel, seed: int) -> ExampleOf:
    """Rows with new masks in every epoch: by argument or full word if they have these, else as in ``masking``."""
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


def causal_example(row: npt.NDArray[np.integer]) -> Example:
    """A row of token ids labelled with the next token."""
    ids = np.asarray(row, dtype=np.int64)
    return {"input_ids": ids, "labels": np.append(ids[1:], IGNORED)}


def causal_examples(rows: Rows) -> ExampleOf:
    """Rows of token ids labelled with the next token; the same in every epoch."""
    return lambda index, epoch: causal_example(rows[index])


def masking_for(tokenizer: Any, share: float) -> MaskedLanguageModel:
    """Masked language modelling with a model's tokenizer; ``share`` of the tokens is predicted."""
    return MaskedLanguageModel(
        mask_token_id=tokenizer.mask_token_id,
        special_ids=frozenset(tokenizer.all_special_ids),
        vocabulary_size=len(tokenizer),
        share=share,
    )


def one_pass(example_of: ExampleOf, count: int) -> list[Example]:
    """All examples once, in order, as in epoch 0; for validation and testing."""
    return [example_of(number, 0) for number in range(count)]


def evenly_spread(count: int, limit: int) -> list[int]:
    """At most ``limit`` of the numbers below ``count``, evenly spaced, including the first and the last."""
    numbers: list[int] = np.unique(np.linspace(0, count - 1, limit).astype(int)).tolist()
    return numbers


Epoch = tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]
"""The numbers of the examples in order, and the epoch of each, both [count]."""


@dataclass(frozen=True)
class Shuffled:
    """Each epoch contains every example once, in its own random order."""

    count: int
    seed: int

    def epoch(self, number: int) -> Epoch:
        """The examples of an epoch."""
        order = np.random.default_rng((self.seed, number)).permutation(self.count)
        return order, np.broadcast_to(number, self.count)


WINDOW_BATCHES = 50
"""Number of batches that are sorted by length together."""


class LengthGroups:
    """Batches of ``batch_size`` examples of similar length, which need little padding; ``lengths`` in tokens.

    As Hugging Face's "group by length": windows of 50 batches are sorted by length, then their batches shuffled.
    """

    def __init__(self, lengths: npt.ArrayLike, batch_size: int, seed: int) -> None:
        self._lengths, self._batch_size, self._seed = np.asarray(lengths, dtype=np.int32), batch_size, seed
        self.count = len(self._lengths)

    def epoch(self, number: int) -> Epoch:
        """The examples of an epoch."""
        random = np.random.default_rng((self._seed, number))
        order = random.permutation(self.count)
        first = -(number * self.count) % self._batch_size  # the rest of the previous epoch's last batch
        parts, window = [order[:first]], self._batch_size * WINDOW_BATCHES
        for begin in range(first, self.count, window):
            together = order[begin : begin + window]
            together = together[np.argsort(self._lengths[together], kind="stable")]
            whole = len(together) // self._batch_size * self._batch_size
            batches = together[:whole].reshape(-1, self._batch_size)
            parts += [random.permutation(batches).reshape(-1), together[whole:]]
        return np.concatenate(parts), np.broadcast_to(number, self.count)


LEAST_PLACES = 1000
"""Minimum length of a round in ``Rounds``, so that rounding the shares matters little."""


class Rounds:
    """Several data sets in given shares, independent of their sizes: each round has these shares of examples.

    Rounds take the place of epochs. The data sets' examples are numbered consecutively. A round has about as many
    places (``count``) as there are examples, at least ``LEAST_PLACES``, and one for each data set. Every data set
    has its own epochs, in which each of its examples occurs once; they continue from round to round.
    """

    def __init__(self, sizes: Sequence[int], shares: Sequence[float], seed: int) -> None:
        self._sizes, self._seed = sizes, seed
        places = max(sum(sizes), LEAST_PLACES)
        self._places = [max(1, round(share / sum(shares) * places)) for share in shares]
        self.count = sum(self._places)

    def epoch(self, number: int) -> Epoch:
        """The examples of a round."""
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
        mixed = np.random.default_rng((self._seed, number)).permutation(self.count)
        return np.concatenate(examples)[mixed], np.concatenate(epochs)[mixed]


class Schedule(Dataset[Example]):
    """All examples of a run in order: position p is an example in epoch (or round) ``p // order.count``.

    The Trainer makes a single pass over ``total`` positions, so a resumed run only has to skip positions to
    continue exactly where a killed run stopped.
    """

    def __init__(self, example_of: ExampleOf, order: Shuffled | LengthGroups | Rounds, total: int) -> None:
        self._example_of, self._order, self._total = example_of, order, total
        self._epoch = -1

    def __len__(self) -> int:
        return self._total

    def __getitem__(self, position: int) -> Example:
        if not 0 <= position < self._total:
            raise IndexError(position)
        epoch, place = divmod(position, self._order.count)
        if self._epoch != epoch:
            self._epoch = epoch
            self._examples, self._epochs = self._order.epoch(epoch)
        return self._example_of(int(self._examples[place]), int(self._epochs[place]))


@dataclass(frozen=True)
class PadBatch:
    """Collates examples into right-padded int64 tensors of shape [batch, longest].

    ``labels`` are padded likewise if there is one for each token, else stacked to [batch]. A batch without padding
    has no ``attention_mask``. With a ``step`` above 1 the length is a multiple of it, and there is always a mask.
    """

    pad_token_id: int
    step: int = 1

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """The examples as one batch."""
        lengths = torch.tensor([len(example["input_ids"]) for example in examples])
        longest = -(-int(lengths.max()) // self.step) * self.step
        ids, labels = ([torch.from_numpy(e[key]) for e in examples] for key in ("input_ids", "labels"))
        batch = {"input_ids": _padded(ids, longest, self.pad_token_id)}
        batch["labels"] = _padded(labels, longest, IGNORED) if labels[0].ndim else torch.stack(labels)
        if self.step > 1 or lengths.min() < longest:
            batch["attention_mask"] = (torch.arange(longest) < lengths[:, None]).long()
        return batch


def _padded(rows: Sequence[Tensor], longest: int, value: int) -> Tensor:
    padded = pad_sequence(list(rows), batch_first=True, padding_value=value)
    return pad(padded, (0, longest - padded.shape[1]), value=value)


@dataclass(frozen=True)
class FlatBatch:
    """Concatenates examples, shortest first and without padding, into a flat batch.

    ``input_ids`` and ``position_ids`` int64 [1, tokens]; ``lengths`` int64 [examples]; ``labels`` [1, tokens] if
    there is one for each token, else [examples]. ``first_position`` is the position id of an example's first
    token.
    """

    first_position: int

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """The examples as one batch; those of equal length keep their order."""
        ordered = sorted(examples, key=lambda example: len(example["input_ids"]))
        lengths = [len(example["input_ids"]) for example in ordered]
        positions = np.concatenate([np.arange(length) for length in lengths]) + self.first_position
        labels = [example["labels"] for example in ordered]
        return {
            "input_ids": torch.from_numpy(np.concatenate([e["input_ids"] for e in ordered]))[None],
            "position_ids": torch.from_numpy(positions)[None],
            "lengths": torch.tensor(lengths),
            "labels": torch.from_numpy(np.concatenate(labels)[None] if labels[0].ndim else np.stack(labels)),
        }


LEAST_HALVED = 16
"""Minimum length of a text that is halved, in tokens."""


@dataclass(frozen=True)
class HalvingBatch:
    """Collates examples with each long text as two: its first half and its second half.

    Both keep the special tokens at the text's ends. The batch also has ``halves``, int64 [2, halved texts]: the
    numbers of the texts' first and second halves among the sentences of the batch.
    """

    collate: Collate

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """The examples as one batch, shortest first."""
        parts: list[Example] = []
        pairs = []
        for example in examples:
            ids, labels = example["input_ids"], example["labels"]
            if len(ids) < LEAST_HALVED:
                parts.append(example)
                continue
            middle = len(ids) // 2
            pairs.append((len(parts), len(parts) + 1))
            parts.append(
                {"input_ids": np.append(ids[:middle], ids[-1]), "labels": np.append(labels[:middle], IGNORED)}
            )
            parts.append(
                {"input_ids": np.append(ids[0], ids[middle:]), "labels": np.append(IGNORED, labels[middle:])}
            )
        order = np.argsort([len(part["input_ids"]) for part in parts], kind="stable")  # as in ``FlatBatch``
        places = np.argsort(order)
        halves = places[np.array(pairs, dtype=np.int64).reshape(-1, 2).T]
        return {**self.collate([parts[i] for i in order]), "halves": torch.from_numpy(halves)}
