"""From stored bytes to what the image tower takes, exactly as open_clip prepares an image, in parallel threads."""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image, UnidentifiedImageError

from pipeline.stages.score.fingerprint import Fingerprint, fingerprint

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # rasters only: Pillow hands EPS to an outside program
MAX_PIXELS = 89_478_485  # Pillow's own warning level (a quarter of a gibibyte of RGB); above it, an image is refused
# What Pillow's decoders raise on hostile bytes: seen in its sources and its fuzzing reports.
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    OverflowError,
    LookupError,
    TypeError,
    NotImplementedError,
    MemoryError,
    Image.DecompressionBombError,
)
Image.init()  # all formats are registered now, and not by whichever thread comes first


@dataclass(frozen=True, slots=True)
class Decoded:
    """One image ready for the tower, or why it is not."""

    pixels: np.ndarray | None  # uint8 (height, width, 3), resized and cropped to the tower's size
    fingerprint: Fingerprint | None  # of the whole stored image
    error: str | None
    nsfw_score: float | None = None  # probability, where it was asked for


@dataclass(frozen=True, slots=True)
class Looks:
    """What is done with an image besides preparing it for the tower."""

    hide: Callable[[Image.Image], Image.Image] | None = None  # what the tower is not to see; the hash sees all
    nsfw: Callable[[Image.Image], float] | None = None


class Preprocessor:
    """open_clip's validation transform, split where pixels are bytes: geometry per image, arithmetic per batch."""

    def __init__(self, preprocess_cfg: dict[str, Any]) -> None:
        """`preprocess_cfg`: size, mean, std, interpolation, resize_mode, fill_color, as open_clip keeps on a tower."""
        *self.geometry, _to_tensor, normalize = image_transform_v2(
            PreprocessCfg(**preprocess_cfg), is_train=False
        ).transforms
        self.mean = torch.tensor(normalize.mean).view(1, 3, 1, 1)
        self.std = torch.tensor(normalize.std).view(1, 3, 1, 1)
        size = preprocess_cfg["size"]
        self.height, self.width = (size, size) if isinstance(size, int) else tuple(size)[-2:]

    def decode(self, data: bytes | memoryview, looks: Looks = Looks()) -> Decoded:
        """Decode, hash, resize and crop one image. Never raises for bad bytes: the answer holds the error."""
        try:
            image = _open(data)
            pixels = self._fit(looks.hide(image) if looks.hide else image)
            nsfw_score = looks.nsfw(image) if looks.nsfw else None
            return Decoded(pixels, fingerprint(np.asarray(image.convert("RGB"))), None, nsfw_score)
        except UnidentifiedImageError:  # its message holds a memory address, which would differ between runs
            return Decoded(None, None, "not an image in a known format" if len(data) else "empty file")
        except DECODER_ERRORS as error:
            return Decoded(None, None, f"{type(error).__name__}: {error}")

    def _fit(self, image: Image.Image) -> np.ndarray:
        if image.mode != "RGB" or image.size != (self.width, self.height):  # else every step would be the identity
            for step in self.geometry:
                image = step(image)
        return np.array(image)

    def normalize(self, pixels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """uint8 (n, height, width, 3) to (n, 3, height, width) of `dtype`: open_clip's arithmetic, in its order."""
        mean, std = self.mean.to(pixels.device), self.std.to(pixels.device)
        out = torch.empty((len(pixels), 3, self.height, self.width), dtype=dtype, device=pixels.device)
        # On a processor, a few images at a time: the floats then stay in its cache, which is three times as fast.
        images_at_once = 4 if pixels.device.type == "cpu" else max(len(pixels), 1)
        for stored, target in zip(pixels.split(images_at_once), out.split(images_at_once), strict=True):
            planes = stored.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
            target.copy_(planes.div_(255).sub_(mean).div_(std))
        return out


def _open(data: bytes | memoryview) -> Image.Image:
    image = Image.open(BytesIO(data), formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:  # known from the header, before any memory is taken
        raise ValueError(f"{image.width} x {image.height} pixels, at most {MAX_PIXELS} are decoded")
    image.load()
    return image


def decode_ahead(
    pool: Executor, decode: Callable[[bytes | memoryview], Decoded], images: Sequence[bytes | memoryview], size: int
) -> Iterator[list[Decoded]]:
    """Batches of `size` decoded images in order; while the caller works on one batch, `pool` decodes the next.

    The first batches are handed to `pool` at once, before the iterator is first advanced. At most three batches of
    pixels exist at any time.
    """
    starts = iter(range(0, len(images), size))
    waiting: deque[list[Future[Decoded]]] = deque()

    def submit() -> None:
        start = next(starts, None)
        if start is not None:
            waiting.append([pool.submit(decode, data) for data in images[start : start + size]])

    def batches() -> Iterator[list[Decoded]]:
        while waiting:
            batch = [future.result() for future in waiting.popleft()]
            submit()
            yield batch

    submit()
    submit()
    return batches()
