"""The initial embeddings of a new vocabulary: which rows are copied, combined from others, or drawn at random."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor

from langlift.progress import ProgressBar
from langlift.vocab.model_rows import row_count
from langlift.vocab.overlap import CanonicalToken, canonical_tokens, overlap, special_pairs, speller
from langlift.vocab.recipe import VocabRecipe

Ids = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float32]
Vectors = Mapping[str, npt.NDArray[np.float32]]
"""Auxiliary vectors, float32 [dimensions], by token as the target tokenizer writes it."""

BATCH = 256
MINIMUM_GROUP = 10
"""Number of source tokens from which a group has a mean and standard deviation; a smaller one is widened."""
NO_LETTERS = "none"
ALL_ROWS = "all rows"


@dataclass(frozen=True)
class RowPlan:
    """How the target's rows are made from the source's, for matrices of ``shape`` [target, source] rows.

    ``copied``: target id -> source id. ``combined``: target id -> (source ids, weights that sum to 1). ``drawn``:
    target id -> group. ``groups``: group -> the source ids whose mean and standard deviation its rows are drawn
    with. All other rows, which no token has, are zero.
    """

    shape: tuple[int, int]
    copied: Mapping[int, int]
    combined: Mapping[int, tuple[Ids, Weights]]
    drawn: Mapping[int, Hashable]
    groups: Mapping[Hashable, Ids]

    @cached_property
    def mixing(self) -> csr_array:
        """The weights of copied and combined rows, float32 [target, source]."""
        sources: dict[int, tuple[Any, Any]] = {row: ([source], [1.0]) for row, source in self.copied.items()}
        sources |= self.combined
        rows = np.repeat(np.fromiter(sources, np.int64), [len(ids) for ids, _ in sources.values()])
        columns = np.fromiter(chain.from_iterable(ids for ids, _ in sources.values()), np.int64)
        weights = np.fromiter(chain.from_iterable(some for _, some in sources.values()), np.float32)
        return csr_array((weights, (rows, columns)), shape=self.shape)

    def rows(self, source: Tensor, random: torch.Generator) -> Tensor:
        """The target's rows: float32 [target, d] for a matrix [source, d], or [target] for a bias [source].

        Drawn rows come from a normal distribution with the mean and standard deviation of the group in each
        dimension, in the order of their ids; a bias is set to the mean of the group.
        """
        matrix = source.detach().to("cpu", torch.float32)
        target = torch.from_numpy(np.asarray(self.mixing @ matrix.numpy(), dtype=np.float32))
        moments = {
            group: torch.std_mean(matrix[torch.from_numpy(self.groups[group])], dim=0)
            for group in set(self.drawn.values())
        }
        for row in sorted(self.drawn):
            deviation, mean = moments[self.drawn[row]]
            target[row] = torch.normal(mean, deviation, generator=random) if matrix.ndim == 2 else mean
        return target

    def counts(self) -> dict[str, int]:
        """The number of copied, combined and drawn rows."""
        return {"copied": len(self.copied), "combined": len(self.combined), "drawn": len(self.drawn)}


def plan_rows(target: Any, source: Any, source_rows: int, recipe: VocabRecipe, vectors: Vectors) -> RowPlan:
    """How to initialise the rows of the tokenizer ``target`` in a model with ``source_rows`` of ``source``.

    Special tokens are copied by role and, unless ``copy_overlap`` is false, tokens in both vocabularies. All
    others are initialised by ``recipe.init``; where that method does not apply, a row is drawn with the mean and
    standard deviation of all the source's rows.
    """
    copied = special_pairs(target, source)
    shared = overlap(target, source)
    canonical = canonical_tokens(target)
    if recipe.copy_overlap:
        copied = shared | copied
    new = sorted(set(target.get_vocab().values()) - copied.keys())
    to_place = {number: canonical[number] for number in new if number in canonical}
    combined: dict[int, tuple[Ids, Weights]] = {}
    drawn: dict[int, Hashable] = dict.fromkeys(new, ALL_ROWS)
    groups: dict[Hashable, Ids] = {ALL_ROWS: np.arange(source_rows)}
    if recipe.init == "focus":
        names = {number: token for token, number in target.get_vocab().items()}
        anchors = {number: (names[number], theirs) for number, theirs in shared.items()}
        combined = focus_weights({number: names[number] for number in new}, anchors, vectors)
    elif recipe.init == "mean":
        combined = _means_of_subwords(to_place, source)
    elif recipe.init == "script":
        of_script, script_groups = grouped_by_script(to_place, canonical_tokens(source), recipe.position)
        drawn |= of_script
        groups |= script_groups
    drawn = {number: group for number, group in drawn.items() if number not in combined}
    return RowPlan((row_count(target), source_rows), copied, combined, drawn, groups)


def focus_weights(
    new: Mapping[int, str], shared: Mapping[int, tuple[str, int]], vectors: Vectors
) -> dict[int, tuple[Ids, Weights]]:
    """FOCUS (Dobler and de Melo 2023): for each new token with a vector (source ids, weights that sum to 1).

    ``new``: target id -> token. ``shared``: target id -> (token, source id) of the overlap. The weights are the
    sparsemax of the cosine similarities between the new token's vector and those of the overlap (section 2.2
    there). Empty if no token of the overlap has a vector.
    """
    usable = {token: vector for token, vector in vectors.items() if np.any(vector)}
    anchors = [(usable[token], source) for token, source in shared.values() if token in usable]
    wanted = [(number, usable[token]) for number, token in new.items() if token in usable]
    if not anchors or not wanted:
        return {}
    sources = np.asarray([source for _, source in anchors], dtype=np.int64)
    directions = _directions([vector for vector, _ in anchors])
    combined = {}
    with ProgressBar("combining embeddings (FOCUS)", len(wanted), "tokens") as bar:
        for start in range(0, len(wanted), BATCH):
            batch = wanted[start : start + BATCH]
            weights = sparsemax(_directions([vector for _, vector in batch]) @ directions.T)
            for (number, _), row in zip(batch, weights, strict=True):
                chosen = np.flatnonzero(row)
                combined[number] = (sources[chosen], row[chosen])
            bar.advance(len(batch))
    return combined


def _directions(vectors: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    matrix = np.stack(vectors)
    directions: npt.NDArray[np.float32] = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    return directions


def sparsemax(scores: npt.NDArray[np.float32]) -> Weights:
    """The point of the simplex nearest to each row of ``scores`` [rows, n] (Martins and Astudillo 2016, eq. 2)."""
    ordered = -np.sort(-scores, axis=1)
    sums = np.cumsum(ordered, axis=1, dtype=np.float64) - 1
    ranks = np.arange(1, scores.shape[1] + 1)
    support = (ordered * ranks > sums).sum(axis=1, keepdims=True)
    threshold = np.take_along_axis(sums, support - 1, axis=1) / support
    weights: Weights = np.maximum(scores - threshold, 0).astype(np.float32)
    return weights


def _means_of_subwords(new: Mapping[int, CanonicalToken], source: Any) -> dict[int, tuple[Ids, Weights]]:
    """For each new token the source tokens that spell it, with equal weights (Gee et al. 2022)."""
    spell = speller(source)
    combined = {}
    for number, token in new.items():
        if ids := spell(token):
            distinct, counts = np.unique(np.asarray(ids, dtype=np.int64), return_counts=True)
            combined[number] = (distinct, (counts / counts.sum()).astype(np.float32))
    return combined


def grouped_by_script(
    new: Mapping[int, CanonicalToken], source: Mapping[int, CanonicalToken], position: bool
) -> tuple[dict[int, Hashable], dict[Hashable, Ids]]:
    """The group of each new token, and the source ids of each group (Downey et al. 2023).

    A group is the source tokens of the same script and, with ``position``, of the same position: word-initial or
    not. If it has fewer than ``MINIMUM_GROUP`` tokens, all of the script are used, and if these are too few (a
    script that the source does not have), all tokens.
    """
    members: dict[Hashable, list[int]] = defaultdict(list)
    for number, token in source.items():
        for group in _script_groups(token, position):
            members[group].append(number)
    group_of = {}
    for number, token in new.items():
        wider = _script_groups(token, position)
        group_of[number] = next((group for group in wider if len(members[group]) >= MINIMUM_GROUP), wider[-1])
    return group_of, {group: np.asarray(members[group], dtype=np.int64) for group in set(group_of.values())}


def _script_groups(token: CanonicalToken, position: bool) -> list[Hashable]:
    """The groups of a token, from the narrowest to all tokens."""
    script = script_of(token.surface)
    narrowest: list[Hashable] = [(script, token.initial)] if position else []
    return [*narrowest, script, "all tokens"]


def script_of(surface: str) -> str:
    """The script of most of the letters, by the first word of their Unicode names; ``none`` without letters."""
    scripts = Counter(
        unicodedata.name(character, NO_LETTERS).split()[0] for character in surface if character.isalpha()
    )
    return scripts.most_common(1)[0][0] if scripts else NO_LETTERS
