"""Training and validation data of an adaptation: one or several data sets, encoded for the objective."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from langlift.corpus.text_data import TextData, Triple, load_text_data
from langlift.errors import InputError
from langlift.progress import say
from langlift.training.encoding import (
    EncodedRow,
    TargetedRows,
    encode,
    encode_triples,
    encode_triples_as_published,
    encode_words,
)
from langlift.training.recipes import CAUSAL, AdaptRecipe

DEV_SEED = 0
"""Dev rows and their masks are the same for every seed, so that runs can be compared."""


@dataclass(frozen=True)
class Source:
    """A data set: its name in this run, its path, and its texts, with their triples where these are needed."""

    name: str
    path: Path
    texts: TextData


@dataclass(frozen=True)
class TrainingData:
    """Rows of all data sets. ``train`` holds them one after another, ``sizes`` how many belong to each.

    ``shares`` are the data sets' shares of the training examples and sum to 1; ``weighted`` says that they do not
    simply follow from the sizes. ``dev`` is for plain language modelling whatever the objective; ``targeted_dev``
    is masked by argument, and empty for other objectives. ``dev_shares`` are the weights of the data sets in
    validation; without them each counts once. ``left_out`` and ``one_argument`` are as in ``TargetedRows``.
    """

    train: list[EncodedRow]
    sizes: list[int]
    shares: dict[str, float]
    dev: dict[str, list[EncodedRow]]
    targeted_dev: dict[str, list[EncodedRow]] = field(default_factory=dict)
    dev_shares: dict[str, float] | None = None
    weighted: bool = False
    left_out: int = 0
    one_argument: int = 0


def read_sources(paths: Sequence[Path], weights: Sequence[float] | None, objective: str) -> list[Source]:
    """Read data sets: text files or built folders.

    Raises:
        InputError: data is damaged, given twice or lacks triples for the objective, or the weights are invalid.
    """
    if not paths:
        raise InputError("no data given", "name a text file or a built folder with --data")
    for path in paths:
        if [p.resolve() for p in paths].count(path.resolve()) > 1:
            raise InputError(f"--data {path}: given twice", "for a larger share use --data-weights")
    if weights is not None:
        said = ",".join(f"{weight:g}" for weight in weights)
        if len(weights) != len(paths):
            raise InputError(
                f"--data-weights {said}: {len(weights)} given for {len(paths)} --data",
                "give one weight for each --data, such as 3,1",
            )
        if not all(weight > 0 for weight in weights):
            raise InputError(
                f"--data-weights {said}: must be above 0", "leave out the --data that you do not want"
            )
        if not isfinite(sum(weights)):
            raise InputError(f"--data-weights {said}: too large", "only their ratio matters: such as 3,1")
    names = _names(paths)
    read = [load_text_data(path, with_triples=objective == "targeted") for path in paths]
    if objective == "targeted" and not any(texts.triples for texts in read):
        raise InputError(
            f"{paths[0]}: --objective targeted needs triples, and this is plain text",
            "build a graph folder (langlift graph build), or use --objective mlm, full_word or causal",
        )
    return [Source(*source) for source in zip(names, paths, read, strict=True)]


@dataclass(frozen=True)
class EncodedSource:
    """The rows of one data set or of several together, fields as in ``TrainingData``.

    ``sentences`` counts the training sentences of a graph.
    """

    train: list[EncodedRow]
    dev: list[EncodedRow]
    targeted_dev: list[EncodedRow]
    sentences: int = 0
    left_out: int = 0
    one_argument: int = 0


def encode_source(source: Source, tokenizer: Any, max_tokens: int, recipe: AdaptRecipe) -> EncodedSource:
    """Cut a data set into rows as the recipe's objective needs them.

    Raises:
        InputError: a split has no token that the tokenizer knows, or no triple that can be predicted.
    """
    texts, triples = source.texts, source.texts.triples
    train_split, dev_split = (f"{source.path} ({split} split)" for split in ("train", "dev"))
    if triples is None:
        encoder = encode_words if recipe.objective == "full_word" else encode
        train = encoder(tokenizer, texts.train, max_tokens, train_split)
        dev = encode(tokenizer, texts.dev, max_tokens, dev_split)
        if recipe.objective == CAUSAL:
            train, dev = _with_next(train, train_split), _with_next(dev, dev_split)
        return EncodedSource(train, dev, dev)

    def by_argument(texts: Sequence[str], triples: Sequence[Triple], split: str, seed: int) -> TargetedRows:
        if recipe.targeted_as_published:
            return encode_triples_as_published(tokenizer, texts, triples, max_tokens, split, seed)
        return encode_triples(tokenizer, texts, triples, max_tokens, split)

    dev = encode(tokenizer, texts.dev, max_tokens, dev_split)
    found = by_argument(texts.train, triples["train"], train_split, recipe.seed)
    targeted_dev = by_argument(texts.dev, triples["dev"], dev_split, DEV_SEED).rows
    return EncodedSource(found.rows, dev, targeted_dev, len(texts.train), found.left_out, found.one_argument)


def _with_next(rows: Sequence[EncodedRow], where: str) -> list[EncodedRow]:
    """The rows of more than one token: the others have no next token to predict."""
    kept = [row for row in rows if len(row.ids) > 1]
    if not kept:
        raise InputError(f"{where}: no text is longer than one token", "give running text")
    return kept


def encode_sources(
    sources: Sequence[Source],
    weights: Sequence[float] | None,
    tokenizer: Any,
    max_tokens: int,
    recipe: AdaptRecipe,
) -> TrainingData:
    """The rows of the data sets of one language, mixed by ``weights`` or by size; errors as ``encode_source``."""
    encoded = {source.name: encode_source(source, tokenizer, max_tokens, recipe) for source in sources}
    parts = [len(one.train) for one in encoded.values()] if weights is None else weights
    shares = {name: part / sum(parts) for name, part in zip(encoded, parts, strict=True)}
    targeted = recipe.objective == "targeted"
    left_out, one_argument = report_left_out(encoded.values(), targeted and recipe.targeted_as_published)
    most = {name: max(1, round(recipe.validation_examples * share)) for name, share in shares.items()}
    return TrainingData(
        train=[row for one in encoded.values() for row in one.train],
        sizes=[len(one.train) for one in encoded.values()],
        shares=shares,
        dev={name: at_most(most[name], one.dev) for name, one in encoded.items()},
        targeted_dev={name: at_most(most[name], one.targeted_dev) for name, one in encoded.items() if targeted},
        dev_shares=shares,
        weighted=weights is not None and len(sources) > 1,
        left_out=left_out,
        one_argument=one_argument,
    )


def report_left_out(encoded: Iterable[EncodedSource], as_published: bool = False) -> tuple[int, int]:
    """Numbers of sentences that a targeted objective left out or can use only half of; printed on stderr."""
    counts = [(one.sentences, one.left_out, one.one_argument) for one in encoded]
    sentences, left_out, one_argument = (sum(column) for column in zip(*counts, strict=True))
    if as_published and left_out:
        say(
            f"targeted: {left_out:,} of {sentences:,} training sentences are left out (another relation than the "
            "twelve, or the argument is not found)"
        )
    elif left_out or one_argument:
        say(
            f"targeted: {left_out:,} of {sentences:,} training sentences are left out (neither argument can be "
            f"predicted); in {one_argument:,} only one argument can be predicted"
        )
    return left_out, one_argument


def _names(paths: Sequence[Path]) -> list[str]:
    """The files' or folders' own names, with as many parent folders as make them distinct."""
    whole = [path.resolve() for path in paths]
    for depth in range(1, max(len(path.parts) for path in whole) + 1):
        names = ["/".join(path.parts[-depth:]) for path in whole]
        if len(set(names)) == len(names):
            break
    return names if len(paths) > 1 else [paths[0].name]


def at_most(most: int, rows: list[EncodedRow]) -> list[EncodedRow]:
    """The dev rows measured at a validation, sorted by length: a random sample if there are more than ``most``."""
    if len(rows) > most:
        numbers = np.random.default_rng(DEV_SEED).choice(len(rows), most, replace=False)
        rows = [rows[i] for i in numbers]
    return sorted(rows, key=lambda row: len(row.ids))
