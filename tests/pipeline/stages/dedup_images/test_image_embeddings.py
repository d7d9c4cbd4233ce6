"""Embeddings as they are stored, and what they change about copies that hashes find."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from pipeline.recipe.images import ImageDuplicates
from pipeline.stages.dedup_images.duplicates import find_copies
from pipeline.stages.dedup_images.matching import Fingerprints, nearest
from pipeline.stages.score.embeddings import Confirmation, cosines, decode, encode
from pipeline.stages.score.fingerprint import differing_bits
from tests.pipeline.stages.dedup_images.test_image_duplicates import prints
from tests.pipeline.stages.dedup_images.test_image_fingerprint import scene

RNG = np.random.default_rng(0)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def confirmed_by(vectors: np.ndarray, least: float) -> Confirmation:
    """Of rows of float (n, dim)."""
    stored = decode([pa.chunked_array([encode(vectors)])])
    return Confirmation(least, lambda first, second: cosines(stored, first, stored, second))


def test_what_was_written_is_read_by_pyarrow_duckdb_and_polars(tmp_path: Path) -> None:
    vectors = RNG.normal(size=(5, 16)).astype(np.float32) * 40
    vectors[1], vectors[3, 4] = 0, np.nan
    path = tmp_path / "some.parquet"
    pq.write_table(pa.table({"embedding": encode(vectors)}), path)
    read = pq.read_table(path)["embedding"]
    assert read.type == pa.list_(pa.float16())
    known = [0, 2, 4]
    decoded = decode([read])
    assert decoded.shape == (5, 1, 16)
    np.testing.assert_allclose(decoded[known, 0].astype(float), unit(vectors[known]), atol=5e-4)
    assert np.isnan(decoded[[1, 3]]).all()
    from_duckdb = duckdb.sql(f"select embedding from '{path}'").to_arrow_table()["embedding"]
    np.testing.assert_array_equal(decode([from_duckdb]), decoded)
    pq.write_table(pq.read_table(path).drop_null(), tmp_path / "known.parquet")
    sql = f"select list_cosine_similarity(embedding, embedding) from '{tmp_path / 'known.parquet'}'"
    assert [row[0] for row in duckdb.sql(sql).fetchall()] == pytest.approx([1.0] * 3, abs=1e-6)
    assert pl.read_parquet(path)["embedding"].null_count() == 2


def test_cosines_take_the_better_way_round() -> None:
    plain, turned = unit(RNG.normal(size=(3, 8))), unit(RNG.normal(size=(3, 8)))
    two_ways = decode([pa.chunked_array([encode(view)]) for view in (plain, turned)])
    one_way = two_ways[:, :1]
    left, right = np.array([0, 1, 2]), np.array([1, 2, 2])
    straight = (plain[left] * plain[right]).sum(1)
    better = np.maximum.reduce([straight, (plain[left] * turned[right]).sum(1), (turned[left] * plain[right]).sum(1)])
    np.testing.assert_allclose(cosines(one_way, left, one_way, right), straight, atol=2e-3)
    np.testing.assert_allclose(cosines(two_ways, left, two_ways, right), better, atol=2e-3)
    np.testing.assert_allclose(cosines(one_way, left, two_ways, right),
                               np.maximum(straight, (plain[left] * turned[right]).sum(1)), atol=2e-3)  # fmt: skip
    assert (better > straight).any()


def test_a_picture_of_one_hash_but_another_embedding_is_no_copy() -> None:
    """Behind one fingerprint are two pictures here; one image of each stays."""
    images = [scene(1)] * 6 + [scene(2)]
    fingerprints = prints(images)
    pixels = np.arange(14, dtype=np.uint64).reshape(7, 2)
    pixels[5] = pixels[0]
    fingerprints = Fingerprints(
        fingerprints.hashes, fingerprints.mirrors, fingerprints.colours, pixels, fingerprints.plain
    )
    a, b = np.eye(8)[0], np.eye(8)[1]
    vectors = np.stack([a, b, a + 0.1 * b, b + 0.1 * a, a, a, a])
    confirm = confirmed_by(vectors, 0.9)
    rank, everyone = np.array([1, 3, 2, 0, 4, 5, 6]), np.ones(7, dtype=bool)
    copies = find_copies(fingerprints, rank, everyone, ImageDuplicates(), confirm)
    assert copies.winner.tolist() == [-1, 3, 0, -1, 0, 0, -1]
    assert copies.exact.tolist() == [False] * 5 + [True, False]
    np.testing.assert_allclose(copies.cosine[[1, 2, 4]], [0.995, 0.995, 1.0], atol=1e-3)
    assert np.isnan(copies.cosine[[0, 3, 5, 6]]).all()
    assert find_copies(fingerprints, rank, everyone, ImageDuplicates()).winner.tolist() == [3, 3, 3, -1, 3, 3, -1]


def random_prints(count: int, rng: np.random.Generator) -> tuple[Fingerprints, np.ndarray]:
    """Hashes around a few centres, and embeddings around fewer; some hashes and some pixels equal."""
    centres = rng.integers(0, 2**63, (count // 8, 3), dtype=np.uint64)
    centre_numbers = rng.integers(0, len(centres), count)
    bits = (rng.random((count, 192)) < rng.choice([0, 0.03], (count, 1))).astype(np.uint8)
    noise = np.ascontiguousarray(np.packbits(bits, axis=1)).view(">u8").astype(np.uint64)
    hashes, mirrors = centres[centre_numbers] ^ noise, rng.integers(0, 2**63, (count, 3), dtype=np.uint64)
    mirrors[:] = mirrors[0]  # far from all hashes
    same = rng.random(count) < 0.15
    pixels = np.stack([np.arange(count), np.arange(count)], axis=1).astype(np.uint64)
    first = np.array([np.flatnonzero((hashes == row).all(axis=1))[0] for row in hashes])
    pixels[same] = pixels[first[same]]
    vectors = unit(np.eye(6)[(centre_numbers + rng.integers(0, 2, count)) % 6] + 0.25 * rng.normal(size=(count, 6)))
    vectors[same] = vectors[first[same]]
    plain = np.zeros(count, dtype=bool)
    return Fingerprints(hashes, mirrors, np.zeros((count, 4, 3), dtype=np.uint8), pixels, plain), vectors


@pytest.mark.parametrize("seed", range(6))
def test_every_copy_is_confirmed_with_its_winner_and_no_two_that_stay_are_equal(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images, vectors = random_prints(300, rng)
    rank, eligible = rng.permutation(300), rng.random(300) < 0.8
    config = ImageDuplicates(distance=16)
    hashed = find_copies(images, rank, eligible, config)
    alike = find_copies(images, rank, eligible, config, confirmed_by(vectors, -1.0))
    np.testing.assert_array_equal(alike.winner, hashed.winner)  # -1 only notes cosines
    copies = find_copies(images, rank, eligible, config, confirmed_by(vectors, 0.8))
    lost = np.flatnonzero(copies.winner >= 0)
    best = copies.winner[lost]
    assert (copies.winner[best] == -1).all() and eligible[best].all()
    near = ~copies.exact[lost]
    assert near.any() and copies.exact.any()
    assert (copies.cosine[lost[near]] >= 0.8).all()
    np.testing.assert_allclose(copies.cosine[lost[near]], (vectors[lost] * vectors[best]).sum(1)[near], atol=2e-3)
    assert 0 < len(lost) < (hashed.winner >= 0).sum()
    kept = np.flatnonzero((copies.winner < 0) & eligible)
    assert len(np.unique(images.pixels[kept], axis=0)) == len(kept)
    left, right = np.triu_indices(len(kept), 1)
    bits, cosine = (
        differing_bits(images.hashes[kept[left]], images.hashes[kept[right]]),
        vectors[kept] @ vectors[kept].T,
    )
    pairs = (bits <= 16) & (cosine[left, right] >= 0.802)
    assert pairs.sum() <= 0.02 * len(lost)  # only where the best of equal fingerprints stood for another


def test_the_nearest_test_image_that_is_confirmed_is_named() -> None:
    picture, copy = scene(1), scene(1).resize((150, 150))
    tests = prints([picture.resize((100, 100)), ImageOps.mirror(picture), scene(2), picture])
    candidates = prints([copy, scene(3), picture, ImageOps.mirror(scene(2).resize((140, 140)))])
    known = {(0, 0): 0.2, (0, 1): 0.7, (0, 3): 0.95, (3, 2): np.nan}

    def cosine(candidate_rows: np.ndarray, test_rows: np.ndarray) -> np.ndarray:
        pairs = zip(candidate_rows.tolist(), test_rows.tolist(), strict=True)
        return np.array([known.get(pair, 0.0) for pair in pairs], dtype=np.float32)

    rows, bits, nearest_cosines = nearest(candidates, tests, 24, 32, Confirmation(0.9, cosine))
    assert rows.tolist() == [3, -1, 3, 2]  # the last has no embedding: its hash decides
    assert bits[2] == -1  # equal pixels ask nobody
    assert nearest_cosines[0] == pytest.approx(0.95)
    assert np.isnan(nearest_cosines[1:]).all()
    assert nearest(candidates, tests, 24, 32, Confirmation(0.99, cosine))[0].tolist() == [-1, -1, 3, 2]


def test_nothing_to_confirm_is_fine() -> None:
    confirm = confirmed_by(np.zeros((0, 4)), 0.9)
    none = np.zeros(0, dtype=np.int64)
    assert find_copies(prints([]), none, none.astype(bool), ImageDuplicates(), confirm).winner.tolist() == []
    assert nearest(prints([]), prints([scene(1)]), 24, 32, confirm)[0].tolist() == []
    white = prints([Image.new("RGB", (9, 9), "white")])
    assert find_copies(white, np.zeros(1, dtype=np.int64), np.ones(1, dtype=bool), ImageDuplicates(), confirm)
