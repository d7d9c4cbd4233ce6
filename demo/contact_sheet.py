"""A picture of a run: pairs it kept and pairs it dropped, with captions, scores and reasons."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from demo.packages import font

WIDTH = 1600  # pixels
COLUMNS = 8
MARGIN, GAP = 40, 16
CARD = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) // COLUMNS
PICTURE = CARD - 20
CARD_HEIGHT = PICTURE + 122
INK, FAINT, PAPER, WHITE = "#1f2430", "#7a8194", "#f4f5f8", "#ffffff"
NOT_FIRST = frozenset("、，。,.·|:：)）")
GREEN, RED = "#1e8a4c", "#c0392b"


@dataclass(frozen=True)
class Card:
    """One pair of the sheet."""

    image: bytes | None  # an image file; None, or bytes that do not decode, where there is no picture to show
    caption: str
    score: float | None = None
    reason: str = ""  # why it was dropped; empty where it was kept


def contact_sheet(kept: Sequence[Card], dropped: Sequence[Card], out: Path, subtitle: str = "") -> None:
    """Writes a PNG, 1,600 pixels wide: a section of kept and one of dropped pairs, eight in a row."""
    sections = [("保留 Kept", kept, GREEN), ("剔除 Dropped", dropped, RED)]
    heights = [86 + -(-len(cards) // COLUMNS) * (CARD_HEIGHT + GAP) for _, cards, _ in sections]
    sheet = Image.new("RGB", (WIDTH, 136 + sum(heights) + MARGIN - GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    fonts = Fonts()
    draw.text((MARGIN, 30), "zhclip", INK, fonts.of(44, "bold"))
    draw.text((MARGIN, 90), subtitle or "Chinese image-text pairs, curated", FAINT, fonts.of(22))
    top = 136
    for (title, cards, colour), height in zip(sections, heights, strict=True):
        _section(sheet, draw, fonts, top, title, cards, colour)
        top += height
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, optimize=True)


class Fonts:
    """Noto Sans SC in the sizes that are asked for."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[int, str], ImageFont.FreeTypeFont] = {}

    def of(self, size: int, weight: str = "regular") -> ImageFont.FreeTypeFont:
        """The font at `size` pixels; `weight` is "regular" or "bold"."""
        if (size, weight) not in self._loaded:
            self._loaded[size, weight] = ImageFont.truetype(str(font(weight)), size)
        return self._loaded[size, weight]


def _section(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    fonts: Fonts,
    top: int,
    title: str,
    cards: Sequence[Card],
    colour: str,
) -> None:
    draw.rounded_rectangle((MARGIN, top + 30, MARGIN + 8, top + 66), 4, fill=colour)
    draw.text((MARGIN + 22, top + 48), title, INK, fonts.of(28, "bold"), anchor="lm")
    for i, card in enumerate(cards):
        left = MARGIN + (i % COLUMNS) * (CARD + GAP)
        _card(sheet, draw, fonts, left, top + 86 + (i // COLUMNS) * (CARD_HEIGHT + GAP), card, colour)


def _card(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, fonts: Fonts, left: int, top: int, card: Card, colour: str
) -> None:
    draw.rounded_rectangle((left, top, left + CARD, top + CARD_HEIGHT), 12, fill=WHITE, outline="#e2e5ec")
    box = (left + 10, top + 10)
    picture = thumbnail(card.image, PICTURE)
    if picture is None:
        draw.rounded_rectangle((*box, box[0] + PICTURE, box[1] + PICTURE), 8, fill="#eef0f4")
        centre = (box[0] + PICTURE // 2, box[1] + PICTURE // 2)
        draw.text(centre, "无图 no image", "#a3a9b8", fonts.of(18), anchor="mm")
    else:
        sheet.paste(picture, box, _rounded(PICTURE, 8))
    text = top + PICTURE + 18
    for i, line in enumerate(wrap(card.caption, fonts.of(17), PICTURE, 3)):
        draw.text((left + 10, text + i * 23), line, INK, fonts.of(17))
    _foot(draw, fonts, left, text + 87, card, colour)


def _foot(draw: ImageDraw.ImageDraw, fonts: Fonts, left: int, middle: int, card: Card, colour: str) -> None:
    """The reason on the left, as large as fits, and the score on the right; a kept pair has only its score."""
    right = left + CARD - 10
    score = "" if card.score is None else f"{card.score:.2f}"
    draw.text((left + 10, middle), "" if card.reason else "score", FAINT, fonts.of(14), anchor="lm")
    draw.text((right, middle), score, colour if not card.reason else FAINT, fonts.of(15, "bold"), anchor="rm")
    room = PICTURE - (fonts.of(15, "bold").getlength(score) + 8 if score else 0)
    sizes = [size for size in range(15, 9, -1) if fonts.of(size, "bold").getlength(card.reason) <= room]
    draw.text((left + 10, middle), card.reason, colour, fonts.of(max(sizes, default=10), "bold"), anchor="lm")


def _rounded(side: int, radius: int) -> Image.Image:
    mask = Image.new("L", (side, side), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, side - 1, side - 1), radius, fill=255)
    return mask


def thumbnail(image: bytes | None, side: int) -> Image.Image | None:
    """An RGB square of `side` pixels, None where the bytes are no image; transparency becomes white."""
    if image is None:
        return None
    try:
        with Image.open(io.BytesIO(image)) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGBA").resize((side, side), Image.Resampling.LANCZOS)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return None
    ground = Image.new("RGBA", picture.size, WHITE)
    return Image.alpha_composite(ground, picture).convert("RGB")


def wrap(text: str, face: ImageFont.FreeTypeFont, width: int, lines: int) -> list[str]:
    """`text` cut into at most `lines` lines of at most `width` pixels; an ellipsis shows that more follows."""
    rest = " ".join(text[:400].split())
    wrapped: list[str] = []
    while rest and len(wrapped) < lines:
        length = max(1, next((n for n in range(len(rest), 0, -1) if face.getlength(rest[:n]) <= width), 1))
        if rest[length : length + 1] in NOT_FIRST and length > 2:
            length -= 1  # a separator does not begin a line: the character before it comes along
        wrapped.append(rest[:length].rstrip())
        rest = rest[length:].lstrip()
    if rest:
        last = wrapped[-1]
        while last and face.getlength(last + "…") > width:
            last = last[:-1]
        wrapped[-1] = last + "…"
    return wrapped
