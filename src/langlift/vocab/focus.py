"""FOCUS (Dobler and de Melo 2023): new tokens as sparse means of the tokens most like them."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from langlift.progress import ProgressBar

Vectors = Mapping[str, npt.NDArray[np.float32]]
"""Auxiliary vectors, float32 [dimensions], by the target tokenizer's own writing of its pieces."""
ROWS_TOGETHER = 256


def sparsemax(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The point of the simplex nearest to each row of ``scores`` [rows, n] (Martins and Astudillo 2016, eq. 2)."""
    ordered = -np.sort(-scores, axis=1)
    sums = np.cumsum(ordered, axis=1, dtype=np.float64) - 1
    ranks = np.arange(1, scores.shape[1] + 1)
    support = (ordered * ranks > sums).sum(axis=1, keepdims=True)
    threshold = np.take_along_axis(sums, support - 1, axis=1) / support
    weights: npt.NDArray[np.float32] = np.maximum(scores - threshold, 0).astype(np.float32)
    return weights


def has_vector(piece: str, vectors: Vectors) -> bool:
    """Whether the piece has a vector, and not only zeros, which have no direction."""
    return piece in vectors and bool(np.any(vectors[piece]))


def focus_weights(
    new: Mapping[int, str], shared: Mapping[int, tuple[str, int]], vectors: Vectors
) -> dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
    """Of each new token that has a vector: (source ids, weights that sum to 1).

    ``new``: target id -> piece. ``shared``: target id -> (piece, source id) of the overlap. The weights are the
    sparsemax of the cosine similarities between the new token's vector and those of the overlap (section 2.2
    there). Empty if no token of the overlap has a vector.
    """
    anchors = [(vectors[piece], source) for piece, source in shared.values() if has_vector(piece, vectors)]
    wanted = [(number, vectors[piece]) for number, piece in new.items() if has_vector(piece, vectors)]
    if not anchors or not wanted:
        return {}
    sources = np.asarray([source for _, source in anchors], dtype=np.int64)
    directions = _directions(np.stack([vector for vector, _ in anchors]))
    combined = {}
    with ProgressBar("combining embeddings (FOCUS)", len(wanted), "tokens") as bar:
        for start in range(0, len(wanted), ROWS_TOGETHER):
            part = wanted[start : start + ROWS_TOGETHER]
            weights = sparsemax(_directions(np.stack([vector for _, vector in part])) @ directions.T)
            for (number, _), row in zip(part, weights, strict=True):
                chosen = np.flatnonzero(row)
                combined[number] = (sources[chosen], row[chosen])
            bar.advance(len(part))
    return combined


def _directions(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    directions: npt.NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return directions
