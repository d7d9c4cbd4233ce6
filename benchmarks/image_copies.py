"""Images, what a website may do to them, and their hashes: what the benchmarks of copies share.

Drawings are the demo's; photos are whatever lies in the folders (Debian's `tuxpaint-stamps-default` and
`mate-backgrounds` hold some). A large photo is cut into 12 tiles: neighbours that share a sky are hard to tell apart.
Every image is stored as the download stage stores it, and hashed as the score stage does.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from demo.drawings import encode, load_drawings, picture
from pipeline.recipe.download import Download
from pipeline.recipe.images import ImageDuplicates
from pipeline.stages.download.resize import resize
from pipeline.stages.score.fingerprint import (
    Fingerprint,
    decode_colours,
    decode_hashes,
    differing_bits,
    fingerprint,
    is_plain,
    mirrored_colours,
)

DEFAULT_COLOURS = ImageDuplicates().colours
Change = Callable[[Image.Image, random.Random], Image.Image]


def cropped(image: Image.Image, share: float, rng: random.Random) -> Image.Image:
    """Without `share` of its width and height, from anywhere."""
    left, top = (round(size * share * rng.random()) for size in image.size)
    width, height = (round(size * (1 - share)) for size in image.size)
    return image.crop((left, top, left + width, top + height))


def scaled(image: Image.Image, factor: float) -> Image.Image:
    """Resized by `factor`."""
    return image.resize(tuple(max(8, round(size * factor)) for size in image.size), Image.Resampling.BICUBIC)


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    """Saved as JPEG and opened again."""
    return Image.open(io.BytesIO(encode(image, quality=quality)))


CHANGES: dict[str, Change] = {
    "resized to 0.5": lambda image, _: scaled(image, 0.5),
    "resized to 0.2": lambda image, _: scaled(image, 0.2),
    "JPEG quality 30": lambda image, _: recompressed(image, 30),
    "mirrored": lambda image, _: ImageOps.mirror(image),
    "cropped by 2%": lambda image, rng: cropped(image, 0.02, rng),
    "cropped by 5%": lambda image, rng: cropped(image, 0.05, rng),
    "cropped by 10%": lambda image, rng: cropped(image, 0.10, rng),
    "resized, JPEG 50": lambda image, _: recompressed(scaled(image, 0.5), 50),
    "all, cropped by 2%": lambda image, rng: recompressed(scaled(ImageOps.mirror(cropped(image, 0.02, rng)), 0.5), 50),
    "all, cropped by 5%": lambda image, rng: recompressed(scaled(ImageOps.mirror(cropped(image, 0.05, rng)), 0.5), 50),
}


class Hashed:
    """Images as they are stored, their hashes, mirror hashes and colours."""

    def __init__(self, images: Iterable[Image.Image]) -> None:
        with ThreadPoolExecutor(2) as pool:
            self.jpegs = list(pool.map(stored, images))
            fingerprints = list(pool.map(stored_fingerprint, self.jpegs))
        self.hashes = decode_hashes([fingerprint.image_hash for fingerprint in fingerprints])
        self.mirrors = decode_hashes([fingerprint.mirror_hash for fingerprint in fingerprints])
        self.colours = decode_colours([fingerprint.image_hash for fingerprint in fingerprints])
        self.plain = is_plain(self.hashes, self.mirrors)

    def compare(self, other: Hashed, rows: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Differing bits and largest difference of a quarter's colour, the better way round; 999 bits where plain."""
        bits = np.stack([differing_bits(self.hashes[rows], hashes[others]) for hashes in (other.hashes, other.mirrors)])
        colours = np.stack(
            [
                np.abs(self.colours[rows].astype(int) - colours[others]).max(axis=(1, 2))
                for colours in (other.colours, mirrored_colours(other.colours))
            ]
        )
        bits[:, self.plain[rows] | other.plain[others]] = 999
        way = bits.argmin(axis=0)
        return bits.min(axis=0), colours[way, np.arange(len(way))]


def stored(image: Image.Image) -> bytes:
    """The JPEG that the download stage makes of an image on the web."""
    return resize(encode(image.convert("RGB"), quality=92), Download()).jpeg


def stored_fingerprint(jpeg: bytes) -> Fingerprint:
    """As the score stage takes it."""
    return fingerprint(np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")))


def drawings(count: int, size: int) -> list[Image.Image]:
    """Drawings of three styles; many of one style differ in a detail only."""
    loaded = load_drawings(("noto", "fluent-emoji-flat", "twemoji"))
    random.Random(1).shuffle(loaded)
    return [picture(drawing.svg, size) for drawing in loaded[:count]]


def photos(folder: Path) -> list[Image.Image]:
    """The images of a folder on white; large ones in 12 tiles."""
    images = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")):
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
        width, height = image.size
        if min(width, height) < 150:
            continue
        if width * height < 1_500_000:
            images.append(image)
            continue
        image.thumbnail((2400, 2400))
        width, height = image.size
        images += [
            image.crop((width * i // 4, height * j // 3, width * (i + 1) // 4, height * (j + 1) // 3))
            for i in range(4)
            for j in range(3)
        ]
    return images


def middle(image: Image.Image, crop: float) -> Image.Image:
    """Without `crop` of its width and height, around the middle."""
    left, top = (round(size * crop / 2) for size in image.size)
    return image.crop((left, top, image.width - left, image.height - top))


def table_row(name: str, cells: Iterable[object]) -> None:
    """A line of the table."""
    print(f"{name:<34}" + "".join(f"{cell!s:>9}" for cell in cells), flush=True)
