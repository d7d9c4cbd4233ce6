"""The demo's image files: good ones in the many forms that the web has, and the broken ones."""

from __future__ import annotations

import struct
import zlib

from PIL import Image

from demo.drawings import encode, picture, render

BACKGROUNDS = ("#ffffff", "#fdf3e7", "#eaf4fb", "#eef7ea", "#f6eef8", "#fff8d9", "#f1f1f1", "#fdeeee")
GOOD_FORMS = ("jpeg", "transparent png", "grey", "palette png", "rotated by exif", "webp", "cmyk", "gif")
BROKEN_FORMS = ("html", "garbage", "truncated", "pixel bomb", "empty")
ENDINGS = {"transparent png": ".png", "palette png": ".png", "webp": ".webp", "gif": ".gif"}
ORIENTATION = 0x0112  # EXIF tag
BOMB_SIDE = 20_000  # pixels; 400 million in all, in a file of about 50 kB


def image_file(svg: str, form: str, size: int, background: str) -> bytes:
    """The bytes of an image of `size` by `size` pixels in one of GOOD_FORMS or BROKEN_FORMS."""
    if form in BROKEN_FORMS:
        return _broken(svg, form, size, background)
    if form == "transparent png":
        return encode(render(svg, size), "PNG")
    image = picture(svg, size, background)
    if form == "rotated by exif":
        exif = Image.Exif()
        exif[ORIENTATION] = 6  # to be turned by 90° clockwise when shown
        return encode(image.transpose(Image.Transpose.ROTATE_90), exif=exif)
    if form == "palette png":
        return encode(image.quantize(64), "PNG")
    modes = {"grey": "L", "cmyk": "CMYK"}
    kinds = {"webp": "WEBP", "gif": "GIF"}
    return encode(image.convert(modes.get(form, "RGB")), kinds.get(form, "JPEG"))


def _broken(svg: str, form: str, size: int, background: str) -> bytes:
    if form == "empty":
        return b""
    if form == "html":
        return "<!doctype html><meta charset=utf-8><title>图片不存在</title><p>您访问的页面不存在".encode()
    if form == "pixel bomb":
        return pixel_bomb(BOMB_SIDE)
    encoded = encode(picture(svg, size, background))
    if form == "truncated":
        return encoded[: len(encoded) // 2]
    return encoded[:2] + bytes(byte ^ 0xA5 for byte in encoded[2:])  # garbage behind the first two bytes of a JPEG


def pixel_bomb(side: int) -> bytes:
    """A valid PNG of `side` by `side` black pixels at one bit each: tiny as a file, vast as pixels."""
    packer = zlib.compressobj(9)
    row = b"\0" * (1 + (side + 7) // 8)  # filter byte, then the pixels
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
