"""Training and validation data of an adaptation: one or several data sets, encoded for the objective."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from langlift.corpus.sampling import sampling_shares
from langlift.corpus.text_data import TextData, load_text_data
from langlift.errors import InputError
from langlift.progress import say
from langlift.training.encoding import (
    EncodedRow,
    StoredRows,
    TargetedRows,
    encode_in_stream,
    encode_triples,
    encode_triples_as_published,
)
from langlift.training.examples import LEAST_HALVED
from langlift.training.recipes import CAUSAL, AdaptRecipe, FamilyRecipe

DEV_SEED = 0
"""Dev rows and their masks are the same for every seed, so that runs can be compared."""


@dataclass(frozen=True)
class Source:
    """A data set: its name in this run, its path, and its texts, with their triples where these are needed."""

    name: str
    path: Path
    texts: TextData


@dataclass
class TrainingData:
    """Rows of all data sets. ``train`` contains them one after another, ``sizes`` the number of rows of each.

    ``shares`` are the data sets' shares of the training examples and sum to 1; ``weighted`` says that they do not
    simply follow from the sizes. ``dev`` is for plain language modelling, regardless of the objective;
    ``targeted_dev`` is masked by argument, and empty for other objectives. ``dev_shares`` are the weights of the
    data sets in validation; without them each counts once. ``left_out`` and ``one_argument`` are as in
    ``TargetedRows``.
    """

    train: StoredRows
    sizes: list[int]
    shares: dict[str, float] = field(default_factory=dict)
    dev: dict[str, list[EncodedRow]] = field(default_factory=dict)
    targeted_dev: dict[str, list[EncodedRow]] = field(default_factory=dict)
    dev_shares: dict[str, float] | None = None
    weighted: bool = False
    left_out: int = 0
    one_argument: int = 0


def read_sources(paths: Sequence[Path], weights: Sequence[float] | None, objective: str) -> list[Source]:
    """Read data sets: text files or built folders.

    InputError if data is damaged, given twice or lacks triples for the objective, or the weights are invalid.
    """
    if not paths:
        raise InputError("no data given", "name a text file or a built folder with --data")
    for path in paths:
        if [p.resolve() for p in paths].count(path.resolve()) > 1:
            raise InputError(f"--data {path}: given twice", "use --data-weights for a larger share")
    if weights is not None:
        listed = ",".join(f"{weight:g}" for weight in weights)
        if len(weights) != len(paths):
            raise InputError(
                f"--data-weights {listed}: {len(weights)} given for {len(paths)} --data",
                "give one weight for each --data, such as 3,1",
            )
        if not all(weight > 0 for weight in weights):
            raise InputError(
                f"--data-weights {listed}: must be above 0", "leave out the --data that you do not want"
            )
        if not isfinite(sum(weights)):
            raise InputError(f"--data-weights {listed}: too large", "only their ratio matters: such as 3,1")
    names = _names(paths)
    read = [load_text_data(path, with_triples=objective == "targeted") for path in paths]
    if objective == "targeted" and not any(texts.triples for texts in read):
        raise InputError(
            f"{paths[0]}: --objective targeted needs triples, but this is plain text",
            "build a graph folder (langlift graph build), or use --objective mlm, full_word or causal",
        )
    return [Source(*source) for source in zip(names, paths, read, strict=True)]


def encode_sources(
    sources: Sequence[Source],
    weights: Sequence[float] | None,
    tokenizer: Any,
    max_tokens: int,
    recipe: AdaptRecipe,
    folder: Path | None = None,
) -> TrainingData:
    """Encode data sets as rows for the recipe's objective; those with the same name follow one another.

    They are mixed by ``weights``, by size, or for a family by its ``alpha``. How many sentences a targeted
    objective left out is printed on stderr. The rows are stored on the disk of ``folder``, as in ``StoredRows``.
    InputError if a split has no token that the tokenizer knows, or no triple that can be predicted; LangliftError
    if the disk is full.
    """
    encoder = _Encoder(tokenizer, max_tokens, recipe, folder)
    numbers: dict[str, tuple[range, ...]] = {}
    for name, some in groupby(sources, key=lambda source: source.name):
        before = encoder.sizes
        for source in some:
            encoder.add(source)
        numbers[name] = tuple(map(range, before, encoder.sizes))
    sizes = [len(train) for train, _, _ in numbers.values()]
    data = TrainingData(encoder.train, sizes, left_out=encoder.left_out, one_argument=encoder.one_argument)
    if isinstance(recipe, FamilyRecipe):
        data.shares = dict(zip(numbers, sampling_shares(sizes, recipe.alpha).tolist(), strict=True))
        data.weighted = True
        most = dict.fromkeys(numbers, recipe.validation_examples)
    else:
        parts = sizes if weights is None else weights
        data.shares = {name: part / sum(parts) for name, part in zip(numbers, parts, strict=True)}
        data.weighted = weights is not None and len(sources) > 1
        data.dev_shares = data.shares
        most = {name: max(1, round(recipe.validation_examples * share)) for name, share in data.shares.items()}
    for name, (_, dev, targeted_dev) in numbers.items():
        data.dev[name] = at_most(most[name], encoder.dev, dev)
        if targeted_dev and not isinstance(recipe, FamilyRecipe):
            data.targeted_dev[name] = at_most(most[name], encoder.targeted_dev, targeted_dev)
    encoder.dev.close()
    encoder.targeted_dev.close()
    _report_left_out(data, encoder.sentences, recipe)
    if recipe.contrast and (halved := int((data.train.lengths >= LEAST_HALVED).sum())) < len(data.train) // 4:
        say(
            f"contrast: only {halved:,} of {len(data.train):,} training texts have {LEAST_HALVED} tokens or more, "
            "so it has little or no effect"
        )
    return data


class _Encoder:
    """Encodes data sets one after another; ``sentences`` counts the training sentences of graphs."""

    def __init__(self, tokenizer: Any, max_tokens: int, recipe: AdaptRecipe, folder: Path | None) -> None:
        self._tokenizer, self._max_tokens, self._recipe = tokenizer, max_tokens, recipe
        largest_id = max(tokenizer.get_vocab().values())
        self.train = StoredRows(largest_id, recipe.objective == "full_word", folder)
        self.dev, self.targeted_dev = StoredRows(largest_id, folder=folder), StoredRows(largest_id, folder=folder)
        self.sentences = self.left_out = self.one_argument = 0

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The numbers of rows so far, in ``train``, ``dev`` and ``targeted_dev``."""
        return len(self.train), len(self.dev), len(self.targeted_dev)

    def add(self, source: Source) -> None:
        """Add a data set."""
        texts, triples, recipe, first_dev = source.texts, source.texts.triples, self._recipe, len(self.dev)
        train_split, dev_split = (f"{source.path} ({split} split)" for split in ("train", "dev"))
        if triples is None:
            self.train.extend(self._rows(texts.train, train_split, recipe.objective == "full_word"))
            self.dev.extend(self._rows(texts.dev, dev_split))
            if recipe.objective == "targeted":
                self.targeted_dev.extend(self.dev[number] for number in range(first_dev, len(self.dev)))
            return

        def by_argument(split: str, place: str, seed: int) -> TargetedRows:
            given = (self._tokenizer, getattr(texts, split), triples[split], self._max_tokens, place)
            if recipe.targeted_as_published:
                return encode_triples_as_published(*given, seed)
            return encode_triples(*given)

        self.dev.extend(self._rows(texts.dev, dev_split))
        found = by_argument("train", train_split, recipe.seed)
        self.train.extend(found.rows)
        self.targeted_dev.extend(by_argument("dev", dev_split, DEV_SEED).rows)
        self.sentences += len(texts.train)
        self.left_out += found.left_out
        self.one_argument += found.one_argument

    def _rows(self, texts: Collection[str], split: str, with_words: bool = False) -> Iterator[EncodedRow]:
        rows = encode_in_stream(self._tokenizer, texts, self._max_tokens, split, with_words)
        return _with_next(rows, split) if self._recipe.objective == CAUSAL else rows


def _with_next(rows: Iterable[EncodedRow], source: str) -> Iterator[EncodedRow]:
    """The rows with more than one token: the others have no next token to predict."""
    found = short = 0
    for row in rows:
        if len(row.ids) > 1:
            found += 1
            yield row
        else:
            short += 1
    if not found:
        raise InputError(f"{source}: no text is longer than one token", "give running text")
    if short:
        say(f"{source}: {short:,} rows of a single token are left out")


def _report_left_out(data: TrainingData, sentences: int, recipe: AdaptRecipe) -> None:
    if recipe.objective == "targeted" and recipe.targeted_as_published and data.left_out:
        say(
            f"targeted: {data.left_out:,} of {sentences:,} training sentences are left out (another relation than "
            "the twelve, or the argument is not found)"
        )
    elif data.left_out or data.one_argument:
        say(
            f"targeted: {data.left_out:,} of {sentences:,} training sentences are left out (neither argument can "
            f"be predicted); in {data.one_argument:,} only one argument can be predicted"
        )


def _names(paths: Sequence[Path]) -> list[str]:
    """The files' or folders' own names, with as many parent folders as make them distinct."""
    whole = [path.resolve() for path in paths]
    for depth in range(1, max(len(path.parts) for path in whole) + 1):
        names = ["/".join(path.parts[-depth:]) for path in whole]
        if len(set(names)) == len(names):
            break
    return names if len(paths) > 1 else [paths[0].absolute().name]


def at_most(limit: int, rows: Sequence[EncodedRow], numbers: range) -> list[EncodedRow]:
    """The dev rows used for validation, sorted by length: ``numbers``, or a random sample of ``limit``."""
    chosen: Iterable[int] = numbers
    if len(numbers) > limit:
        chosen = (numbers[i] for i in np.random.default_rng(DEV_SEED).choice(len(numbers), limit, replace=False))
    return sorted((rows[number] for number in chosen), key=lambda row: len(row.ids))
