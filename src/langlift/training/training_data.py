"""What an adaptation trains and is validated on: one or several data sets, encoded for the objective."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from langlift.config.recipes import CAUSAL
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
from langlift.training.recipes import AdaptRecipe

DEV_SEED = 0
"""The dev rows and their masks are the same for every seed, so that runs can be compared."""


@dataclass(frozen=True)
class Source:
    """A data set: the name it goes by in this run, and its texts, with their triples where they are needed."""

    name: str
    path: Path
    texts: TextData


@dataclass(frozen=True)
class TrainingData:
    """Rows of all data sets. ``train`` holds them on end, ``sizes`` says how many are each's.

    ``shares`` are the data sets' shares of the training examples; they sum to 1. ``weighted`` says whether
    they were asked for, and are not simply the sizes'. ``dev`` is for plain masked language modelling
    whatever the objective; ``targeted_dev`` is masked by argument, and empty for other objectives.
    ``left_out`` and ``one_argument`` count training sentences as ``TargetedRows`` does.
    """

    train: list[EncodedRow]
    sizes: list[int]
    shares: dict[str, float]
    dev: dict[str, list[EncodedRow]]
    targeted_dev: dict[str, list[EncodedRow]] = field(default_factory=dict)
    weighted: bool = False
    left_out: int = 0
    one_argument: int = 0


def read_sources(paths: Sequence[Path], weights: Sequence[float] | None, objective: str) -> list[Source]:
    """Read data sets: text files or built folders, each once.

    Raises:
        InputError: data is damaged or named twice, has no triples for a ``targeted`` objective, or the
            weights do not fit.
    """
    if not paths:
        raise InputError("no data is given", "name a text file or a built folder with --data")
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
            raise InputError(f"--data-weights {said}: must be above 0", "leave out the --data that is not wanted")
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
    """One data set's rows, fields as in ``TrainingData``; ``sentences`` counts the training ones of a graph."""

    train: list[EncodedRow]
    dev: list[EncodedRow]
    targeted_dev: list[EncodedRow]
    sentences: int = 0
    left_out: int = 0
    one_argument: int = 0


def encode_source(source: Source, tokenizer: Any, max_tokens: int, recipe: AdaptRecipe) -> EncodedSource:
    """Cut a data set into rows as the recipe's objective needs them.

    Raises:
        InputError: a split holds nothing that the tokenizer knows, or no triple that can be predicted.
    """
    texts, triples = source.texts, source.texts.triples
    here, there = f"{source.path} (train split)", f"{source.path} (dev split)"
    if triples is None:
        way = encode_words if recipe.objective == "full_word" else encode
        train = way(tokenizer, texts.train, max_tokens, here)
        dev = encode(tokenizer, texts.dev, max_tokens, there)
        if recipe.objective == CAUSAL:
            train, dev = _with_next(train, here), _with_next(dev, there)
        return EncodedSource(train, dev, dev)
    dev = encode(tokenizer, texts.dev, max_tokens, there)
    found, held_out = (
        _by_argument(tokenizer, part, triples[split], max_tokens, where, recipe, seed)
        for part, split, where, seed in (
            (texts.train, "train", here, recipe.seed),
            (texts.dev, "dev", there, DEV_SEED),
        )
    )
    return EncodedSource(found.rows, dev, held_out.rows, len(texts.train), found.left_out, found.one_argument)


def _with_next(rows: Sequence[EncodedRow], where: str) -> list[EncodedRow]:
    """The rows in which some token follows another: of one token alone nothing can be predicted."""
    kept = [row for row in rows if len(row.ids) > 1]
    if not kept:
        raise InputError(f"{where}: no text is longer than one token", "give running text")
    return kept


def _by_argument(
    tokenizer: Any,
    texts: Sequence[str],
    triples: Sequence[Triple],
    max_tokens: int,
    where: str,
    recipe: AdaptRecipe,
    seed: int,
) -> TargetedRows:
    if recipe.targeted_as_published:
        return encode_triples_as_published(tokenizer, texts, triples, max_tokens, where, seed)
    return encode_triples(tokenizer, texts, triples, max_tokens, where)


def encode_sources(
    sources: Sequence[Source],
    weights: Sequence[float] | None,
    tokenizer: Any,
    max_tokens: int,
    recipe: AdaptRecipe,
) -> TrainingData:
    """The rows of one or several data sets for one language; errors as ``encode_source``."""
    found = {source.name: encode_source(source, tokenizer, max_tokens, recipe) for source in sources}
    sizes = [len(one.train) for one in found.values()]
    parts = sizes if weights is None else weights
    shares = {name: part / sum(parts) for name, part in zip(found, parts, strict=True)}
    most = {name: max(1, round(recipe.validation_examples * share)) for name, share in shares.items()}
    targeted = recipe.objective == "targeted"
    left_out, one_argument = tell_left_out(list(found.values()), targeted and recipe.targeted_as_published)
    return TrainingData(
        train=[row for one in found.values() for row in one.train],
        sizes=sizes,
        shares=shares,
        weighted=weights is not None and len(sources) > 1,
        dev={name: at_most(most[name], one.dev) for name, one in found.items()},
        targeted_dev={name: at_most(most[name], one.targeted_dev) for name, one in found.items() if targeted},
        left_out=left_out,
        one_argument=one_argument,
    )


def tell_left_out(found: Sequence[EncodedSource], as_published: bool = False) -> tuple[int, int]:
    """The numbers of sentences that a targeted objective left out or could half use, said on stderr."""
    left_out, one_argument = (sum(getattr(one, name) for one in found) for name in ("left_out", "one_argument"))
    sentences = sum(one.sentences for one in found)
    if as_published and left_out:
        say(
            f"targeted: of {sentences:,} training sentences {left_out:,} are left out "
            "(not of the twelve relations, or the argument is not found)"
        )
    elif left_out or one_argument:
        say(
            f"targeted: of {sentences:,} training sentences {left_out:,} are left out (neither argument can be "
            f"predicted) and {one_argument:,} have only one argument that can"
        )
    return left_out, one_argument


def _names(paths: Sequence[Path]) -> list[str]:
    """The files' or folders' own names, with as many of the folders above as tell them apart."""
    whole = [path.resolve() for path in paths]
    for depth in range(1, max(len(path.parts) for path in whole) + 1):
        names = ["/".join(path.parts[-depth:]) for path in whole]
        if len(set(names)) == len(names):
            break
    return names if len(paths) > 1 else [paths[0].name]


def at_most(most: int, rows: list[EncodedRow]) -> list[EncodedRow]:
    """The dev rows that are measured at a validation, by length: a random part if there are more than ``most``."""
    if len(rows) > most:
        numbers = np.random.default_rng(DEV_SEED).choice(len(rows), most, replace=False)
        rows = [rows[i] for i in numbers]
    return sorted(rows, key=lambda row: len(row.ids))
