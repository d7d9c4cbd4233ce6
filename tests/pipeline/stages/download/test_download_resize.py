from __future__ import annotations

import io
import random

import numpy as np
import pytest
from PIL import Image, ImageOps

from foundation.failure import Failure
from pipeline.recipe.download import REASONS, Download
from pipeline.stages.download.resize import FORMATS, resize

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 30), (30, 30, 220), (255, 255, 255)


def quarters(width: int = 96, height: int = 64) -> Image.Image:
    """Red, green / blue, white."""
    image = Image.new("RGB", (width, height), WHITE)
    for box, colour in (((0, 0), RED), ((1, 0), GREEN), ((0, 1), BLUE)):
        left, top = box[0] * width // 2, box[1] * height // 2
        image.paste(colour, (left, top, left + width // 2, top + height // 2))
    return image


def smooth(width: int, height: int) -> Image.Image:
    """Waves of a few colours: something that loses nothing by being made small."""
    y, x = np.mgrid[0:height, 0:width] / 40
    planes = [np.sin(x), np.cos(y + x / 2), np.sin(y - x)]
    return Image.fromarray((np.stack(planes, -1) * 100 + 128).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(jpeg: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(jpeg)) as image:
        assert (image.format, image.mode) == ("JPEG", "RGB")
        return np.asarray(image).astype(int)


def corners(pixels: np.ndarray) -> list[tuple[int, ...]]:
    """The colours in the middles of the four quarters, by rows."""
    height, width = pixels.shape[:2]
    return [tuple(pixels[y * height // 4, x * width // 4]) for y in (1, 3) for x in (1, 3)]


def close(colours: list[tuple[int, ...]], expected: list[tuple[int, ...]], by: int = 12) -> bool:
    return bool(np.abs(np.array(colours) - np.array(expected)).max() <= by)


def reason(data: bytes, **changes: object) -> str:
    with pytest.raises(Failure) as caught:
        resize(data, Download(**changes))
    assert caught.value.reason in REASONS
    return caught.value.reason


@pytest.mark.parametrize(
    ("mode", "size", "stored"),
    [
        ("squash", (400, 200), (224, 224)),
        ("squash", (50, 20), (224, 224)),
        ("squash", (2000, 30), (224, 224)),
        ("center_crop", (400, 200), (224, 224)),
        ("center_crop", (1999, 1001), (224, 224)),
        ("keep_ratio", (400, 200), (448, 224)),
        ("keep_ratio", (1023, 767), (299, 224)),
        ("border", (400, 200), (224, 224)),
        ("border", (33, 1001), (224, 224)),
        ("squash", (1, 1), (224, 224)),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_sizes(mode: str, size: tuple[int, int], stored: tuple[int, int], kind: str) -> None:
    made = resize(encoded(smooth(*size), kind), Download(resize=mode))
    assert (made.original_width, made.original_height) == size
    assert (made.width, made.height) == stored
    assert decoded(made.jpeg).shape == (stored[1], stored[0], 3)


def test_border_pads_with_white_and_crop_takes_the_middle() -> None:
    wide = Image.new("RGB", (300, 100), RED)
    wide.paste(BLUE, (100, 0, 200, 100))
    data = encoded(wide, "PNG")
    bordered = decoded(resize(data, Download(resize="border")).jpeg)
    assert close([tuple(bordered[5, 112]), tuple(bordered[219, 112]), tuple(bordered[112, 112])], [WHITE, WHITE, BLUE])
    assert close(corners(decoded(resize(data, Download(resize="center_crop")).jpeg)), [BLUE] * 4)


@pytest.mark.parametrize("mode", ["squash", "center_crop", "keep_ratio", "border"])
@pytest.mark.parametrize(
    ("size", "difference"),
    # A size that does not divide leaves a part of a pixel over, which stretches the image by less than one pixel.
    [((1024, 768), 1.5), ((1920, 1792), 1.5), ((448, 450), 1.5), ((464, 1984), 1.5), ((1900, 1795), 6)],
)
def test_reduced_decoding_changes_nothing_that_shows(mode: str, size: tuple[int, int], difference: float) -> None:
    # The same pixels as JPEG (decoded small) and as BMP (decoded in full).
    photo = smooth(*size)
    fast = decoded(resize(encoded(photo, "JPEG", quality=98), Download(resize=mode)).jpeg)
    full = decoded(resize(encoded(photo, "BMP"), Download(resize=mode)).jpeg)
    assert fast.shape == full.shape
    assert np.abs(fast - full).mean() < difference


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(quarters(), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    made = resize(data, Download(resize="keep_ratio", image_size=64))
    assert (made.original_width, made.original_height) == upright.size
    assert (made.width, made.height) == upright.size
    assert close(corners(decoded(made.jpeg)), corners(np.asarray(upright).astype(int)))


def test_transparency_becomes_white() -> None:
    image = quarters().convert("RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    half = quarters().convert("RGBA")
    half.putalpha(Image.new("L", image.size, 128))
    pale = [tuple((value + 255) // 2 for value in colour) for colour in (RED, GREEN, BLUE, WHITE)]
    for kind in ("PNG", "WEBP", "TIFF"):
        assert close(corners(decoded(resize(encoded(image, kind), Download()).jpeg)), [WHITE] * 4)
        options = {"lossless": True} if kind == "WEBP" else {}
        assert close(corners(decoded(resize(encoded(half, kind, **options), Download()).jpeg)), pale)


def test_palettes_with_a_transparent_colour() -> None:
    palette = quarters().quantize(8)
    background = palette.getpixel((5, 5))  # red
    for kind in ("PNG", "GIF"):
        data = encoded(palette, kind, transparency=background)
        assert close(corners(decoded(resize(data, Download()).jpeg)), [WHITE, GREEN, BLUE, WHITE], by=16)


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey(mode: str) -> None:
    grey = quarters().convert("L").convert(mode)
    pixels = decoded(resize(encoded(grey, "PNG"), Download()).jpeg)
    assert np.ptp(pixels, axis=2).max() <= 2  # the three channels agree
    assert close(corners(pixels)[3:], [WHITE])


def test_grey_and_cmyk_jpegs() -> None:
    grey = decoded(resize(encoded(quarters().convert("L"), "JPEG"), Download()).jpeg)
    assert np.ptp(grey, axis=2).max() <= 2
    cmyk = decoded(resize(encoded(quarters().convert("CMYK"), "JPEG", quality=95), Download()).jpeg)
    assert close(corners(cmyk), [RED, GREEN, BLUE, WHITE], by=20)


def test_sixteen_bits_of_grey_keep_their_range() -> None:
    levels = np.repeat(np.array([[0, 21845, 43690, 65535]], np.uint16), 64, axis=0).repeat(16, axis=1)
    pixels = decoded(resize(encoded(Image.fromarray(levels), "PNG"), Download()).jpeg)
    assert np.abs(pixels[112, [28, 84, 140, 196], 0] - [0, 85, 170, 255]).max() <= 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in (RED, BLUE)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    assert close(corners(decoded(resize(data, Download()).jpeg)), [RED] * 4, by=16)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_decodes_and_repeats_itself(kind: str) -> None:
    data = encoded(quarters(), kind)
    made = resize(data, Download())
    assert close(corners(decoded(made.jpeg)), [RED, GREEN, BLUE, WHITE], by=20)
    assert resize(data, Download()).jpeg == made.jpeg


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95, 0.999])
def test_a_cut_jpeg_is_refused(options: dict[str, bool], share: float) -> None:
    data = encoded(smooth(500, 400), "JPEG", **options)
    assert reason(data[: int(len(data) * share)]) == "truncated_image"


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_other_cut_images_are_refused(kind: str) -> None:
    data = encoded(smooth(500, 400), kind)
    assert reason(data[: len(data) // 2]) in ("truncated_image", "not_an_image")


@pytest.mark.parametrize("data", [b"<html>not found</html>", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"x"])
def test_what_is_no_image(data: bytes) -> None:
    assert reason(data) in ("not_an_image", "truncated_image")


def test_bombs_are_refused_by_their_header() -> None:
    bomb = encoded(Image.new("1", (8000, 8000)), "PNG")
    assert len(bomb) < 20_000
    assert reason(bomb) == "too_many_pixels"
    # Only a header, of an image that would take 12 GB: refused although there is nothing to decode.
    header = bytearray(encoded(Image.new("RGB", (8, 8)), "BMP"))
    header[18:26] = (65_000).to_bytes(4, "little") * 2
    assert reason(bytes(header)) == "too_many_pixels"
    assert reason(encoded(smooth(101, 100), "JPEG"), max_pixels=10_000) == "too_many_pixels"
    assert resize(encoded(smooth(100, 100), "JPEG"), Download(max_pixels=10_000))


def test_a_thin_image_does_not_explode() -> None:
    assert reason(encoded(Image.new("RGB", (5000, 1)), "PNG"), resize="keep_ratio") == "too_many_pixels"


def test_too_small() -> None:
    assert reason(encoded(smooth(500, 99), "JPEG"), min_side=100) == "too_small"
    assert resize(encoded(smooth(500, 100), "JPEG"), Download(min_side=100))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_loses_nothing() -> None:
    data = encoded(quarters(), "JPEG")
    broken = data[:2] + b"\xff\xe1\x00\x14Exif\x00\x00II*\x00\xff\xff\xff\xff\x01\x02" + data[2:]
    assert close(corners(decoded(resize(broken, Download()).jpeg)), [RED, GREEN, BLUE, WHITE], by=20)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_refused_or_taken_but_nothing_else(kind: str) -> None:
    rng = random.Random(kind)
    data = encoded(quarters(), kind)
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 6)):
            damaged[rng.randrange(min(len(damaged), 400))] = rng.randrange(256)
        try:
            made = resize(bytes(damaged), Download(max_pixels=10**6))
        except Failure as failure:
            assert failure.reason in REASONS
        else:
            assert decoded(made.jpeg).shape == (224, 224, 3)
