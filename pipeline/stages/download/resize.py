"""An image file of any common kind becomes an RGB JPEG of the recipe's size.

The rule: a JPEG in RGB or greyscale goes through OpenCV, which can decode at half, quarter or eighth size; every other
format, and any JPEG that OpenCV does not take whole, goes through Pillow. Equal bytes take equal paths, so they always
become equal bytes (for given versions of the two).
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from PIL import AvifImagePlugin, Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from foundation.failure import Failure
from pipeline.recipe.download import Download

_PLUGINS = (AvifImagePlugin, TiffImagePlugin, WebPImagePlugin)  # imported because Pillow finds the rest by itself
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
"""What is decoded. Short on purpose: each decoder is exposed to what strangers send."""

MAX_JPEG_SIDE = 65_500  # libjpeg's JPEG_MAX_DIMENSION
_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 swap width and height
_REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
_TURNS = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}
_MIRRORS = {2: 1, 4: 0}  # cv2.flip codes: horizontally, vertically


_FRAGMENT = re.compile(r"#xywh=(?:pixel:)?(-?\d{1,9}),(-?\d{1,9}),(\d{1,9}),(\d{1,9})$")


class Box(NamedTuple):
    """A rectangle in pixels from the upper left corner of the image as a viewer shows it."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Resized:
    """A JPEG with its size in pixels, and the size of its original as a viewer shows it (EXIF orientation applied)."""

    jpeg: bytes
    width: int
    height: int
    original_width: int
    original_height: int


def crop_of(url: str | None) -> Box | None:
    """The part of the image that a url names by a spatial media fragment in pixels (W3C Media Fragments 1.0, 4.2.2)."""
    fragment = _FRAGMENT.search(url or "")
    return Box(*map(int, fragment.groups())) if fragment else None


def resize(data: bytes, config: Download, crop: Box | None = None) -> Resized:
    """`data` as the recipe wants it, or the part of it inside `crop`, whose size then counts as the original's.

    Orientation is applied, transparency flattened onto white, the first frame of an animation taken; ICC profiles and
    other metadata are dropped. What of a crop lies outside the image is cut off.

    Raises:
        Failure: not_an_image, truncated_image, too_many_pixels, too_small, crop_outside.
    """
    with _opened(data) as image:
        width, height = image.size
        if width * height > config.max_pixels:
            raise Failure("too_many_pixels", f"{width} x {height}")
        if crop is not None:
            return _resized_crop(data, image, crop, config)
        _check_side(width, height, config)
        wanted = _target((width, height), config)
        pixels = _fitted(_decoded(data, image, wanted), wanted, config)
        orientation = _orientation(image)  # after decoding: Pillow turns TIFFs itself, and PNG may hold EXIF at its end
    pixels = _oriented(pixels, orientation)
    if orientation >= 5:
        width, height = height, width
    return Resized(_encoded(pixels, config), pixels.shape[1], pixels.shape[0], width, height)


def _resized_crop(data: bytes, image: Image.Image, crop: Box, config: Download) -> Resized:
    """The image is decoded in full and turned upright first: a crop is in pixels of what a viewer shows."""
    pixels = _decoded(data, image, image.size)
    pixels = _oriented(pixels, _orientation(image))
    left, top = max(crop.x, 0), max(crop.y, 0)
    right, bottom = min(crop.x + crop.width, pixels.shape[1]), min(crop.y + crop.height, pixels.shape[0])
    width, height = right - left, bottom - top
    if min(width, height) < 1:
        raise Failure("crop_outside", f"{tuple(crop)} of {pixels.shape[1]} x {pixels.shape[0]}")
    _check_side(width, height, config)
    pixels = _fitted(pixels[top:bottom, left:right], _target((width, height), config), config)
    return Resized(_encoded(pixels, config), pixels.shape[1], pixels.shape[0], width, height)


def _check_side(width: int, height: int, config: Download) -> None:
    if min(width, height) < max(config.min_side, 1):
        raise Failure("too_small", f"{width} x {height}")


def _encoded(pixels: np.ndarray, config: Download) -> bytes:
    written, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, config.jpeg_quality])
    if not written:
        raise Failure("other", "the JPEG encoder refused the image")
    return bytes(jpeg.tobytes())


def _opened(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:  # Pillow's own limit, above any sensible max_pixels
        raise Failure("too_many_pixels", str(error)) from error
    except UnidentifiedImageError as error:
        raise Failure("not_an_image", f"begins with {data[:12]!r}") from error
    except Exception as error:  # decoders raise anything on hostile headers: struct.error, KeyError, SyntaxError…
        raise Failure("not_an_image", f"{type(error).__name__}: {error}") from error


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 when absent or unreadable."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # broken EXIF is common and no reason to lose the image; Pillow raises many types here
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _decoded(data: bytes, image: Image.Image, wanted: tuple[int, int]) -> np.ndarray:
    """uint8 BGR of shape (height, width, 3), perhaps reduced, but no side to less than `wanted`."""
    if image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L") and _ends(data):
        flags = _REDUCED.get(_reduction(image.size, wanted), cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if pixels is not None:
            return pixels
    return _by_pillow(image)


def _ends(data: bytes) -> bool:
    """Whether a JPEG's end marker comes after its last scan (decoders fill a cut image with grey)."""
    return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")


def _reduction(size: tuple[int, int], wanted: tuple[int, int]) -> int:
    """The largest of 8, 4, 2 by which both sides may be divided at decoding; 1 when none."""
    return next((by for by in (8, 4, 2) if size[0] // by >= wanted[0] and size[1] // by >= wanted[1]), 1)


def _by_pillow(image: Image.Image) -> np.ndarray:
    try:
        image.load()
        rgb = _flattened(image)
    except Failure:
        raise
    except Image.DecompressionBombError as error:
        raise Failure("too_many_pixels", str(error)) from error
    except Exception as error:  # each decoder has its own exceptions, SyntaxError and struct.error among them
        early = "truncat" in str(error).lower() or isinstance(error, EOFError)
        raise Failure("truncated_image" if early else "not_an_image", f"{type(error).__name__}: {error}") from error
    return np.ascontiguousarray(np.asarray(rgb)[:, :, ::-1])


def _flattened(image: Image.Image) -> Image.Image:
    """RGB of any mode, on white where it is transparent."""
    if image.mode.startswith("I"):  # 16 bits of grey; Pillow's own conversion would clip at 255
        grey = np.asarray(image).astype(np.int64)
        return Image.fromarray((grey >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise Failure("not_an_image", "floating-point samples have no defined range")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(layer, mask=layer.getchannel("A"))
    return white


def _target(size: tuple[int, int], config: Download) -> tuple[int, int]:
    """Width and height that an image of `size` is scaled to, before it is cropped or padded.

    Raises Failure too_many_pixels: a thin image whose shorter side is to grow can become huge.
    """
    if config.resize == "squash":
        return config.image_size, config.image_size
    side = max(size) if config.resize == "border" else min(size)
    width, height = (max(1, round(length * config.image_size / side)) for length in size)
    if width * height > config.max_pixels or max(width, height) > MAX_JPEG_SIDE:
        raise Failure("too_many_pixels", f"{width} x {height} after resizing")
    return width, height


def _fitted(pixels: np.ndarray, wanted: tuple[int, int], config: Download) -> np.ndarray:
    pixels = _scaled(pixels, *wanted)
    size = config.image_size
    down, right = size - pixels.shape[0], size - pixels.shape[1]  # what is lacking, or too much where negative
    if config.resize == "center_crop":
        top, left = -down // 2, -right // 2
        return pixels[top : top + size, left : left + size]
    if config.resize == "border":
        edges = (down // 2, down - down // 2, right // 2, right - right // 2)
        return cv2.copyMakeBorder(pixels, *edges, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    return pixels


def _scaled(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Sides that shrink are averaged over areas, then sides that grow are interpolated (as img2dataset does each)."""
    small = min(pixels.shape[1], width), min(pixels.shape[0], height)
    if small != (pixels.shape[1], pixels.shape[0]):
        pixels = cv2.resize(pixels, small, interpolation=cv2.INTER_AREA)
    if small != (width, height):
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LANCZOS4)
    return pixels


def _oriented(pixels: np.ndarray, orientation: int) -> np.ndarray:
    if orientation in _TURNS:
        return cv2.rotate(pixels, _TURNS[orientation])
    if orientation in _MIRRORS:
        return cv2.flip(pixels, _MIRRORS[orientation])
    if orientation == 5:
        return cv2.transpose(pixels)
    if orientation == 7:
        return cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180)
    return pixels
