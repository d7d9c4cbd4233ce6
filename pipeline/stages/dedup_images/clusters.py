"""Who stays of the pictures that are near each other.

A cluster is a winner and all that are near to *it*. Chains do not make clusters: where a is near b and b near c, but c
is not near a, and a is the best, then b goes for a, and c stays. With transitive clusters, a few doubtful links among
millions of pictures would join most of them into one.
"""

from __future__ import annotations

import numpy as np


def winners(first: np.ndarray, second: np.ndarray, rank: np.ndarray, eligible: np.ndarray) -> np.ndarray:
    """int64 (n,): the best kept neighbour of each node that is rejected, and -1 where a node stays.

    Equal to going through the eligible nodes from best to worst and keeping each that is near to none kept before; but
    many nodes are decided at a time. Nodes that are not eligible win over none, and go where they are near to a kept one.

    Args:
        first, second: int64 (m,), the ends of the edges.
        rank: int64 (n,), all different; the lowest is the best.
        eligible: bool (n,).
    """
    order = np.argsort(rank)
    dense_rank = np.empty(len(rank), dtype=np.int64)  # as `rank`, without gaps
    dense_rank[order] = np.arange(len(rank))
    better, worse = _directed(first, second, dense_rank, eligible)
    kept, lost = np.zeros(len(rank), dtype=bool), np.zeros(len(rank), dtype=bool)
    touched = np.zeros(len(rank), dtype=bool)
    touched[better] = True
    open_edges = np.arange(len(better))
    while len(open_edges):
        blocked = np.zeros(len(rank), dtype=bool)
        blocked[worse[open_edges]] = True
        kept |= touched & ~lost & ~blocked
        lost[worse[open_edges[kept[better[open_edges]]]]] = True
        open_edges = open_edges[~lost[worse[open_edges]] & ~lost[better[open_edges]]]
    best = np.full(len(rank), len(rank), dtype=np.int64)
    final = kept[better] & lost[worse]
    np.minimum.at(best, worse[final], dense_rank[better[final]])
    return np.append(order, -1)[best]


def _directed(
    first: np.ndarray, second: np.ndarray, rank: np.ndarray, eligible: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The edges from the better node to the worse; those between two nodes that are not eligible say nothing."""
    useful = eligible[first] | eligible[second]
    first, second = first[useful], second[useful]
    forward = eligible[first] & (~eligible[second] | (rank[first] < rank[second]))
    return np.where(forward, first, second), np.where(forward, second, first)
