"""The search finds what comparing all with all finds, whatever the hashes look like."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.stages.dedup_images import search
from pipeline.stages.dedup_images.search import collapse, near_among, near_pairs
from pipeline.stages.score.fingerprint import differing_bits


def near_copies(hashes: np.ndarray, count: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """`count` of the hashes, each with up to `most` bits changed."""
    bits = np.unpackbits(
        hashes[rng.integers(0, len(hashes), count)].astype(">u8").view(np.uint8).reshape(count, -1), axis=1
    )
    for row in bits:
        row[rng.choice(192, rng.integers(0, most + 1), replace=False)] ^= 1
    return np.packbits(bits, axis=1).view(">u8").astype(np.uint64)


def randoms(count: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 2**64, (count, 3), dtype=np.uint64)


def sorted_near_pairs(
    hashes: np.ndarray, distance: int, mirrors: np.ndarray | None = None
) -> list[tuple[int, int, int]]:
    return sorted(
        (int(i), int(j), int(b))
        for part in near_pairs(hashes, distance, mirrors)
        for i, j, b in zip(*part, strict=True)
    )


def all_with_all(hashes: np.ndarray, distance: int, mirrors: np.ndarray | None = None) -> list[tuple[int, int, int]]:
    pairs = []
    for i in range(len(hashes)):
        ways = [differing_bits(hashes[i], hashes[i + 1 :])]
        if mirrors is not None:
            ways += [differing_bits(hashes[i], mirrors[i + 1 :]), differing_bits(mirrors[i], hashes[i + 1 :])]
        bits = np.minimum.reduce(ways)
        pairs += [(i, i + 1 + int(j), int(bits[j])) for j in np.flatnonzero(bits <= distance)]
    return pairs


@pytest.mark.parametrize("distance", [0, 3, 10, 16, 24])
def test_it_agrees_with_all_against_all(distance: int) -> None:
    rng = np.random.default_rng(distance)
    hashes = randoms(3_000, rng)
    hashes = np.concatenate([hashes, near_copies(hashes, 1_000, 26, rng)])
    expected = all_with_all(hashes, distance)
    assert len(expected) > 10
    assert sorted_near_pairs(hashes, distance) == expected


def test_mirrored_copies_are_found_once_with_the_least_distance() -> None:
    rng = np.random.default_rng(5)
    hashes, mirrors = randoms(2_500, rng), randoms(2_500, rng)
    mirrors[:200] = near_copies(hashes[:200], 200, 8, rng)  # symmetric pictures
    hashes = np.concatenate([hashes, near_copies(mirrors, 400, 20, rng), near_copies(hashes, 400, 20, rng)])
    mirrors = np.concatenate([mirrors, near_copies(hashes[:2_500], 400, 20, rng), near_copies(mirrors, 400, 20, rng)])
    expected = all_with_all(hashes, 16, mirrors)
    assert len(expected) > 500
    assert sorted_near_pairs(hashes, 16, mirrors) == expected


def test_hashes_that_share_most_bits_are_divided_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures on white: a quarter of the hashes differ from each other in the last word alone."""
    monkeypatch.setattr(search, "LONG_RUN", 64)
    monkeypatch.setattr(search, "SMALL", 128)
    rng = np.random.default_rng(6)
    alike, others = randoms(1_000, rng), randoms(3_000, rng)
    alike[:, :2] = alike[0, :2]
    hashes = np.concatenate([others, alike, near_copies(alike, 300, 20, rng)])
    expected = all_with_all(hashes, 12)
    assert len(expected) > 100
    assert sorted_near_pairs(hashes, 12) == expected


def test_memory_is_bounded_by_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "CHUNK", 1 << 13)
    rng = np.random.default_rng(7)
    pieces = list(near_pairs(near_copies(randoms(1, rng), 600, 3, rng), 6))  # all are near to each other
    assert sum(len(first) for first, _, _ in pieces) == 600 * 599 // 2
    assert len(pieces) > 10
    assert max(len(first) for first, _, _ in pieces) <= search.CHUNK


def test_collapse_keeps_the_first_of_equal_rows() -> None:
    words = np.array([[5, 1, 1], [3, 0, 0], [5, 1, 1], [3, 0, 1], [3, 0, 0]], dtype=np.uint64)
    rows, groups = collapse(words)
    assert rows.tolist() == [0, 1, 3]
    assert groups.tolist() == [0, 1, 0, 2, 1]
    assert [len(part) for part in collapse(words[:0])] == [0, 0]


def test_a_million_equal_hashes_are_one_group() -> None:
    rows, groups = collapse(np.full((1_000_000, 3), 7, dtype=np.uint64))
    assert rows.tolist() == [0]
    assert groups.max() == 0


def test_near_among_compares_every_pair() -> None:
    rng = np.random.default_rng(8)
    tests = randoms(300, rng)
    candidates = np.concatenate([randoms(500, rng), near_copies(tests, 100, 30, rng)])
    first, second, bits = near_among(candidates, tests, 24)
    expected = [(i, int(j)) for i in range(600) for j in np.flatnonzero(differing_bits(candidates[i], tests) <= 24)]
    assert len(expected) > 50
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == expected
    assert (bits == differing_bits(candidates[first], tests[second])).all()
    assert [len(part) for part in near_among(candidates, tests[:0], 24)] == [0, 0, 0]
