from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from demo.drawings import LICENCES, Drawing, caption, encode, load_drawings, picture, render
from demo.images import GOOD_FORMS, image_file, pixel_bomb
from demo.packages import font


@pytest.fixture(scope="module")
def drawings() -> list[Drawing]:
    return load_drawings()


def test_all_styles_are_there_and_share_their_concepts(drawings: list[Drawing]) -> None:
    styles = Counter(drawing.style for drawing in drawings)
    assert set(styles) == set(LICENCES)
    in_all = Counter(drawing.hexcode for drawing in drawings)
    assert sum(count == 6 for count in in_all.values()) > 1000
    assert len(drawings) > 8800
    assert {drawing.licence for drawing in drawings} == {"Apache-2.0", "MIT", "CC-BY-4.0", "CC-BY-SA-4.0"}


def test_a_known_drawing_has_its_chinese_name(drawings: list[Drawing]) -> None:
    pizza = {drawing.style: drawing for drawing in drawings if drawing.hexcode == "1f355"}
    assert set(pizza) == set(LICENCES)
    assert {drawing.concept for drawing in pizza.values()} == {"pizza"}
    assert "披萨" in pizza["noto"].name + "".join(pizza["noto"].tags)


def test_captions_keep_to_the_papers_lengths(drawings: list[Drawing]) -> None:
    texts = [caption(drawing, random.Random(i)) for i, drawing in enumerate(drawings)]
    made = [text for text in texts if text is not None]
    assert len(made) > 0.95 * len(texts)
    assert {5 <= len(text) <= 50 for text in made} == {True}
    assert caption(drawings[50], random.Random(1)) == caption(drawings[50], random.Random(1))


def test_a_drawing_lies_on_its_background(drawings: list[Drawing]) -> None:
    pizza = next(drawing for drawing in drawings if drawing.hexcode == "1f355" and drawing.style == "noto")
    pixels = np.asarray(picture(pizza.svg, 96, "#eaf4fb"))
    assert pixels.shape == (96, 96, 3)
    assert pixels[0, 0].tolist() == [0xEA, 0xF4, 0xFB]
    assert pixels.std() > 20
    assert render(pizza.svg, 64).getchannel("A").getextrema() == (0, 255)


@pytest.mark.parametrize("form", GOOD_FORMS)
def test_every_good_form_decodes(drawings: list[Drawing], form: str) -> None:
    import io

    from PIL import Image

    pizza = next(drawing for drawing in drawings if drawing.hexcode == "1f355" and drawing.style == "noto")
    with Image.open(io.BytesIO(image_file(pizza.svg, form, 80, "#ffffff"))) as image:
        image.load()
        assert image.size == (80, 80)
        modes = {"transparent png": "RGBA", "grey": "L", "palette png": "P", "cmyk": "CMYK"}
        assert image.mode == modes.get(form, "P" if form == "gif" else "RGB")
        assert image.getexif().get(0x0112, 1) == (6 if form == "rotated by exif" else 1)


def test_a_pixel_bomb_is_small_and_valid() -> None:
    import io

    from PIL import Image

    bomb = pixel_bomb(3000)
    assert len(bomb) < 5000
    with Image.open(io.BytesIO(bomb)) as image:
        assert image.size == (3000, 3000)
        image.load()


def test_the_font_draws_chinese() -> None:
    from PIL import ImageFont

    face = ImageFont.truetype(str(font("bold")), 20)
    assert face.getmask("猫").getbbox() != face.getmask("狗").getbbox()
    assert bytes(face.getmask("猫")) != bytes(face.getmask("\U000e0fff"))  # not the box that stands for a missing sign


def test_encoding_is_repeatable(drawings: list[Drawing]) -> None:
    assert encode(picture(drawings[0].svg, 64)) == encode(picture(drawings[0].svg, 64))
