"""Which images are copies of a better one, among all candidates of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.recipe.images import ImageDuplicates
from pipeline.stages.dedup_images.clusters import winners
from pipeline.stages.dedup_images.matching import Fingerprints
from pipeline.stages.dedup_images.search import collapse, near_pairs
from pipeline.stages.score.embeddings import Confirmation
from pipeline.stages.score.fingerprint import differing_bits


@dataclass(frozen=True)
class Copies:
    """For each of n images the one that it is a copy of."""

    winner: np.ndarray  # int64 (n,): its row, or -1
    bits: np.ndarray  # int64 (n,): differing bits of their hashes, the better way round
    exact: np.ndarray  # bool (n,): their pixels are equal
    cosine: np.ndarray  # float32 (n,): of their embeddings, NaN where it was not asked for


def find_copies(
    images: Fingerprints,
    rank: np.ndarray,
    eligible: np.ndarray,
    config: ImageDuplicates,
    confirm: Confirmation | None = None,
) -> Copies:
    """Every image that is near to a better one that stays; see `clusters.winners` for which stay.

    Args:
        rank: int64 (n,), a permutation of 0 to n - 1; 0 is the best.
        eligible: bool (n,): who can win. The others are copies where they are near to a winner.
        confirm: what else must hold of two rows that are near; equal pixels need no more. Images of one fingerprint are
            looked at as the best of them that confirms them; in the end each copy is confirmed with its very winner, or stays.
    """
    by_hash = ~images.plain if config.distance is not None else np.zeros_like(images.plain)
    members, groups = collapse(_identity(images, by_hash))
    if confirm:
        members, groups = _divided(groups, np.where(eligible, rank, rank + len(rank)), images.pixels, confirm)
    first_rank, can_win = _best_of_groups(groups, len(members), rank, eligible)
    row_of_rank = np.empty(len(rank), dtype=np.int64)
    row_of_rank[rank] = np.arange(len(rank))
    heads = row_of_rank[first_rank % max(1, len(rank))]
    nodes = np.flatnonzero(by_hash[heads])
    first, second = _edges(images, heads[nodes], config, confirm)
    better = winners(nodes[first], nodes[second], first_rank, can_win)
    chosen = np.where(better >= 0, better, np.where(can_win, np.arange(len(members)), -1))
    winner = np.where(chosen >= 0, heads[chosen], -1)[groups]
    winner[winner == np.arange(len(winner))] = -1
    return _described(images, winner, confirm)


def _divided(
    groups: np.ndarray, order: np.ndarray, pixels: np.ndarray, confirm: Confirmation
) -> tuple[np.ndarray, np.ndarray]:
    """Groups of equal fingerprints, divided: the best of each and those that it confirms, the best of the others, and so on.

    Args:
        order: int64 (n,), all different; the lowest is the best.

    Returns:
        the first row of each group, and int64 (n,), the group of each row, as `collapse` does.
    """
    groups, count = groups.copy(), int(groups.max(initial=-1)) + 1
    left = np.flatnonzero(np.bincount(groups)[groups] > 1)
    while len(left):
        left = left[np.lexsort((order[left], groups[left]))]
        begins = np.append(True, groups[left][1:] != groups[left][:-1])
        head = left[begins][np.cumsum(begins) - 1]
        unequal = np.flatnonzero((pixels[left] != pixels[head]).any(axis=1))
        _, counts = confirm(left[unequal], head[unequal])
        left = left[unequal[~counts]]
        groups[left] = count + groups[left] - groups[left].min(initial=0)
        count = int(groups.max(initial=-1)) + 1
    _, members, groups = np.unique(groups, return_index=True, return_inverse=True)
    return members, groups


def _identity(images: Fingerprints, by_hash: np.ndarray) -> np.ndarray:
    """uint64 (n, 8): what is equal in images that are one node: fingerprints, or pixels where those alone are known."""
    colours = np.zeros((len(by_hash), 16), dtype=np.uint8)
    colours[:, :12] = images.colours.reshape(len(by_hash), 12)
    colours[:, 15] = 1
    words = np.concatenate([images.hashes, images.mirrors, colours.view(np.uint64)], axis=1)
    words[~by_hash] = 0
    words[~by_hash, :2] = images.pixels[~by_hash]
    return words


def _best_of_groups(
    groups: np.ndarray, count: int, rank: np.ndarray, eligible: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The rank of each group's best member that can win (or, beyond all ranks, of its best member), and whether one can."""
    best = np.full(count, 2 * len(rank), dtype=np.int64)
    np.minimum.at(best, groups, np.where(eligible, rank, rank + len(rank)))
    return best, best < len(rank)


def _edges(
    images: Fingerprints, rows: np.ndarray, config: ImageDuplicates, confirm: Confirmation | None
) -> tuple[np.ndarray, np.ndarray]:
    """Positions in `rows` of pairs that are near in hash and colour, and confirmed."""
    edges = [(np.zeros(0, dtype=np.int64),) * 2]
    if config.distance is not None:
        for left, right, _ in near_pairs(images.hashes[rows], config.distance, images.mirrors[rows]):
            close = images.colour_difference(rows[left], images, rows[right]) <= config.colours
            edges.append((left[close], right[close]))
    first, second = (np.concatenate(ends) for ends in zip(*edges, strict=True))
    if confirm:
        _, counts = confirm(rows[first], rows[second])
        first, second = first[counts], second[counts]
    return first, second


def _described(images: Fingerprints, winner: np.ndarray, confirm: Confirmation | None) -> Copies:
    bits, exact = np.zeros(len(winner), dtype=np.int64), np.zeros(len(winner), dtype=bool)
    cosine = np.full(len(winner), np.nan, dtype=np.float32)
    rows = np.flatnonzero(winner >= 0)
    best = winner[rows]
    straight = differing_bits(images.hashes[rows], images.hashes[best])
    turned = np.minimum(
        differing_bits(images.mirrors[rows], images.hashes[best]),
        differing_bits(images.hashes[rows], images.mirrors[best]),
    )
    bits[rows] = np.minimum(straight, turned)
    exact[rows] = (images.pixels[rows] == images.pixels[best]).all(axis=1)
    if confirm:
        near = rows[~exact[rows]]
        cosine[near], counts = confirm(near, winner[near])
        winner[near[~counts]] = -1
    return Copies(winner, bits, exact, cosine)
