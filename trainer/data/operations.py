"""The operations of AutoAugment on uint8 arrays: tables of 256 entries where a pixel's answer needs no neighbour.

They agree with torchvision on Pillow images (tables exactly, the others to two levels or the rounding of a nearest
neighbour) in about half the time. Areas that a rotation or shear uncovers get the mean colour, as in cn_clip.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torchvision
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""[H, W, 3] RGB, contiguous."""

POLICY: list[tuple[tuple[str, float, int | None], ...]] = torchvision.transforms.AutoAugment().policies
"""Sub-policies for ImageNet (arXiv 1805.09501, appendix): operation, probability, magnitude 0 to 9."""
SIGNED = ("Rotate", "ShearX", "Brightness", "Color", "Contrast", "Sharpness")
"""Operations that go either way."""
FILL = (123, 117, 104)
"""The mean colour of CLIP's normalisation."""
_LEVELS = np.arange(256)
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], dtype=np.float32) / 13  # Pillow's ImageFilter.SMOOTH

cv2.setNumThreads(1)  # the loader's workers are the parallelism; threads in each would only get into one another's way


def apply(name: str, pixels: Pixels, magnitude: int | None, turned: bool = False) -> Pixels:
    """`pixels` after one operation.

    Args:
        magnitude: 0 to 9, null for operations that have none; torchvision's ranges.
        turned: the other way round, for the operations in SIGNED.

    Raises:
        KeyError: no such operation.
    """
    sign = -1.0 if turned and name in SIGNED else 1.0
    return _OPERATIONS[name](pixels, sign * (magnitude or 0) / 9)


def _rotate(pixels: Pixels, strength: float) -> Pixels:
    height, width = pixels.shape[:2]
    return _warp(pixels, cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 30 * strength, 1.0), 0)


def _shear_x(pixels: Pixels, strength: float) -> Pixels:
    return _warp(pixels, np.array([[1, 0.3 * strength, 0], [0, 1, 0]]), cv2.WARP_INVERSE_MAP)


def _warp(pixels: Pixels, matrix: np.ndarray, flags: int) -> Pixels:
    size = (pixels.shape[1], pixels.shape[0])
    return cv2.warpAffine(pixels, matrix, size, flags=flags | cv2.INTER_NEAREST, borderValue=FILL)


def _blend(pixels: Pixels, other: Pixels, strength: float) -> Pixels:
    """Away from `other` for a positive strength, towards it for a negative one."""
    return cv2.addWeighted(pixels, 1 + 0.9 * strength, other, -0.9 * strength, 0)


def _blend_with_level(pixels: Pixels, level: int, strength: float) -> Pixels:
    table = level + np.float32(1 + 0.9 * strength) * (_LEVELS - level).astype(np.float32)
    return cv2.LUT(pixels, np.clip(table, 0, 255).astype(np.uint8))


def _brightness(pixels: Pixels, strength: float) -> Pixels:
    return _blend_with_level(pixels, 0, strength)


def _contrast(pixels: Pixels, strength: float) -> Pixels:
    return _blend_with_level(pixels, int(cv2.mean(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))[0] + 0.5), strength)


def _color(pixels: Pixels, strength: float) -> Pixels:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return _blend(pixels, cv2.merge((grey, grey, grey)), strength)


def _sharpness(pixels: Pixels, strength: float) -> Pixels:
    smooth = pixels.copy()
    smooth[1:-1, 1:-1] = cv2.filter2D(pixels, -1, _SMOOTH)[1:-1, 1:-1]  # Pillow leaves the border as it is
    return _blend(pixels, smooth, strength)


def _posterize(pixels: Pixels, strength: float) -> Pixels:
    dropped = round(4 * strength)  # bits; round halves to even, as torch does
    return cv2.LUT(pixels, (_LEVELS >> dropped << dropped).astype(np.uint8))


def _solarize(pixels: Pixels, strength: float) -> Pixels:
    return cv2.LUT(pixels, np.where(255 * (1 - strength) > _LEVELS, _LEVELS, 255 - _LEVELS).astype(np.uint8))


def _invert(pixels: Pixels, strength: float) -> Pixels:  # noqa: ARG001 - all operations are called alike
    return cv2.bitwise_not(pixels)


def _equalize(pixels: Pixels, strength: float) -> Pixels:  # noqa: ARG001
    return _by_channel(pixels, _equalizing)


def _auto_contrast(pixels: Pixels, strength: float) -> Pixels:  # noqa: ARG001
    return _by_channel(pixels, _stretching)


def _by_channel(pixels: Pixels, table: Callable[[np.ndarray], np.ndarray]) -> Pixels:
    counts = [cv2.calcHist([pixels], [i], None, [256], [0, 256]).ravel().astype(np.int64) for i in range(3)]
    return cv2.LUT(pixels, np.stack([table(histogram) for histogram in counts], axis=1).astype(np.uint8)[None])


def _equalizing(counts: np.ndarray) -> np.ndarray:
    """The table of ImageOps.equalize for a histogram."""
    occurring = np.flatnonzero(counts)
    step = int(counts.sum() - counts[occurring[-1]]) // 255
    if step == 0:
        return _LEVELS
    return np.minimum((step // 2 + np.cumsum(counts) - counts) // step, 255)


def _stretching(counts: np.ndarray) -> np.ndarray:
    """The table of ImageOps.autocontrast for a histogram."""
    occurring = np.flatnonzero(counts)
    low, high = int(occurring[0]), int(occurring[-1])
    if high <= low:
        return _LEVELS
    scale = 255 / (high - low)
    return np.clip(np.trunc(_LEVELS * scale - low * scale), 0, 255)


_OPERATIONS: dict[str, Callable[[Pixels, float], Pixels]] = {
    "Rotate": _rotate,
    "ShearX": _shear_x,
    "Brightness": _brightness,
    "Contrast": _contrast,
    "Color": _color,
    "Sharpness": _sharpness,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "Invert": _invert,
    "Equalize": _equalize,
    "AutoContrast": _auto_contrast,
}
