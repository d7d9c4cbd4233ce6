from __future__ import annotations

import io

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as F
from PIL import Image
from pydantic import ValidationError
from torchvision.transforms import AutoAugment, Compose, InterpolationMode, Normalize, Resize, ToTensor

from trainer.data.augment import (
    MEAN,
    SAMPLES,
    STD,
    AugmentConfig,
    BrokenImage,
    Transform,
    auto_augment,
    crop,
    decode,
    normalise,
    resized,
    uniform_samples,
)
from trainer.data.operations import FILL, POLICY, SIGNED, apply

NAMES = sorted({name for policy in POLICY for name, _, _ in policy})


def picture(number: int = 0, width: int = 64, height: int = 48) -> Image.Image:
    coarse = np.random.default_rng(number).integers(30, 220, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG") -> bytes:
    content = io.BytesIO()
    image.save(content, kind)
    return content.getvalue()


def torchvisions(name: str, image: Image.Image, magnitude: int | None, turned: bool) -> Image.Image:
    """The same operation by torchvision on a Pillow image."""
    strength = (magnitude or 0) / 9 * (-1 if turned and name in SIGNED else 1)
    return {
        "Rotate": lambda: F.rotate(image, 30 * strength, fill=FILL),
        "ShearX": lambda: F.affine(
            image, 0, [0, 0], 1, [float(np.degrees(np.arctan(0.3 * strength))), 0], fill=FILL, center=[0, 0]
        ),
        "Brightness": lambda: F.adjust_brightness(image, 1 + 0.9 * strength),
        "Contrast": lambda: F.adjust_contrast(image, 1 + 0.9 * strength),
        "Color": lambda: F.adjust_saturation(image, 1 + 0.9 * strength),
        "Sharpness": lambda: F.adjust_sharpness(image, 1 + 0.9 * strength),
        "Posterize": lambda: F.posterize(image, 8 - round(4 * strength)),
        "Solarize": lambda: F.solarize(image, 255 * (1 - strength)),
        "AutoContrast": lambda: F.autocontrast(image),
        "Equalize": lambda: F.equalize(image),
        "Invert": lambda: F.invert(image),
    }[name]()


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_operations_agree_with_torchvision(name, turned):
    image = picture(1)
    for magnitude in (0, 3, 4, 8, 9):
        ours = apply(name, np.asarray(image), magnitude, turned).astype(int)
        expected = np.asarray(torchvisions(name, image, magnitude, turned)).astype(int)
        difference = np.abs(ours - expected)
        if name in ("Rotate", "ShearX"):  # nearest neighbour: ties and borders may fall to the other side
            assert (difference.max(axis=2) > 12).mean() < 0.03
            assert difference.mean() < 1.5
        else:
            assert difference.max() <= (
                0 if name in ("Posterize", "Solarize", "Invert", "Equalize", "AutoContrast") else 2
            )


def test_operations_on_an_image_of_one_colour():
    plain = np.full((8, 8, 3), 77, dtype=np.uint8)
    assert (apply("Equalize", plain, None) == 77).all()
    assert (apply("AutoContrast", plain, None) == 77).all()


def test_magnitudes_are_those_of_torchvision():
    space = AutoAugment()._augmentation_space(10, (224, 224))
    assert space["Posterize"][0].tolist() == [8 - round(4 * k / 9) for k in range(10)]
    for name, top in {
        "Rotate": 30,
        "ShearX": 0.3,
        "Brightness": 0.9,
        "Color": 0.9,
        "Contrast": 0.9,
        "Sharpness": 0.9,
    }.items():
        assert space[name][1] == (name in SIGNED)
        assert space[name][0].tolist() == pytest.approx([top * k / 9 for k in range(10)])
    assert space["Solarize"][0].tolist() == pytest.approx([255 * (1 - k / 9) for k in range(10)], abs=1e-4)
    assert len(POLICY) == 25


def test_sub_policies_and_operations_come_as_often_as_the_policy_says():
    image, samples = np.asarray(picture(2)), uniform_samples(0, 0, np.arange(4000))
    changed = np.mean([not np.array_equal(auto_augment(image, row[23:]), image) for row in samples])
    # Colour at magnitude 0 is the only operation of the policy that never changes anything.
    left_alone = [np.prod([1 - p * ((name, m) != ("Color", 0)) for name, p, m in policy]) for policy in POLICY]
    expected = 1 - np.mean(left_alone)
    assert changed == pytest.approx(expected, abs=0.03)


def test_samples_depend_on_seed_epoch_and_pair_alone():
    together = uniform_samples(1, 2, np.arange(100))
    assert together.shape == (100, SAMPLES)
    assert (together[[7]] == uniform_samples(1, 2, np.array([7]))).all()
    assert (together != uniform_samples(1, 3, np.arange(100))).all()
    assert (together != uniform_samples(2, 2, np.arange(100))).all()
    assert 0 <= together.min() < 0.01
    assert 0.99 < together.max() < 1
    assert np.abs(np.corrcoef(uniform_samples(0, 0, np.arange(5000)).T) - np.eye(SAMPLES)).max() < 0.08


def test_crops_are_inside_and_of_the_asked_area():
    config = AugmentConfig(scale=(0.5, 0.8), ratio=(0.75, 4 / 3))
    boxes = np.array([crop(320, 240, config, row) for row in uniform_samples(0, 0, np.arange(500))])
    left, top, width, height = boxes.T
    assert left.min() >= 0
    assert (left + width).max() <= 320
    assert (top + height).max() <= 240
    shares = width * height / (320 * 240)
    assert 0.49 < shares.min() < 0.53
    assert 0.77 < shares.max() < 0.81
    assert (width / height).min() > 0.74
    assert len(set(left.tolist())) > 50


def test_a_crop_that_cannot_fit_is_the_middle():
    assert crop(1000, 10, AugmentConfig(), uniform_samples(0, 0, np.arange(1))[0]) == (493, 0, 13, 10)
    assert crop(1, 1, AugmentConfig(), uniform_samples(0, 0, np.arange(1))[0]) == (0, 0, 1, 1)


def test_evaluation_is_chinese_clips_transformation():
    image = Image.open(io.BytesIO(encoded(picture(3, 90, 50))))
    expected = Compose(
        [Resize((32, 32), InterpolationMode.BICUBIC), ToTensor(), Normalize((0.48145466, 0.4578275, 0.40821073), STD)]
    )
    pixels = Transform(32, None)(encoded(picture(3, 90, 50)), uniform_samples(0, 0, np.arange(1))[0])
    ours = normalise(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None])
    torch.testing.assert_close(ours[0], expected(image.convert("RGB")), rtol=0, atol=2e-6)
    assert MEAN[0] == 0.48145466


@pytest.mark.parametrize("size", [(64, 48), (200, 300), (20, 20)])
def test_resizing_is_pillows(size):
    image = picture(4, *size)
    expected = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(resized(np.asarray(image), 32).astype(int) - expected).max() <= 2


def test_flips_happen_as_often_as_asked():
    content, samples = encoded(picture(5)), uniform_samples(0, 0, np.arange(200))
    upright = AugmentConfig(scale=(1, 1), ratio=(4 / 3, 4 / 3), auto_augment=False, flip=0)
    plain = Transform(32, upright)(content, samples[0])
    flipped = [Transform(32, upright.model_copy(update={"flip": 0.25}))(content, row) for row in samples]
    share = np.mean([np.array_equal(pixels, plain[:, ::-1]) for pixels in flipped])
    assert all(np.array_equal(pixels, plain) or np.array_equal(pixels, plain[:, ::-1]) for pixels in flipped)
    assert share == pytest.approx(0.25, abs=0.08)


def test_broken_images_are_told_from_others():
    intact = encoded(picture(6))
    for content in (b"", b"no image", intact[: len(intact) // 2], intact[:30]):
        with pytest.raises(BrokenImage):
            decode(content)
    assert decode(encoded(picture(6).convert("CMYK"))).mode == "RGB"
    assert decode(encoded(picture(6).convert("L"), "PNG")).mode == "RGB"


def test_configuration_refuses_ranges_that_are_none():
    with pytest.raises(ValidationError, match="from low to high"):
        AugmentConfig(scale=(0.9, 0.5))
    with pytest.raises(ValidationError):
        AugmentConfig(flip=1.5)
