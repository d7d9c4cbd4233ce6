"""Which images are copies of a better one, among all candidates of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from filters.images.clusters import winners
from filters.images.config import ImageDuplicates
from filters.images.fingerprint import differing_bits
from filters.images.matching import Fingerprints
from filters.images.search import collapse, near_pairs


@dataclass(frozen=True)
class Copies:
    """For each of n images the one that it is a copy of."""

    winner: np.ndarray  # int64 (n,): its row, or -1
    bits: np.ndarray  # int64 (n,): differing bits of their hashes, the better way round
    exact: np.ndarray  # bool (n,): their pixels are equal


def find_copies(images: Fingerprints, rank: np.ndarray, eligible: np.ndarray, config: ImageDuplicates) -> Copies:
    """Every image that is near to a better one that stays; see `clusters.winners` for which stay.

    Args:
        rank: int64 (n,), a permutation of 0 to n - 1; 0 is the best.
        eligible: bool (n,): who can win. The others are copies where they are near to a winner.
    """
    by_hash = ~images.plain if config.distance is not None else np.zeros_like(images.plain)
    members, groups = collapse(_identity(images, by_hash))
    first_rank, can_win = _best_of_groups(groups, len(members), rank, eligible)
    first, second = _edges(images, members[by_hash[members]], config)
    place = np.full(len(groups), -1, dtype=np.int64)
    place[members] = np.arange(len(members))
    better = winners(place[first], place[second], first_rank, can_win)
    row_of_rank = np.empty(len(rank), dtype=np.int64)
    row_of_rank[rank] = np.arange(len(rank))
    chosen = np.where(better >= 0, better, np.where(can_win, np.arange(len(members)), -1))
    best_row = np.where(chosen >= 0, row_of_rank[first_rank[chosen] % max(1, len(rank))], -1)
    winner = best_row[groups]
    winner[winner == np.arange(len(winner))] = -1
    return _described(images, winner)


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


def _edges(images: Fingerprints, rows: np.ndarray, config: ImageDuplicates) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of `rows` that are near in hash and colour."""
    found = [(np.zeros(0, dtype=np.int64),) * 2]
    if config.distance is not None:
        for one, other, _ in near_pairs(images.hashes[rows], config.distance, images.mirrors[rows]):
            first, second = rows[one], rows[other]
            close = images.colour_difference(first, images, second) <= config.colours
            found.append((first[close], second[close]))
    return np.concatenate([one for one, _ in found]), np.concatenate([other for _, other in found])


def _described(images: Fingerprints, winner: np.ndarray) -> Copies:
    bits, exact = np.zeros(len(winner), dtype=np.int64), np.zeros(len(winner), dtype=bool)
    rows = np.flatnonzero(winner >= 0)
    best = winner[rows]
    straight = differing_bits(images.hashes[rows], images.hashes[best])
    turned = np.minimum(
        differing_bits(images.mirrors[rows], images.hashes[best]),
        differing_bits(images.hashes[rows], images.mirrors[best]),
    )
    bits[rows] = np.minimum(straight, turned)
    exact[rows] = (images.pixels[rows] == images.pixels[best]).all(axis=1)
    return Copies(winner, bits, exact)
