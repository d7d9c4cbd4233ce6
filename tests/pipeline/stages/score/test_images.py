"""Decoding and preprocessing: open_clip's own numbers, and an answer for every kind of bad bytes."""

from __future__ import annotations

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from pipeline.stages.score.images import Decoded, Preprocessor, decode_ahead


def stored(mode: str = "RGB", size: tuple[int, int] = (224, 224), kind: str = "JPEG", seed: int = 0) -> bytes:
    """A smooth random image as a file's bytes."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).convert(mode).save(buffer, kind)
    return buffer.getvalue()


CASES = [
    ("RGB", (224, 224), "JPEG"),
    ("RGB", (300, 200), "JPEG"),
    ("RGB", (90, 400), "PNG"),
    ("L", (224, 224), "JPEG"),
    ("CMYK", (224, 250), "JPEG"),
    ("RGBA", (230, 224), "PNG"),
    ("P", (200, 224), "GIF"),
]
CONFIGS = [
    {"size": 224},
    {"size": (224, 224), "resize_mode": "squash", "interpolation": "bilinear", "mean": (0.5,) * 3, "std": (0.5,) * 3},
    {"size": 240, "resize_mode": "longest", "fill_color": 7},
    {"size": (128, 192)},
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize(("mode", "size", "kind"), CASES)
def test_equals_open_clips_transform(config: dict, mode: str, size: tuple[int, int], kind: str) -> None:
    cfg = {**vars(PreprocessCfg()), **config}
    data = stored(mode, size, kind)
    expected = image_transform_v2(PreprocessCfg(**cfg), is_train=False)(Image.open(BytesIO(data)))
    preprocessor = Preprocessor(cfg)
    decoded = preprocessor.decode(memoryview(data))
    pixels = preprocessor.normalize(torch.from_numpy(decoded.pixels)[None], torch.float32)[0]
    assert decoded.error is None and pixels.shape == expected.shape and pixels.is_contiguous()
    assert (pixels - expected).abs().max() < 1e-6


def huge_png(side: int) -> bytes:
    """A PNG that claims `side` x `side` pixels and holds none."""
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(b"")]
    framed = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def broken_png() -> bytes:
    data = bytearray(stored(kind="PNG"))
    data[60:200] = bytes(140)
    return bytes(data)


BAD = [
    (b"", "empty file"),
    (b"<html>404</html>", "not an image"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    (stored()[:3000], "OSError"),
    (stored()[:20], "not an image"),
    (broken_png(), "broken"),
    (huge_png(10_000), "10000 x 10000 pixels"),
    (huge_png(60_000), "3600000000 pixels"),
]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("data", "reason"), BAD, ids=lambda value: value if isinstance(value, str) else len(value))
def test_bad_bytes_have_a_reason(data: bytes, reason: str) -> None:
    preprocessor = Preprocessor(vars(PreprocessCfg()))
    decoded = preprocessor.decode(data)
    assert decoded.pixels is None and decoded.fingerprint is None
    assert decoded.error is not None and reason in decoded.error
    assert decoded.error == preprocessor.decode(bytes(bytearray(data))).error  # no addresses: stable between runs


def test_decoding_runs_ahead_of_the_caller_and_keeps_order() -> None:
    asked: list[bytes] = []

    def decode(data: bytes | memoryview) -> Decoded:
        asked.append(bytes(data))
        return Decoded(None, None, bytes(data).decode())

    images = [str(i).encode() for i in range(11)]
    with ThreadPoolExecutor(2) as pool:
        batches = decode_ahead(pool, decode, images, 3)
        first = next(batches)
        rest = list(batches)
    assert [decoded.error for batch in [first, *rest] for decoded in batch] == [str(i) for i in range(11)]
    assert [len(batch) for batch in [first, *rest]] == [3, 3, 3, 2]
    assert sorted(asked) == sorted(images)


def test_decoding_starts_before_the_first_batch_is_asked_for_and_stays_bounded() -> None:
    asked: list[bytes] = []

    def decode(data: bytes | memoryview) -> Decoded:
        asked.append(bytes(data))
        return Decoded(None, None, "")

    pool = ThreadPoolExecutor(2)
    decode_ahead(pool, decode, [b"x"] * 20, 4)  # never advanced
    pool.shutdown(wait=True)
    assert len(asked) == 8  # two batches of the five
