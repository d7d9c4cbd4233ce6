"""Images as the model sees them: random crop, AutoAugment and normalisation; what is random is a function of the pair alone."""

from __future__ import annotations

import io
import math
import struct
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import model_validator
from torch import Tensor

from foundation.config import Config, value
from trainer.data.operations import POLICY, Pixels, apply
from trainer.data.order import hashed

MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Of RGB in [0, 1], as OpenAI's CLIP has it and Chinese-CLIP takes it over."""
STD = (0.26862954, 0.26130258, 0.27577711)
"""Likewise the standard deviation."""
SAMPLES = 32
"""Random numbers that an image may use: 10 areas, 10 ratios, 2 for the position, flip, sub-policy, 2 for each operation."""
CROPS = 10  # attempts to find a crop that fits, as in torchvision


class BrokenImage(Exception):
    """Bytes that are no whole image."""


class AugmentConfig(Config):
    """What is done to images in training (appendix A.2: random resized crop and AutoAugment)."""

    scale: tuple[float, float] = value((0.9, 1.0), "area of the crop, as a share of the image's (cn_clip)", "share")
    ratio: tuple[float, float] = value(
        (3 / 4, 4 / 3), "width over height of the crop (cn_clip, through timm's default)"
    )
    auto_augment: bool = value(True, "AutoAugment's policy for ImageNet (arXiv 1805.09501)")
    flip: float = value(
        0.5,
        "probability of a horizontal flip; cn_clip has it (by timm's default), the paper does not say; 0 keeps writing legible",
        ge=0,
        le=1,
    )

    @model_validator(mode="after")
    def _ranges_are_ranges(self) -> AugmentConfig:
        if not 0 < self.scale[0] <= self.scale[1] <= 1 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(
                f"scale within (0, 1] and ratio above 0, each from low to high; found {self.scale}, {self.ratio}"
            )
        return self


def uniform_samples(seed: int, epoch: int, pairs: np.ndarray) -> NDArray[np.float64]:
    """float64 [B, SAMPLES], uniform in [0, 1), for `pairs` (int64 [B]: positions in the epoch).

    They depend on seed, epoch and position alone, so neither workers nor restarts change an image.
    """
    bits = hashed(seed, epoch, pairs[:, None], np.arange(1_000, 1_000 + SAMPLES))  # 0 to 999 are the fallbacks' own
    return (bits >> np.uint64(11)).reshape(len(pairs), SAMPLES).astype(np.float64) * 2.0**-53


def decode(content: bytes) -> Image.Image:
    """The RGB image of an encoded one.

    Raises:
        BrokenImage: it cannot be decoded, or ends early.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd EXIF data and the like say nothing about the pixels
            return Image.open(io.BytesIO(content)).convert("RGB")
    except UnidentifiedImageError as error:
        raise BrokenImage(f"no image in these {len(content):,} bytes") from error
    except (OSError, EOFError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        raise BrokenImage(f"{type(error).__name__}: {error}") from error


class Transform:
    """Encoded image → pixels of the model's size.

    Without `augment`, as Chinese-CLIP evaluates: squashed to the square, bicubic, by Pillow. With it: crop and bicubic
    resize in one, horizontal flip, AutoAugment. Resizing always averages over the pixels it drops, as Pillow does.
    """

    def __init__(self, size: int, augment: AugmentConfig | None) -> None:
        self.size, self.augment = size, augment

    def __call__(self, content: bytes, samples: NDArray[np.float64]) -> Pixels:
        """uint8 [size, size, 3] of an encoded image; `samples` is one row of `uniform_samples`.

        Raises:
            BrokenImage: `content` is not a whole image.
        """
        image = decode(content)
        if self.augment is None:
            return np.asarray(image.resize((self.size, self.size), Image.Resampling.BICUBIC))
        left, top, width, height = crop(image.width, image.height, self.augment, samples)
        pixels = resized(np.asarray(image)[top : top + height, left : left + width], self.size)
        if samples[22] < self.augment.flip:
            pixels = np.ascontiguousarray(pixels[:, ::-1])
        return auto_augment(pixels, samples[23:]) if self.augment.auto_augment else pixels


def crop(width: int, height: int, augment: AugmentConfig, samples: NDArray[np.float64]) -> tuple[int, int, int, int]:
    """Left, top, width and height of a random crop, pixels; torchvision's rule: the first of ten that fits, else the
    largest one in the middle whose ratio is allowed."""
    area = width * height * (augment.scale[0] + (augment.scale[1] - augment.scale[0]) * samples[:CROPS])
    low, high = math.log(augment.ratio[0]), math.log(augment.ratio[1])
    ratio = np.exp(low + (high - low) * samples[CROPS : 2 * CROPS])
    widths, heights = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    if fits.any():
        first = int(fits.argmax())
        w, h = int(widths[first]), int(heights[first])
        return int(samples[20] * (width - w + 1)), int(samples[21] * (height - h + 1)), w, h
    w = max(min(width, round(height * augment.ratio[1])), 1)
    h = max(min(height, round(width / augment.ratio[0])), 1)
    return (width - w) // 2, (height - h) // 2, w, h


def resized(pixels: Pixels, size: int) -> Pixels:
    """uint8 [size, size, 3] of uint8 [H, W, 3], bicubic with antialiasing: within 2 levels of Pillow, three times as fast."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of read-only memory, which it only reads here
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    scaled = torch.nn.functional.interpolate(image, (size, size), mode="bicubic", antialias=True)
    return scaled[0].permute(1, 2, 0).contiguous().numpy()


def auto_augment(pixels: Pixels, samples: NDArray[np.float64]) -> Pixels:
    """uint8 [H, W, 3] after one of the 25 sub-policies: two operations, each with its probability and magnitude.

    `samples`: sub-policy, then for each operation whether it happens and, for signed ones, whether it is turned round.
    """
    for i, (name, probability, magnitude) in enumerate(POLICY[int(samples[0] * len(POLICY))]):
        if samples[1 + 2 * i] < probability:
            pixels = apply(name, pixels, magnitude, turned=bool(samples[2 + 2 * i] < 0.5))
    return pixels


def normalise(images: Tensor) -> Tensor:
    """float32 [B, 3, H, W] with MEAN and STD of uint8 [B, 3, H, W], on the device where that is."""
    factor = 1 / (255 * torch.tensor(STD))
    shift = -torch.tensor(MEAN) / torch.tensor(STD)
    scaled = images.to(torch.float32).mul_(factor.to(images.device)[:, None, None])
    return scaled.add_(shift.to(images.device)[:, None, None])
