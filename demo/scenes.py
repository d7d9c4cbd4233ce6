"""Pictures made of several drawings on a background, with the box of each, and the copies of a picture that the web has."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from demo.drawings import Drawing, encode, render
from demo.phrases import COLOURS

FORMS = ("same file", "resized", "recompressed", "mirrored", "cropped")
"""What a copy of a picture may look like."""

DARKER = 0.82  # of a background, from its upper edge to its lower one


@dataclass(frozen=True)
class Placed:
    """A drawing and its square in a picture, pixels from the upper left corner."""

    drawing: Drawing
    x: int
    y: int
    side: int

    def position(self, scene_width: int) -> str:
        """left, middle or right, as a person would say."""
        middle = (self.x + self.side / 2) / scene_width
        return "left" if middle < 1 / 3 else "right" if middle > 2 / 3 else "middle"


@dataclass(frozen=True)
class Scene:
    """A picture that can be rendered."""

    name: str  # unique in a world
    width: int
    height: int
    colour: str  # of the background, a key of COLOURS
    placed: tuple[Placed, ...]


def scene_of(name: str, drawings: list[Drawing], size: tuple[int, int], rng: random.Random) -> Scene:
    """Up to six drawings in a picture of `size`: one alone is large, several lie in cells of three columns and two rows."""
    width, height = size
    colour = rng.choice(list(COLOURS))
    if len(drawings) == 1:
        side = round(min(size) * rng.uniform(0.65, 0.92))
        corner = rng.randint(0, width - side), rng.randint(0, height - side)
        return Scene(name, width, height, colour, (Placed(drawings[0], *corner, side),))
    cells = rng.sample([(column, row) for column in range(3) for row in range(2)], len(drawings))
    placed = [
        _in_cell(drawing, cell, (width // 3, height // 2), rng) for drawing, cell in zip(drawings, cells, strict=True)
    ]
    return Scene(name, width, height, colour, tuple(placed))


def _in_cell(drawing: Drawing, cell: tuple[int, int], size: tuple[int, int], rng: random.Random) -> Placed:
    side = round(min(size) * rng.uniform(0.5, 0.98))
    x, y = (cell[axis] * size[axis] + rng.randint(0, size[axis] - side) for axis in (0, 1))
    return Placed(drawing, x, y, side)


def render_scene(scene: Scene) -> Image.Image:
    """The picture, RGB: each drawing in its box, on a background that grows darker from above."""
    colour = Image.new("RGB", (1, 1), COLOURS[scene.colour][1]).getpixel((0, 0))
    shade = np.linspace(1.0, DARKER, scene.height)[:, None, None] * np.array(colour)[None, None, :]
    ground = np.broadcast_to(shade, (scene.height, scene.width, 3)).round().astype(np.uint8)
    canvas = Image.fromarray(np.ascontiguousarray(ground))
    for item in scene.placed:
        drawn = render(item.drawing.svg, item.side)
        canvas.paste(drawn, (item.x, item.y), drawn)
    return canvas


def scene_file(scene: Scene) -> bytes:
    """The picture as a JPEG of quality 90."""
    return encode(render_scene(scene))


Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Change:
    """What a copy does to the pixels of its original."""

    crop: Box  # left, upper, right, lower, in the original
    size: tuple[int, int]  # of the copy
    mirrored: bool = False

    def image(self, original: Image.Image) -> Image.Image:
        """The copy."""
        cropped = original.crop(self.crop)
        cropped = cropped if cropped.size == self.size else cropped.resize(self.size, Image.Resampling.LANCZOS)
        return ImageOps.mirror(cropped) if self.mirrored else cropped

    def box(self, box: Box) -> Box:
        """Where x, y, width, height of the original lie in the copy, as far as they are there."""
        scale = self.size[0] / (self.crop[2] - self.crop[0])
        left, upper = max(box[0], self.crop[0]), max(box[1], self.crop[1])
        right, lower = min(box[0] + box[2], self.crop[2]), min(box[1] + box[3], self.crop[3])
        width, height = round((right - left) * scale), round((lower - upper) * scale)
        x, y = round((left - self.crop[0]) * scale), round((upper - self.crop[1]) * scale)
        return (self.size[0] - x - width if self.mirrored else x), y, width, height


def change_of(form: str, size: tuple[int, int], rng: random.Random) -> Change:
    """What a form does to an image of `size`; ValueError where it is not one of FORMS.

    resized: to 55 to 150% of its sides. cropped: 1 to 4% cut off at each edge.
    """
    width, height = size
    full = (0, 0, width, height)
    if form == "resized":
        scale = rng.choice((0.55, 0.7, 0.85, 1.2, 1.5))
        return Change(full, (round(width * scale), round(height * scale)))
    if form == "cropped":
        cut = [rng.uniform(0.01, 0.04) for _ in range(4)]
        left, upper, right, lower = cut[0] * width, cut[1] * height, (1 - cut[2]) * width, (1 - cut[3]) * height
        crop = round(left), round(upper), round(right), round(lower)
        return Change(crop, (crop[2] - crop[0], crop[3] - crop[1]))
    if form not in FORMS:
        raise ValueError(f"unknown form {form!r}; known: {', '.join(FORMS)}")
    return Change(full, size, form == "mirrored")


def copy_of(data: bytes, form: str, rng: random.Random) -> bytes:
    """A copy of an image file, in one of FORMS; see `change_of`.

    recompressed: JPEG of quality 25 to 50, or WebP of 40; resized, mirrored and cropped ones are saved with 88.
    """
    if form == "same file":
        return data
    with Image.open(io.BytesIO(data)) as opened:
        original = opened.convert("RGB")
    image = change_of(form, original.size, rng).image(original)
    if form != "recompressed":
        return encode(image, quality=88)
    return encode(image, quality=rng.randint(25, 50)) if rng.random() < 0.7 else encode(image, "WEBP", quality=40)
