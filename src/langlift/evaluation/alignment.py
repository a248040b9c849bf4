"""Similarity of sentence representations between two models, or two languages in one model: linear CKA,
Procrustes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from langlift.errors import InputError

Vectors = npt.NDArray[np.float64]
"""A vector for each sentence, [sentences, width]; equal rows of two arrays are sentences with the same meaning."""
FEWEST = 4
SHUFFLE_SEED = 0


@dataclass(frozen=True)
class Alignment:
    """The similarity of two sets of sentence vectors; ``width`` is that of the wider vectors.

    ``cka`` is 1 for sets equal up to rotation and scale; ``cka_shuffled`` is that of unrelated sentences (well
    above 0 with few sentences for the width). ``residual`` is the share of the second set's variance that a
    rotation of the first, fitted on the first half of the sentences, does not explain on the other half: 0 is
    perfect, 1 no better than the mean. ``retrieval`` is the share of that half's sentences whose counterpart is
    nearest after the rotation, the mean of both directions; chance is ``2 / sentences``. If a half has fewer
    sentences than the width, the rotation is not determined and both mean little.
    """

    sentences: int
    width: int
    cka: float
    cka_shuffled: float
    residual: float
    retrieval: float


def compare_vectors(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> Alignment:
    """All measures of two sets of vectors; the narrower ones are padded with zeros.

    Raises:
        InputError: fewer than four sentences, or sentences that all have the same vector.
    """
    if len(first) < FEWEST:
        raise InputError(f"{len(first)} sentences to compare", f"at least {FEWEST} are needed")
    width = max(first.shape[1], second.shape[1])
    first, second = _of_width(first, width), _of_width(second, width)
    half = len(first) // 2
    mapped, target = fit_rotation(first[:half], second[:half]).apply(first[half:], second[half:])
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(first))
    return Alignment(
        sentences=len(first),
        width=width,
        cka=linear_cka(first, second),
        cka_shuffled=linear_cka(first, second[order]),
        residual=float(((mapped - target) ** 2).sum() / (target**2).sum()),
        retrieval=(nearest_is_counterpart(mapped, target) + nearest_is_counterpart(target, mapped)) / 2,
    )


def linear_cka(first: Vectors, second: Vectors) -> float:
    """Linear centred kernel alignment, 0 to 1 (Kornblith et al. 2019, arXiv 1905.00414, section 3).

    ``|Y'X|^2 / (|X'X| |Y'Y|)`` in Frobenius norms, X and Y with centred columns. Invariant to rotation
    and scale of either.

    Raises:
        InputError: all vectors of one side are the same.
    """
    x, y = _scaled(first - first.mean(axis=0)), _scaled(second - second.mean(axis=0))
    return float(np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


@dataclass(frozen=True)
class Rotation:
    """``x -> scale (x - mean) matrix + target mean``, the matrix orthogonal."""

    matrix: Vectors
    scale: float
    mean: Vectors
    target_mean: Vectors

    def apply(self, first: Vectors, second: Vectors) -> tuple[Vectors, Vectors]:
        """The mapped vectors of the first set, and those of the second, both minus the second's mean."""
        return self.scale * (first - self.mean) @ self.matrix, second - self.target_mean


def fit_rotation(first: Vectors, second: Vectors) -> Rotation:
    """Orthogonal Procrustes with a scale: the rotation R and s >= 0 that minimise ``|s X R - Y|``.

    R = UV' of the singular value decomposition USV' of X'Y, s = tr(S) / |X|^2 (Schönemann 1966), X and Y
    centred. On the fitted vectors the residual is that of ``scipy.spatial.procrustes``.

    Raises:
        InputError: all vectors of one side are the same.
    """
    mean, target_mean = first.mean(axis=0), second.mean(axis=0)
    x, y = first - mean, second - target_mean
    _scaled(y)
    u, values, v = np.linalg.svd(_scaled(x).T @ y, full_matrices=False)
    return Rotation(u @ v, float(values.sum() / np.linalg.norm(x)), mean, target_mean)


def nearest_is_counterpart(first: Vectors, second: Vectors) -> float:
    """The share of rows in ``first`` whose nearest row in ``second``, by cosine, is the one with the same number.

    Of several equally near ones, the first counts.
    """
    first, second = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (first, second))
    near = first @ second.T
    return float((near.argmax(axis=1) == np.arange(len(first))).mean())


def _of_width(vectors: npt.NDArray[Any], width: int) -> Vectors:
    return np.pad(vectors.astype(np.float64), ((0, 0), (0, width - vectors.shape[1])))


def _scaled(vectors: Vectors) -> Vectors:
    """Centred vectors, divided by their Frobenius norm."""
    norm = np.linalg.norm(vectors)
    if not np.isfinite(norm) or norm == 0:
        raise InputError("all sentences have the same vector", "give text with different sentences")
    return vectors / norm
