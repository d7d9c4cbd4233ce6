"""Fingerprints: copies stay near, other pictures stay far, mirror images are known, plain ones are named."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from pipeline.stages.score.fingerprint import (
    Fingerprint,
    decode_colours,
    decode_hashes,
    decode_sha256,
    differing_bits,
    fingerprint,
    is_plain,
    mirrored_colours,
)


def scene(seed: int, size: int = 320) -> Image.Image:
    """A drawn scene: shapes on a shaded ground, different for every seed."""
    rng = np.random.default_rng(seed)
    image = Image.linear_gradient("L").rotate(int(rng.integers(360))).resize((size, size)).convert("RGB")
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, width, height = rng.integers(0, size, 4)
        draw.ellipse((x, y, x + width // 2 + 8, y + height // 2 + 8), fill=tuple(rng.integers(0, 256, 3)))
    return image


def of(image: Image.Image) -> Fingerprint:
    return fingerprint(np.asarray(image.convert("RGB")))


def bits(left: str, right: str) -> int:
    return int(differing_bits(*decode_hashes([left, right])))


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


@pytest.mark.parametrize("seed", range(6))
def test_copies_differ_in_few_bits_and_mirrored_ones_from_the_mirror_hash(seed: int) -> None:
    original = scene(seed)
    image_print = of(original)
    for copy in (original.resize((224, 224)), original.resize((90, 130)), recompressed(original, 40)):
        assert bits(image_print.image_hash, of(copy).image_hash) <= 8
        assert bits(image_print.mirror_hash, of(ImageOps.mirror(copy)).image_hash) <= 8
    assert bits(image_print.image_hash, of(original.crop((4, 3, 316, 317))).image_hash) <= 24
    assert bits(image_print.image_hash, of(ImageOps.mirror(original)).image_hash) > 32


def test_other_pictures_differ_in_many_bits() -> None:
    hashes = decode_hashes([of(scene(seed)).image_hash for seed in range(40)])
    between = [differing_bits(hashes[i], hashes[i + 1 :]) for i in range(39)]
    assert min(row.min() for row in between) > 32
    assert 80 < np.concatenate(between).mean() < 112  # 96 for independent bits


def test_the_strings_decode_to_what_they_say() -> None:
    image = Image.new("RGB", (64, 64), (10, 20, 30))
    image.paste((200, 100, 0), (32, 0, 64, 32))
    image_print = of(image)
    assert (len(image_print.image_hash), len(image_print.mirror_hash), len(image_print.pixels_sha256)) == (72, 48, 64)
    colours = decode_colours([image_print.image_hash])
    assert colours.tolist() == [[[10, 20, 30], [200, 100, 0], [10, 20, 30], [10, 20, 30]]]
    assert (mirrored_colours(colours) == decode_colours([of(ImageOps.mirror(image)).image_hash])).all()
    assert decode_sha256([image_print.pixels_sha256])[0, 0] == int(image_print.pixels_sha256[:16], 16)


def test_pixels_alone_decide_equality() -> None:
    image = scene(1)
    png, bmp = (io.BytesIO() for _ in range(2))
    image.save(png, "PNG")
    image.save(bmp, "BMP")
    changed = image.copy()
    changed.putpixel((0, 0), (1, 2, 3))
    assert of(Image.open(png)).pixels_sha256 == of(Image.open(bmp)).pixels_sha256 != of(changed).pixels_sha256
    assert of(Image.new("RGB", (8, 4))).pixels_sha256 != of(Image.new("RGB", (4, 8))).pixels_sha256


def test_surfaces_without_structure_are_plain() -> None:
    noise = np.random.default_rng(0).integers(118, 122, (224, 224, 3)).astype(np.uint8)
    images = [Image.new("RGB", (50, 50), "white"), Image.fromarray(noise), scene(2), scene(3)]
    fingerprints = [of(image) for image in images]
    plain = is_plain(
        decode_hashes([image_print.image_hash for image_print in fingerprints]),
        decode_hashes([image_print.mirror_hash for image_print in fingerprints]),
    )
    assert plain.tolist() == [True, True, False, False]
