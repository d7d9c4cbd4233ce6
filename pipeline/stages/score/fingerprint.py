"""What an image is recognised by: SHA-256 of its pixels for equality, and a hash of 192 bits for near copies.

The hash is of the image's light and dark only. 64 bits are the DCT hash of Zauner's thesis ("Implementation and
Benchmarking of Perceptual Image Hash Functions", 2010); 128 are the signs of the differences between neighbours in an
8 x 8 grid, across and down ("difference hash"). Neither is new. Together they are better than either, or than one of
them at 256 bits: see `python -m benchmarks.image_duplicates`. A second hash is that of the mirror image.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from foundation.lazy import cv2

HASH_BITS = 192
HASH_BYTES = HASH_BITS // 8
WORDS = HASH_BITS // 64
COLOURS = 12  # bytes: mean red, green, blue of the four quarters
PLAIN_BELOW = 12  # set gradient bits; an image with fewer is a plain surface, on which noise decides
MARGIN = 2.0  # grey levels of 255 by which neighbours must differ; JPEG noise of a plain surface stays below
SIDE, KEPT = 32, 8  # DCT: pixels on a side, and the lowest frequencies kept on each axis

_frequency, _sample = np.meshgrid(np.arange(KEPT), np.arange(SIDE), indexing="ij")
_COSINES = np.cos(np.pi * _frequency * (2 * _sample + 1) / (2 * SIDE))  # DCT-II, float64 (KEPT, SIDE)
_MIRROR = np.where(np.arange(KEPT) % 2, -1.0, 1.0)  # what mirroring does to a DCT coefficient of a column


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Strings of hexadecimal digits, as they stand in score/*.parquet."""

    image_hash: str  # 48 digits: 64 bits of DCT, 64 of differences across, 64 down; then 24 digits: colours of quarters
    mirror_hash: str  # 48 digits: the hash of the mirror image
    pixels_sha256: str  # 64 digits: of the decoded pixels; metadata and file format do not matter


COLUMNS = ("image_hash", "mirror_hash", "pixels_sha256")


def fingerprint(pixels: np.ndarray) -> Fingerprint:
    """The fingerprint of RGB `pixels`, uint8 (height, width, 3)."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    dct = np.round(_COSINES @ _shrunk(grey, SIDE, SIDE) @ _COSINES.T, 6)  # exact zeros, not noise, on even images
    across, down = _shrunk(grey, KEPT + 1, KEPT), _shrunk(grey, KEPT, KEPT + 1)
    quarters = np.rint(_shrunk(pixels, 2, 2)).astype(np.uint8)
    size = np.array(pixels.shape, dtype="<u4").tobytes()
    return Fingerprint(
        _bits(dct, across, down).tobytes().hex() + quarters.tobytes().hex(),
        _bits(dct * _MIRROR, across[:, ::-1], down[:, ::-1]).tobytes().hex(),
        hashlib.sha256(size + np.ascontiguousarray(pixels).tobytes()).hexdigest(),
    )


def decode_hashes(texts: list[str]) -> np.ndarray:
    """uint64 (n, 3): the hashes of strings that begin with 48 hexadecimal digits."""
    data = bytes.fromhex("".join(text[: 2 * HASH_BYTES] for text in texts))
    return np.frombuffer(data, dtype=">u8").reshape(-1, WORDS).astype(np.uint64)


def decode_colours(texts: list[str]) -> np.ndarray:
    """uint8 (n, 4, 3): mean red, green, blue of the quarters (upper left, upper right, lower left, lower right)."""
    data = bytes.fromhex("".join(text[2 * HASH_BYTES :] for text in texts))
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, 4, 3)


def decode_sha256(texts: list[str]) -> np.ndarray:
    """uint64 (n, 2): the first 128 bits of SHA-256 hashes in hexadecimal."""
    data = bytes.fromhex("".join(text[:32] for text in texts))
    return np.frombuffer(data, dtype=">u8").reshape(-1, 2).astype(np.uint64)


def mirrored_colours(colours: np.ndarray) -> np.ndarray:
    """`decode_colours` of the mirror images."""
    return colours[:, [1, 0, 3, 2]]


def differing_bits(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """int64 of the broadcast leading shape: differing bits of uint64 (…, 3) hashes; about 96 for unrelated images."""
    return np.bitwise_count(first ^ second).sum(axis=-1, dtype=np.int64)


def is_plain(hashes: np.ndarray, mirrors: np.ndarray) -> np.ndarray:
    """bool (n,): images without enough structure to be told from each other by a hash: a sky, a blank page."""
    return np.bitwise_count(hashes[:, 1:]).sum(1) + np.bitwise_count(mirrors[:, 1]) < PLAIN_BELOW


def _shrunk(image: np.ndarray, width: int, height: int) -> np.ndarray:
    # Floats before shrinking: means of bytes would be rounded, and rounding is not the same in a mirror image.
    return cv2.resize(image.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA).astype(np.float64)


def _bits(dct: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """uint8 (24,): the 192 bits, the first one the most significant."""
    parts = (dct > np.median(dct), np.diff(across, axis=1) > MARGIN, np.diff(down, axis=0) > MARGIN)
    return np.packbits(np.concatenate([part.ravel() for part in parts]))
