"""A 64-bit perceptual hash of an image: copies that were resized or recompressed differ in few bits.

The construction is the DCT hash of Zauner's thesis ("Implementation and Benchmarking of Perceptual Image Hash
Functions", 2010) in the form that the ImageHash package's `phash` made common, so the strings compare with its own.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

SIDE = 32  # pixels; the grey image that the transform sees
KEPT = 8  # lowest frequencies kept on each axis: 8 x 8 = 64 bits

_frequency, _sample = np.meshgrid(np.arange(KEPT), np.arange(SIDE), indexing="ij")
_COSINES = 2 * np.cos(np.pi * _frequency * (2 * _sample + 1) / (2 * SIDE))  # DCT-II, float64 (KEPT, SIDE)


def perceptual_hash(image: Image.Image) -> str:
    """16 hexadecimal digits: bit set where a low DCT frequency of the grey 32 x 32 image is above their median.

    Bits run row by row from the constant term; the first is the most significant.
    """
    grey = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS), dtype=np.float64)
    # Grey levels are integers, so real differences are far above 1e-6; an even image gives exact zeros, not noise.
    low = np.round(_COSINES @ grey @ _COSINES.T, 6)
    return np.packbits(low > np.median(low)).tobytes().hex()


def differing_bits(one: str, other: str) -> int:
    """How many of the 64 bits differ between two hashes of `perceptual_hash`; about 32 for unrelated images."""
    return (int(one, 16) ^ int(other, 16)).bit_count()
