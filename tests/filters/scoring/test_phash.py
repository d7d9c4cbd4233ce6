"""The perceptual hash: copies stay near, different images stay far, and the string is ImageHash's."""

from __future__ import annotations

from io import BytesIO

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageDraw

from filters.scoring.phash import differing_bits, perceptual_hash


def scene(seed: int, size: int = 320) -> Image.Image:
    """A drawn scene: shapes on a shaded ground, different for every seed."""
    rng = np.random.default_rng(seed)
    image = Image.linear_gradient("L").rotate(int(rng.integers(360))).resize((size, size)).convert("RGB")
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, width, height = rng.integers(0, size, 4)
        draw.ellipse((x, y, x + width // 2 + 8, y + height // 2 + 8), fill=tuple(rng.integers(0, 256, 3)))
    return image


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


@pytest.mark.parametrize("seed", range(8))
def test_copies_differ_in_few_bits(seed: int) -> None:
    original = scene(seed)
    digest = perceptual_hash(original)
    copies = [
        original.resize((224, 224), Image.Resampling.BICUBIC),
        recompressed(original, 60),
        original.resize((500, 480)),
    ]
    assert all(differing_bits(digest, perceptual_hash(copy)) <= 6 for copy in copies)


def test_different_images_differ_in_many_bits() -> None:
    digests = [perceptual_hash(scene(seed)) for seed in range(30)]
    distances = [differing_bits(a, b) for i, a in enumerate(digests) for b in digests[:i]]
    assert min(distances) > 6
    assert 26 < np.mean(distances) < 38  # 32 for independent bits


@pytest.mark.parametrize("seed", range(20))
def test_is_the_hash_of_the_imagehash_package(seed: int) -> None:
    image = scene(seed)
    assert perceptual_hash(image) == str(imagehash.phash(image))
    assert differing_bits(perceptual_hash(image), perceptual_hash(scene(99))) == imagehash.phash(
        image
    ) - imagehash.phash(scene(99))


def test_an_even_image_has_a_hash_without_noise() -> None:
    digests = {perceptual_hash(Image.new("RGB", (size, size), (9, 9, 9))) for size in (224, 100, 31)}
    assert digests == {"8000000000000000"}  # only the constant term is above the median, which is exactly 0
