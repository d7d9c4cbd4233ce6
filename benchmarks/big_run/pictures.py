"""What there is to know of a picture: its size, its fingerprints in each version, and a few hundred that are really drawn."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw, ImageFont

from benchmarks.big_run.captions import captions
from benchmarks.big_run.draws import Draws, shares
from benchmarks.big_run.urls import hexadecimal
from pipeline.recipe.download import Download
from pipeline.run.files import write_atomically
from pipeline.stages.download.resize import resize
from pipeline.stages.score.fingerprint import fingerprint

TEST_IMAGES = 40  # pictures 0 to 39 of the pool are those of an evaluation set
DRAWINGS = 240  # the first TEST_IMAGES of them are the evaluation set's
ASPECTS = np.array([4 / 3, 3 / 2, 1.0, 16 / 9, 3 / 4, 2 / 3, 9 / 16, 2.35, 5.0])
ASPECT_SHARES = shares([0.27, 0.16, 0.2, 0.1, 0.12, 0.08, 0.04, 0.02, 0.01])
WIDTHS = np.array([0, 640, 800, 1024, 1200, 500, 750, 300, 120])  # 0: any; the others are what sites scale to
WIDTH_SHARES = shares([0.42, 0.13, 0.14, 0.07, 0.05, 0.07, 0.05, 0.05, 0.02])
FLIPPED = 5  # bits by which a version may differ from the picture
CHARACTERS = 9  # of a caption, drawn on a picture
FONT = "NotoSansCJK-Regular.ttc"
PALETTE = "#4477aa #66ccee #228833 #ccbb44 #ee6677 #aa3377 #bbbbbb #223344 #e07a3f #7f9f6f #f4efe6 #dde6ee"


def number(ids: np.ndarray, pooled: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """uint64 (n,) below 2⁴⁸: the picture of each url; a number of its own for each, but for those that share one of a pool.

    Args:
        ids: uint64 (n,) of urls, below 2⁴⁰.
        pooled: bool (n,).
        pool: uint64 (n,), below 2⁴⁰: the picture in the pool.
    """
    return scrambled(np.where(pooled, pool | np.uint64(1 << 40), ids))


def scrambled(values: np.ndarray) -> np.ndarray:
    """uint64 (n,): a permutation of the numbers below 2⁴⁸ (an odd factor has an inverse)."""
    low = np.uint64((1 << 48) - 1)
    values = values * np.uint64(0x9E3779B97F4B) & low
    return (values ^ values >> np.uint64(23)) * np.uint64(0xBF58476D1CE5) & low


@lru_cache
def test_pictures() -> pa.Array:
    """uint64 (TEST_IMAGES,): numbers of the pictures that an evaluation set has too."""
    pool = np.arange(TEST_IMAGES, dtype=np.uint64)
    return pa.array(number(pool, np.ones(len(pool), dtype=bool), pool))


def sizes(picture: Draws) -> tuple[np.ndarray, np.ndarray]:
    """int32 (n,) width and height of the original, pixels."""
    aspect = ASPECTS[picture.pick("aspect", ASPECT_SHARES)]
    free = np.exp(6.55 + 0.55 * picture.normal("width"))
    usual = WIDTHS[picture.pick("usual width", WIDTH_SHARES)]
    aspect = np.where(usual, aspect, aspect * np.exp(0.06 * picture.normal("odd aspect")))
    width = np.clip(np.where(usual, usual, free), 40, 6000)
    return width.astype(np.int32), np.clip(width / aspect, 30, 6000).astype(np.int32)


def fingerprints(picture: np.ndarray, version: np.ndarray, seed: int) -> dict[str, pa.Array]:
    """image_hash, mirror_hash and pixels_sha256 (each string (n,)) as the score stage writes them.

    Args:
        picture: uint64 (n,).
        version: int64 (n,); 0 is the picture itself, each other differs from it in up to FLIPPED bits.
    """
    unchanged, saved = Draws(picture, seed), _versions(picture, version, seed)
    words = np.stack([unchanged.bits(f"hash {word}") for word in range(3)], axis=1)
    mirrors = np.stack([unchanged.bits(f"mirror {word}") for word in range(3)], axis=1)
    for flip in range(FLIPPED):
        position = saved.bits(f"flip {flip}")
        bit = np.where(version > 0, np.uint64(1) << (position >> np.uint64(8)) % np.uint64(64), np.uint64(0))
        rows, word = np.arange(len(picture)), (position % np.uint64(3)).astype(np.int64)
        words[rows, word] ^= bit
        mirrors[rows, word] ^= bit
    colours = [unchanged.bits("colours 0"), unchanged.bits("colours 1")]
    pixels = np.stack([saved.bits(f"pixels {word}") for word in range(4)], axis=1)
    return {
        "image_hash": hexadecimal(np.column_stack([words, *colours]), 72),
        "mirror_hash": hexadecimal(mirrors, 48),
        "pixels_sha256": hexadecimal(pixels, 64),
    }


def file_sha256(picture: np.ndarray, version: np.ndarray, seed: int) -> pa.Array:
    """string (n,): SHA-256 of the original file."""
    saved = _versions(picture, version, seed)
    return hexadecimal(np.stack([saved.bits(f"file {word}") for word in range(4)], axis=1), 64)


def _versions(picture: np.ndarray, version: np.ndarray, seed: int) -> Draws:
    return Draws(picture << np.uint64(4) | version.astype(np.uint64), seed)


@dataclass(frozen=True)
class Drawings:
    """JPEGs that really exist: in raw tars, and as an evaluation set."""

    folder: Path

    def draw(self, seed: int) -> None:
        """Writes them (about 5 KB each), the first TEST_IMAGES into a folder of their own; does nothing where they are."""
        done = self.folder / "drawn.txt"
        if done.exists():
            return
        self.evaluation_set.mkdir(parents=True, exist_ok=True)
        rng = random.Random(seed)
        texts = captions(Draws(np.arange(DRAWINGS, dtype=np.uint64), seed), np.ones(DRAWINGS, dtype=np.int64))
        for position, text in enumerate(texts.to_pylist()):
            self._path(position).write_bytes(drawing(text[:CHARACTERS], rng))
        write_atomically(done, f"{DRAWINGS} drawings, seed {seed}\n")

    @property
    def evaluation_set(self) -> Path:
        """The folder of test images."""
        return self.folder / "evaluation"

    @lru_cache  # noqa: B019  one object in a process
    def stored(self, download: Download) -> list[bytes]:
        """All of them as the download stage stores them."""
        return [resize(self._path(position).read_bytes(), download).jpeg for position in range(DRAWINGS)]

    @lru_cache  # noqa: B019
    def test_fingerprints(self, download: Download) -> dict[str, pa.Array]:
        """image_hash, mirror_hash and pixels_sha256 (each string (TEST_IMAGES,)) of the stored test images."""
        prints = []
        for jpeg in self.stored(download)[:TEST_IMAGES]:
            with Image.open(io.BytesIO(jpeg)) as image:
                prints.append(fingerprint(np.asarray(image.convert("RGB"))))
        names = ("image_hash", "mirror_hash", "pixels_sha256")
        return {name: pa.array([getattr(fingerprint, name) for fingerprint in prints]) for name in names}

    def _path(self, position: int) -> Path:
        folder = self.evaluation_set if position < TEST_IMAGES else self.folder
        return folder / f"{position:03d}.jpg"


def drawing(text: str, rng: random.Random) -> bytes:
    """A JPEG of coloured shapes, with `text` on it where the machine has Noto Sans CJK."""
    colours = PALETTE.split()
    width, height = rng.choice([(320, 240), (300, 300), (240, 320)])
    image = Image.new("RGB", (width, height), rng.choice(colours))
    pen = ImageDraw.Draw(image)
    for _ in range(rng.randint(3, 8)):
        left, top = rng.randint(-40, width - 40), rng.randint(-40, height - 40)
        box = (left, top, left + rng.randint(40, 180), top + rng.randint(40, 180))
        rng.choice([pen.ellipse, pen.rectangle])(box, fill=rng.choice(colours))
    if face := _font(26):
        bottom = (width // 2, height - 40)
        pen.text(bottom, text, font=face, anchor="mm", fill="white", stroke_width=3, stroke_fill="black")
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    return data.getvalue()


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(FONT, size)
    except OSError:
        return None
