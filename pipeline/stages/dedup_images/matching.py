"""Candidates against the images of test sets: the nearest one within a distance, or one of equal pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.stages.dedup_images.search import collapse, near_among
from pipeline.stages.score.embeddings import Confirmation
from pipeline.stages.score.fingerprint import decode_colours, decode_hashes, decode_sha256, is_plain, mirrored_colours


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
        """From the columns of score/*.parquet."""
        hashes, mirrors = decode_hashes(image_hash), decode_hashes(mirror_hash)
        pixels = decode_sha256(pixels_sha256)
        return cls(hashes, mirrors, decode_colours(image_hash), pixels, is_plain(hashes, mirrors))

    def colour_difference(self, rows: np.ndarray, other: Fingerprints, others: np.ndarray) -> np.ndarray:
        """int16: largest difference of a quarter's mean colour, as they are or with one mirrored: the lesser."""
        colours = self.colours[rows].astype(np.int16)
        straight = np.abs(colours - other.colours[others]).max(axis=(1, 2), initial=0)
        turned = np.abs(colours - mirrored_colours(other.colours[others])).max(axis=(1, 2), initial=0)
        return np.minimum(straight, turned)


def nearest(
    candidates: Fingerprints, tests: Fingerprints, distance: int, colours: int, confirm: Confirmation | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each candidate the row of the nearest test image, or of its mirror image, and the differing bits.

    Equal pixels count as -1 bits, and come first; of equally near ones the first counts.

    Args:
        confirm: what else must hold of a near one, a row of `candidates` and one of `tests`; equal pixels need no more.

    Returns:
        int64 (n,) rows of `tests`, -1 where none is within `distance`; int64 (n,) bits; float32 (n,) cosines, NaN where
        none was asked for.
    """
    count = len(candidates.plain)
    rows, bits = np.full(count, -1, dtype=np.int64), np.full(count, 999, dtype=np.int64)
    cosine = np.full(count, np.nan, dtype=np.float32)
    first, second, near, known = _near(candidates, tests, distance, colours, confirm)
    same = _equal_pixels(candidates, tests)
    first, second = np.concatenate([first, same[0]]), np.concatenate([second, same[1]])
    near = np.concatenate([near, np.full(len(same[0]), -1)])
    known = np.concatenate([known, np.full(len(same[0]), np.nan, dtype=np.float32)])
    order = np.lexsort((second, near, first))
    best = order[np.append(True, first[order][1:] != first[order][:-1])] if len(order) else order
    rows[first[best]], bits[first[best]], cosine[first[best]] = second[best], near[best], known[best]
    return rows, bits, cosine


def _near(
    candidates: Fingerprints, tests: Fingerprints, distance: int, colours: int, confirm: Confirmation | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows of candidates and of test images that are near, their differing bits and cosines."""
    candidate_rows, test_rows = np.flatnonzero(~candidates.plain), np.flatnonzero(~tests.plain)
    test_hashes = np.concatenate([tests.hashes[test_rows], tests.mirrors[test_rows]])
    first, second, bits = near_among(candidates.hashes[candidate_rows], test_hashes, distance)
    first, second = candidate_rows[first], test_rows[second % max(1, len(test_rows))]
    close = candidates.colour_difference(first, tests, second) <= colours
    first, second, bits = first[close], second[close], bits[close]
    if confirm is None:
        return first, second, bits, np.full(len(first), np.nan, dtype=np.float32)
    cosine, counts = confirm(first, second)
    return first[counts], second[counts], bits[counts], cosine[counts]


def _equal_pixels(candidates: Fingerprints, tests: Fingerprints) -> tuple[np.ndarray, np.ndarray]:
    """Rows of candidates and of the first test image with the same pixels."""
    count = len(tests.plain)
    if not count:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    first, groups = collapse(np.concatenate([tests.pixels, candidates.pixels]))
    first_rows = first[groups[count:]]  # the first row with these pixels: a test image, if one has them
    rows = np.flatnonzero(first_rows < count)
    return rows, first_rows[rows]
