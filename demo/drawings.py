"""Drawn images with Chinese names: six emoji sets as SVG, joined with the names and tags of Unicode's Chinese data.

The sets draw the same concepts in different styles, so a model can be trained on some styles and judged on others.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import resvg_py
from PIL import Image

from demo.packages import fetch

LICENCES = {
    "noto": "Apache-2.0",  # Noto Emoji, Google
    "noto-v1": "Apache-2.0",  # Noto Emoji, first design, Google
    "twemoji": "CC-BY-4.0",  # Twitter and the twemoji contributors
    "openmoji": "CC-BY-SA-4.0",  # HfG Schwäbisch Gmünd and contributors
    "emojione": "CC-BY-4.0",  # EmojiTwo, from EmojiOne 2
    "fluent-emoji-flat": "MIT",  # Fluent Emoji, Microsoft
}
"""The styles, each with the SPDX licence that its package states."""

SKIPPED_GROUPS = {None, 2, 9}
"""Groups of emojibase-data that are left out: regional letters, skin tones and hair, flags."""

JOINERS = (" ", "、", ",", " | ", "·")


@dataclass(frozen=True)
class Drawing:
    """One concept in one style."""

    concept: str  # English name in the set, the same for all styles
    style: str  # a key of LICENCES
    hexcode: str  # Unicode code points, lower case, joined by "-", without variation selectors
    name: str  # Chinese name
    tags: tuple[str, ...]  # Chinese tags
    group: int  # emojibase group, 0 to 8
    svg: str

    @property
    def licence(self) -> str:
        """SPDX identifier of the drawing's licence."""
        return LICENCES[self.style]


def load_drawings(styles: Iterable[str] = tuple(LICENCES), cache: Path | None = None) -> list[Drawing]:
    """All drawings of `styles` that have a Chinese name, ordered by hexcode and then by style.

    8,813 drawings of 1,644 concepts, of which 1,058 in all six styles. Fetches the packages on the first call; raises
    RuntimeError where that fails and KeyError for a style that is not in LICENCES.
    """
    modules = fetch(cache)
    unicode_names = _unicode_names(modules)
    sets = {style: _read(modules / "@iconify-json" / style / "icons.json") for style in styles if LICENCES[style]}
    named = _read(modules / "emojibase-data" / "zh" / "data.json")
    entries = sorted((_plain(entry["hexcode"]), entry) for entry in named if entry.get("group") not in SKIPPED_GROUPS)
    return [
        drawing for code, entry in entries for drawing in _in_styles(code, entry, sets, unicode_names.get(code, []))
    ]


def _in_styles(
    code: str, entry: dict[str, Any], sets: dict[str, dict[str, Any]], names: list[str]
) -> Iterator[Drawing]:
    tags = tuple(tag.strip() for tag in entry.get("tags", ()))
    for style, icons in sets.items():
        for name in names:
            if (svg := _svg(icons, name)) is not None:
                yield Drawing(names[0], style, code, entry["label"].strip(), tags, entry["group"], svg)
                break


def _unicode_names(modules: Path) -> dict[str, list[str]]:
    """hexcode → the names that the sets give it, most usual set first. Two sets state no code points themselves."""
    names: dict[str, list[str]] = {}
    for style in LICENCES:
        for code, name in _read(modules / "@iconify-json" / style / "chars.json").items():
            known = names.setdefault(code, [])
            if name not in known:
                known.append(name)
    return names


def _svg(icons: dict[str, Any], name: str) -> str | None:
    name = icons.get("aliases", {}).get(name, {}).get("parent", name)
    icon = icons["icons"].get(name)
    if icon is None:
        return None
    width, height = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
    box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
    links = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {links} width="{width}" height="{height}" viewBox="{box}">{icon["body"]}</svg>'


def _plain(hexcode: str) -> str:
    return hexcode.lower().replace("-fe0f", "")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def render(svg: str, size: int) -> Image.Image:
    """The SVG as an RGBA image of `size` by `size` pixels, transparent where nothing is drawn.

    A drawing that is not square (a few of Fluent Emoji are not) is put in the middle.
    """
    drawn = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size)))).convert(
        "RGBA"
    )
    if drawn.size == (size, size):
        return drawn
    square = Image.new("RGBA", (size, size))
    square.paste(drawn, ((size - drawn.width) // 2, (size - drawn.height) // 2))
    return square


def picture(svg: str, size: int, background: str = "#ffffff", margin: float = 0.08) -> Image.Image:
    """RGB image of `size` by `size` pixels: the drawing on a plain background, `margin` of the side left free."""
    inner = round(size * (1 - 2 * margin))
    canvas = Image.new("RGB", (size, size), background)
    drawn = render(svg, inner)
    offset = (size - inner) // 2
    canvas.paste(drawn, (offset, offset), drawn)
    return canvas


def encode(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """The image as a file's bytes; `kind` is a Pillow format name, `options` go to `Image.save`."""
    out = io.BytesIO()
    image.save(out, kind, **({"quality": 90} if kind == "JPEG" else {}) | options)
    return out.getvalue()


def caption(drawing: Drawing, rng: random.Random, shortest: int = 5, longest: int = 50) -> str | None:
    """A caption from the name and some of the tags, `shortest` to `longest` characters; None where there is none.

    The length limits are those of the paper (section 2.2: 5 to 50 characters).
    """
    tags = [tag for tag in drawing.tags if tag != drawing.name]
    rng.shuffle(tags)
    joiner = rng.choice(JOINERS)
    wanted = rng.randint(2, 6)
    words = [drawing.name]
    for tag in tags:
        if len(words) > wanted and len(joiner.join(words)) >= shortest:
            break
        if len(joiner.join([*words, tag])) <= longest:
            words.append(tag)
    text = joiner.join(words)
    return text if shortest <= len(text) <= longest else None
