"""Candidates against the images of test sets: the nearest one within a distance, or one of equal pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from filters.images.fingerprint import (
    decode_colours,
    decode_hashes,
    decode_sha256,
    is_plain,
    mirrored_colours,
)
from filters.images.search import collapse, near_among


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of n images, as arrays."""

    hashes: np.ndarray  # uint64 (n, 3)
    mirrors: np.ndarray  # uint64 (n, 3)
    colours: np.ndarray  # uint8 (n, 4, 3)
    pixels: np.ndarray  # uint64 (n, 2): the first half of the SHA-256; 128 bits do not collide by chance
    plain: np.ndarray  # bool (n,): known by their pixels alone

    @classmethod
    def decode(cls, image_hash: list[str], mirror_hash: list[str], pixels_sha256: list[str]) -> Fingerprints:
        """From the columns of scores/*.parquet."""
        hashes, mirrors = decode_hashes(image_hash), decode_hashes(mirror_hash)
        pixels = decode_sha256(pixels_sha256)
        return cls(hashes, mirrors, decode_colours(image_hash), pixels, is_plain(hashes, mirrors))

    @classmethod
    def concatenate(cls, parts: list[Fingerprints]) -> Fingerprints:
        """All of them, one after the other."""
        names = ("hashes", "mirrors", "colours", "pixels", "plain")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def colour_difference(self, rows: np.ndarray, other: Fingerprints, others: np.ndarray) -> np.ndarray:
        """int16: largest difference of a quarter's mean colour, as they are or with one mirrored: the lesser."""
        mine = self.colours[rows].astype(np.int16)
        straight = np.abs(mine - other.colours[others]).max(axis=(1, 2), initial=0)
        turned = np.abs(mine - mirrored_colours(other.colours[others])).max(axis=(1, 2), initial=0)
        return np.minimum(straight, turned)


def nearest(
    candidates: Fingerprints, tests: Fingerprints, distance: int, colours: int
) -> tuple[np.ndarray, np.ndarray]:
    """For each candidate the row of the nearest test image, or of its mirror image, and the differing bits.

    Equal pixels count as -1 bits, and come first; of equally near ones the first counts.

    Returns:
        int64 (n,) rows of `tests`, -1 where none is within `distance`; int64 (n,) bits.
    """
    rows, bits = np.full(len(candidates.plain), -1, dtype=np.int64), np.full(len(candidates.plain), 999, dtype=np.int64)
    first, second, near = _near(candidates, tests, distance)
    close = candidates.colour_difference(first, tests, second) <= colours
    same = _equal_pixels(candidates, tests)
    first = np.concatenate([first[close], same[0]])
    second = np.concatenate([second[close], same[1]])
    near = np.concatenate([near[close], np.full(len(same[0]), -1)])
    order = np.lexsort((second, near, first))
    first, second, near = first[order], second[order], near[order]
    best = np.ones(len(first), dtype=bool)
    best[1:] = first[1:] != first[:-1]
    rows[first[best]], bits[first[best]] = second[best], near[best]
    return rows, bits


def _near(candidates: Fingerprints, tests: Fingerprints, distance: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mine, theirs = np.flatnonzero(~candidates.plain), np.flatnonzero(~tests.plain)
    both = np.concatenate([tests.hashes[theirs], tests.mirrors[theirs]])
    first, second, bits = near_among(candidates.hashes[mine], both, distance)
    return mine[first], theirs[second % max(1, len(theirs))], bits


def _equal_pixels(candidates: Fingerprints, tests: Fingerprints) -> tuple[np.ndarray, np.ndarray]:
    """Rows of candidates and of the first test image with the same pixels."""
    count = len(tests.plain)
    if not count:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    first, groups = collapse(np.concatenate([tests.pixels, candidates.pixels]))
    found = first[groups[count:]]  # the first row with these pixels: a test image, if one has them
    rows = np.flatnonzero(found < count)
    return rows, found[rows]
