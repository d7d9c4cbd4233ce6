"""Who wins, who goes, and how test images are matched."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from pipeline.recipe.images import ImageDuplicates
from pipeline.stages.dedup_images.clusters import winners
from pipeline.stages.dedup_images.duplicates import find_copies
from pipeline.stages.dedup_images.matching import Fingerprints, nearest
from pipeline.stages.score.fingerprint import fingerprint
from tests.pipeline.stages.dedup_images.test_image_fingerprint import scene

WHITE = Image.new("RGB", (64, 64), "white")


def prints(images: list[Image.Image]) -> Fingerprints:
    fingerprints = [fingerprint(np.asarray(image.convert("RGB"))) for image in images]
    names = ("image_hash", "mirror_hash", "pixels_sha256")
    return Fingerprints.decode(*([getattr(image_print, name) for image_print in fingerprints] for name in names))


def one_by_one(edges: set[tuple[int, int]], rank: np.ndarray, eligible: np.ndarray) -> list[int]:
    """The definition of `winners`, as plainly as it can be put."""
    near = {node: {b for a, b in edges if a == node} | {a for a, b in edges if b == node} for node in range(len(rank))}
    kept: list[int] = []
    for node in np.argsort(rank):
        if eligible[node] and not near[node] & set(kept):
            kept.append(int(node))
    best = [min(near[node] & set(kept), key=lambda neighbour: rank[neighbour], default=-1) for node in range(len(rank))]
    return [-1 if node in kept else best[node] for node in range(len(rank))]


@pytest.mark.parametrize("seed", range(20))
def test_winners_are_those_of_going_through_them_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = {(int(min(p)), int(max(p))) for p in rng.integers(0, 60, (70, 2)) if p[0] != p[1]}
    rank, eligible = rng.permutation(60), rng.random(60) < 0.7
    first, second = np.array(sorted(edges)).T
    assert winners(first, second, rank, eligible).tolist() == one_by_one(edges, rank, eligible)


def test_chains_make_no_cluster() -> None:
    winner = winners(np.array([0, 1, 2]), np.array([1, 2, 3]), np.array([0, 1, 2, 3]), np.ones(4, dtype=bool))
    assert winner.tolist() == [-1, 0, -1, 2]


def test_the_best_of_a_picture_stays_and_copies_name_it() -> None:
    a, b = scene(1), scene(2)
    images = [a, b, a.resize((224, 224)), ImageOps.mirror(a), a.copy(), WHITE, WHITE, ImageOps.mirror(b)]
    rank = np.array([3, 6, 0, 2, 1, 5, 4, 7])
    copies = find_copies(prints(images), rank, np.ones(8, dtype=bool), ImageDuplicates())
    assert copies.winner.tolist() == [2, -1, -1, 2, 2, 6, -1, 1]
    assert copies.exact.tolist() == [False, False, False, False, False, True, False, False]
    assert copies.bits[7] <= 2


def test_who_cannot_win_goes_but_takes_nobody_along() -> None:
    images = [scene(1), scene(1).resize((200, 200)), scene(2), scene(2)]
    eligible = np.array([False, True, False, False])
    copies = find_copies(prints(images), np.arange(4), eligible, ImageDuplicates())
    assert copies.winner.tolist() == [1, -1, -1, -1]


def test_without_a_distance_only_equal_pixels_count() -> None:
    images = [scene(1), scene(1), scene(1).resize((300, 300))]
    copies = find_copies(prints(images), np.arange(3), np.ones(3, dtype=bool), ImageDuplicates(distance=None))
    assert copies.winner.tolist() == [-1, 0, -1]
    assert copies.exact.tolist() == [False, True, False]


def test_colours_tell_apart_what_has_one_shape() -> None:
    hearts = []
    for colour in ((220, 30, 40), (40, 90, 235)):
        image = Image.new("RGB", (224, 224), "white")
        ImageDraw.Draw(image).polygon([(40, 60), (90, 30), (112, 70), (150, 20), (190, 80), (112, 200)], fill=colour)
        hearts.append(image)
    limits = {colours: ImageDuplicates(colours=colours, distance=32) for colours in (32, 255)}
    everyone = np.ones(2, dtype=bool)
    assert find_copies(prints(hearts), np.arange(2), everyone, limits[32]).winner.tolist() == [-1, -1]
    assert find_copies(prints(hearts), np.arange(2), everyone, limits[255]).winner.tolist() == [-1, 0]


def test_the_nearest_test_image_is_named_and_equal_pixels_come_first() -> None:
    tests = prints([scene(1).resize((100, 100)), scene(2), scene(1), WHITE])
    candidates = prints(
        [scene(1), ImageOps.mirror(scene(2).resize((150, 150))), scene(3), WHITE, Image.new("L", (9, 9))]
    )
    rows, bits, _ = nearest(candidates, tests, 24, 32)
    assert rows.tolist() == [2, 1, -1, 3, -1]
    assert bits[0] == bits[3] == -1
    assert 0 <= bits[1] <= 8


def test_no_candidates_and_no_tests_are_fine() -> None:
    scenes, none = prints([scene(1)]), prints([])
    assert nearest(scenes, none, 24, 32)[0].tolist() == [-1]
    assert nearest(none, scenes, 24, 32)[0].tolist() == []
    assert (
        find_copies(none, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool), ImageDuplicates()).winner.tolist() == []
    )
