"""Decoding arc scores to a tree with a single root: maximum spanning tree, or greedy."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating]
"""Shape [words, 1 + words]: row w has the scores of word w + 1, column h those for head h; 0 is the root."""


def maximum_spanning_tree(scores: Scores) -> list[int]:
    """The heads of the tree with the highest sum of scores among those with a single root.

    Chu and Liu 1965, Edmonds 1967. A single root is guaranteed by lowering the score of every arc from the root by
    more than the sum of all possible differences (Stanojevic and Cohen 2021).
    """
    words = len(scores)
    square = np.full((words + 1, words + 1), -np.inf)
    square[1:] = scores
    np.fill_diagonal(square, -np.inf)
    finite = square[np.isfinite(square)]
    square[:, 0] -= (words + 1) * (finite.max() - finite.min() + 1.0)
    return [int(head) for head in _best_heads(square)[1:]]


def greedy_tree(scores: Scores) -> list[int]:
    """Each word's best head; if these do not form a tree with a single root, arcs are added by descending score.

    The root is then the word with the highest root score.
    """
    words = len(scores)
    legal = np.asarray(scores, dtype=float).copy()
    legal[range(words), range(1, words + 1)] = -np.inf
    best = legal.argmax(axis=1)
    if np.count_nonzero(best == 0) == 1 and not cycle_in([0, *best]):
        return [int(head) for head in best]
    heads = np.zeros(words + 1, dtype=np.int64)
    part = np.arange(words + 1)  # connected nodes have the same number
    root = int(legal[:, 0].argmax()) + 1
    part[root] = 0
    headed = {root}
    for place in np.argsort(-legal[:, 1:], axis=None, kind="stable"):
        word, head = int(place) // words + 1, int(place) % words + 1
        if word in headed or part[word] == part[head]:
            continue
        heads[word] = head
        headed.add(word)
        part[part == part[word]] = part[head]
    return [int(head) for head in heads[1:]]


def _best_heads(square: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The heads of all nodes (the root, node 0, has 0); ``square[dependent, head]``."""
    contracted = []
    while True:
        heads = square.argmax(axis=1)
        heads[0] = 0
        cycle = np.asarray(cycle_in(heads), dtype=np.int64)
        if not len(cycle):
            break
        # The cycle becomes one node, the last; an arc into it replaces an arc of the cycle.
        rest = np.setdiff1d(np.arange(len(square)), cycle)
        gains = square[np.ix_(cycle, rest)] - square[cycle, heads[cycle]][:, None]
        leaving = square[np.ix_(rest, cycle)]
        smaller = np.full((len(rest) + 1, len(rest) + 1), -np.inf)
        smaller[:-1, :-1] = square[np.ix_(rest, rest)]
        smaller[-1, :-1] = gains.max(axis=0)
        smaller[:-1, -1] = leaving.max(axis=1)
        contracted.append((heads, rest, cycle[gains.argmax(axis=0)], cycle[leaving.argmax(axis=1)]))
        square = smaller
    for inner, rest, entered, left in reversed(contracted):
        expanded = inner.copy()
        of_rest, of_cycle = heads[:-1], heads[-1]
        inside = of_rest == len(rest)
        expanded[rest] = np.where(inside, left, rest[np.where(inside, 0, of_rest)])
        expanded[entered[of_cycle]] = rest[of_cycle]
        heads = expanded
    return heads


def cycle_in(heads: Sequence[int] | npt.NDArray[np.integer]) -> list[int]:
    """The nodes of one cycle, from dependent to head, or an empty list; ``heads`` of all nodes, 0 is the root."""
    seen_from = [0] * len(heads)
    for start in range(1, len(heads)):
        node = start
        while node and not seen_from[node]:
            seen_from[node] = start
            node = int(heads[node])
        if node and seen_from[node] == start:
            cycle = [node]
            while (node := int(heads[node])) != cycle[0]:
                cycle.append(node)
            return cycle
    return []
