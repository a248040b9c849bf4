"""Training and validation data of an adaptation: one or several data sets, encoded for the objective."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from langlift.corpus.sampling import sampling_shares
from langlift.corpus.text_data import TextData, Triple, load_text_data
from langlift.errors import InputError
from langlift.progress import say
from langlift.training.encoding import (
    EncodedRow,
    TargetedRows,
    encode,
    encode_triples,
    encode_triples_as_published,
)
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

    train: list[EncodedRow]
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

    Raises:
        InputError: data is damaged, given twice or lacks triples for the objective, or the weights are invalid.
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
) -> TrainingData:
    """Encode data sets as rows for the recipe's objective; those with the same name are joined.

    They are mixed by ``weights``, by size, or for a family by its ``alpha``. How many sentences a targeted
    objective left out is printed on stderr.

    Raises:
        InputError: a split has no token that the tokenizer knows, or no triple that can be predicted.
    """
    encoded: dict[str, _Encoded] = {}
    for source in sources:
        encoded.setdefault(source.name, _Encoded()).add(source, tokenizer, max_tokens, recipe)
    sizes = [len(source_rows.train) for source_rows in encoded.values()]
    data = TrainingData(
        train=[row for source_rows in encoded.values() for row in source_rows.train],
        sizes=sizes,
        left_out=sum(source_rows.left_out for source_rows in encoded.values()),
        one_argument=sum(source_rows.one_argument for source_rows in encoded.values()),
    )
    if isinstance(recipe, FamilyRecipe):
        data.shares = dict(zip(encoded, sampling_shares(sizes, recipe.alpha).tolist(), strict=True))
        data.weighted = True
        data.dev = {
            code: at_most(recipe.validation_examples, source_rows.dev) for code, source_rows in encoded.items()
        }
    else:
        parts = sizes if weights is None else weights
        data.shares = {name: part / sum(parts) for name, part in zip(encoded, parts, strict=True)}
        data.weighted = weights is not None and len(sources) > 1
        data.dev_shares = data.shares
        for name, source_rows in encoded.items():
            most = max(1, round(recipe.validation_examples * data.shares[name]))
            data.dev[name] = at_most(most, source_rows.dev)
            if recipe.objective == "targeted":
                data.targeted_dev[name] = at_most(most, source_rows.targeted_dev)
    _report_left_out(data, sum(source_rows.sentences for source_rows in encoded.values()), recipe)
    return data


@dataclass
class _Encoded:
    """The rows of the data sets of one name; ``sentences`` counts the training sentences of graphs."""

    train: list[EncodedRow] = field(default_factory=list)
    dev: list[EncodedRow] = field(default_factory=list)
    targeted_dev: list[EncodedRow] = field(default_factory=list)
    sentences: int = 0
    left_out: int = 0
    one_argument: int = 0

    def add(self, source: Source, tokenizer: Any, max_tokens: int, recipe: AdaptRecipe) -> None:
        """Add a data set."""
        texts, triples = source.texts, source.texts.triples
        train_split, dev_split = (f"{source.path} ({split} split)" for split in ("train", "dev"))
        if triples is None:
            train = encode(tokenizer, texts.train, max_tokens, train_split, recipe.objective == "full_word")
            dev = encode(tokenizer, texts.dev, max_tokens, dev_split)
            if recipe.objective == CAUSAL:
                train, dev = _with_next(train, train_split), _with_next(dev, dev_split)
            self.train += train
            self.dev += dev
            self.targeted_dev += dev
            return

        def by_argument(texts: Sequence[str], triples: Sequence[Triple], split: str, seed: int) -> TargetedRows:
            if recipe.targeted_as_published:
                return encode_triples_as_published(tokenizer, texts, triples, max_tokens, split, seed)
            return encode_triples(tokenizer, texts, triples, max_tokens, split)

        self.dev += encode(tokenizer, texts.dev, max_tokens, dev_split)
        found = by_argument(texts.train, triples["train"], train_split, recipe.seed)
        self.train += found.rows
        self.targeted_dev += by_argument(texts.dev, triples["dev"], dev_split, DEV_SEED).rows
        self.sentences += len(texts.train)
        self.left_out += found.left_out
        self.one_argument += found.one_argument


def _with_next(rows: Sequence[EncodedRow], source: str) -> list[EncodedRow]:
    """The rows with more than one token: the others have no next token to predict."""
    kept = [row for row in rows if len(row.ids) > 1]
    if not kept:
        raise InputError(f"{source}: no text is longer than one token", "give running text")
    return kept


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
    return names if len(paths) > 1 else [paths[0].name]


def at_most(limit: int, rows: list[EncodedRow]) -> list[EncodedRow]:
    """The dev rows used for validation, sorted by length: a random sample if there are more than ``limit``."""
    if len(rows) > limit:
        numbers = np.random.default_rng(DEV_SEED).choice(len(rows), limit, replace=False)
        rows = [rows[i] for i in numbers]
    return sorted(rows, key=lambda row: len(row.ids))
