from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from foundation.failure import Failure
from pipeline.recipe.download import REASONS, Download
from pipeline.sources.local_images import check_image_folders, local_url
from pipeline.stages.download.local import LocalImages
from pipeline.stages.download.resize import Box, crop_of, resize
from pipeline.stages.download.shard import download_shard
from tests.support.loopback import Answer, Web


def picture(seed: int = 0, size: tuple[int, int] = (40, 30), kind: str = "JPEG", orientation: int = 1) -> bytes:
    """Four quarters of different colours, so that a crop shows which part it is."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    half = size[1] // 2, size[0] // 2
    for part, colour in zip(
        (
            (slice(0, half[0]), slice(0, half[1])),
            (slice(0, half[0]), slice(half[1], None)),
            (slice(half[0], None), slice(None)),
        ),
        ((250, 20, 20), (20, 250, 20), (20, 20, 200 + seed % 50)),
        strict=True,
    ):
        pixels[part] = colour
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(buffer, kind, **({"quality": 95, "exif": exif} if kind == "JPEG" else {}))
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with images, and next to it what must not be read."""
    root = tmp_path / "images"
    (root / "train2014").mkdir(parents=True)
    (root / "train2014" / "a b#猫.jpg").write_bytes(picture(1))
    (root / "flat.png").write_bytes(picture(2, kind="PNG"))
    (root / "empty.jpg").write_bytes(b"")
    (root / "large.jpg").write_bytes(bytes(100_001))
    (tmp_path / "secret.jpg").write_bytes(picture(3))
    (root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "inside.jpg").symlink_to(root / "flat.png")
    os.mkfifo(root / "pipe.jpg")
    return root


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A zip file with an image, one that is damaged, and a bomb."""
    path = tmp_path / "train2014.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("train2014/z.jpg", picture(4))
        file.writestr("train2014/bad.jpg", picture(5))
        file.writestr("bomb.jpg", bytes(200_000), zipfile.ZIP_DEFLATED)
        file.writestr("../up.jpg", picture(6))
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        start = file.getinfo("train2014/bad.jpg").header_offset + 30 + len("train2014/bad.jpg")
    content[start + 100] ^= 0xFF
    path.write_bytes(content)
    return path


def reason_of(images: LocalImages, url: str, source: str | None = "coco") -> str | None:
    try:
        images.fetch(url, source)
    except Failure as failure:
        assert failure.reason in REASONS
        return failure.reason
    return None


CASES = {
    "train2014/a b#猫.jpg": None,
    "flat.png": None,
    "deeper/flat.png": None,  # the folder that was named is the inner one
    "inside.jpg": None,
    "train2014/z.jpg": None,
    "z.jpg": "file_missing",
    "no.jpg": "file_missing",
    "train2014": "file_unreadable",
    "flat.png/x": "file_missing",
    "empty.jpg": "empty_response",
    "large.jpg": "too_many_bytes",
    "bomb.jpg": "too_many_bytes",
    "train2014/bad.jpg": "file_unreadable",
    "pipe.jpg": "file_unreadable",
    "link.jpg": "refused_path",
    "../secret.jpg": "refused_path",
    "../up.jpg": "refused_path",
    "train2014/../../secret.jpg": "refused_path",
    "/etc/hostname": "refused_path",
    "..\\secret.jpg": "refused_path",
    "flat.png\0.jpg": "refused_path",
    "": "refused_path",
}


@pytest.mark.parametrize("name, reason", CASES.items(), ids=[repr(name) for name in CASES])
def test_files_are_found_below_their_folder_and_nowhere_else(
    folder: Path, archive: Path, name: str, reason: str | None
) -> None:
    images = LocalImages({"coco": [str(folder), str(archive)]}, max_bytes=100_000)
    assert reason_of(images, local_url("coco", name)) == reason


def test_a_local_url_is_for_its_own_source_alone(folder: Path) -> None:
    images = LocalImages({"coco": [str(folder)], "a/b": [str(folder)]}, max_bytes=100_000)
    url = local_url("coco", "flat.png")
    assert url == "local:coco/flat.png"
    assert reason_of(images, url) is None
    assert [reason_of(images, url, other) for other in ("laion", "a/b", None)] == ["refused_scheme"] * 3
    assert reason_of(images, local_url("a/b", "flat.png"), "a/b") is None
    assert reason_of(LocalImages({}, 1), url, "coco") == "refused_scheme"


def test_a_place_that_holds_no_images_is_named(tmp_path: Path, folder: Path, archive: Path) -> None:
    check_image_folders([str(folder), str(archive)])
    (tmp_path / "no.zip").write_bytes(b"no zip")
    for name in ("no.zip", "absent"):
        with pytest.raises(ValueError, match=f"{name}: expected a folder or a zip file"):
            check_image_folders([str(tmp_path / name)])


def test_local_and_remote_images_of_a_shard_take_the_same_way(
    web: Web, tmp_path: Path, folder: Path, archive: Path
) -> None:
    (folder / "html.jpg").write_bytes(b"<html>")
    (folder / "cut.jpg").write_bytes(picture(7, (160, 120))[:-200])
    (folder / "wide.png").write_bytes(picture(8, (3000, 10), "PNG"))
    remote = web.put("/r.jpg", Answer(picture(1)))
    cases: list[tuple[str, str, str | None]] = [
        ("coco", local_url("coco", "train2014/a b#猫.jpg"), None),
        ("laion", remote, None),
        ("laion", local_url("coco", "flat.png"), "refused_scheme"),
        ("laion", f"file://{folder}/flat.png", "refused_scheme"),
        ("laion", web.put("/to", Answer(status=302, headers=(("Location", "local:coco/flat.png"),))), "refused_scheme"),
        ("coco", local_url("coco", "../secret.jpg"), "refused_path"),
        ("coco", local_url("coco", "html.jpg"), "not_an_image"),
        ("coco", local_url("coco", "cut.jpg"), "truncated_image"),
        ("coco", local_url("coco", "wide.png"), "too_many_pixels"),
        ("coco", local_url("coco", "large.jpg"), "too_many_bytes"),
        ("zip", local_url("zip", "train2014/z.jpg"), None),
        ("zip", local_url("zip", "train2014/z.jpg") + "#xywh=0,0,20,15", None),
        ("zip", local_url("zip", "train2014/z.jpg") + "#xywh=40,0,20,15", "crop_outside"),
        ("laion", remote + "#xywh=20,0,20,15", None),
        ("coco", local_url("coco", "absent.jpg"), "file_missing"),
    ]
    rows = pa.table(
        {
            "key": [f"{number:032x}" for number in range(len(cases))],
            "url": [url for _, url, _ in cases],
            "source": [source for source, _, _ in cases],
        }
    )
    locations = {"coco": [os.path.relpath(folder)], "zip": [str(archive)]}
    outcomes = download_shard(
        rows, tmp_path / "shard", web.config(max_bytes=100_000, max_pixels=20_000, image_size=32), locations
    )
    assert outcomes["reason"].to_pylist() == [reason for _, _, reason in cases]
    by_row = outcomes.to_pylist()
    assert by_row[0]["original_sha256"] == by_row[1]["original_sha256"]
    assert [by_row[11][name] for name in ("original_width", "original_height")] == [20, 15]
    data = (tmp_path / "shard" / "images.tar").read_bytes()
    images = [row["offset"] and data[row["offset"] : row["offset"] + row["length"]] for row in by_row]
    assert images[0] == images[1]
    assert mean_colour(images[11]) == pytest.approx((250, 20, 20), abs=12)
    assert mean_colour(images[13]) == pytest.approx((20, 250, 20), abs=12)


def mean_colour(jpeg: bytes) -> tuple[float, ...]:
    """Red, green and blue."""
    with Image.open(io.BytesIO(jpeg)) as image:
        return tuple(np.asarray(image.convert("RGB"), np.float64).mean((0, 1)))


def crop(box: Box, data: bytes, **changes: object) -> tuple[tuple[int, int], tuple[float, ...]]:
    made = resize(data, Download(image_size=16, **changes), box)  # type: ignore[arg-type]
    return (made.original_width, made.original_height), mean_colour(made.jpeg)


def test_a_crop_is_cut_to_the_image_and_counts_as_the_original() -> None:
    data = picture()
    assert crop(Box(20, 0, 20, 15), data) == ((20, 15), pytest.approx((20, 250, 20), abs=12))
    assert crop(Box(-5, -5, 15, 15), data) == ((10, 10), pytest.approx((250, 20, 20), abs=12))
    assert crop(Box(30, 20, 500, 500), data)[0] == (10, 10)
    for box in (Box(40, 0, 5, 5), Box(0, 30, 5, 5), Box(-5, 0, 5, 5), Box(3, 3, 0, 5)):
        with pytest.raises(Failure) as caught:
            crop(box, data)
        assert caught.value.reason == "crop_outside"
    with pytest.raises(Failure) as caught:
        crop(Box(0, 0, 5, 20), data, min_side=10)
    assert caught.value.reason == "too_small"


def test_a_crop_is_in_pixels_of_the_upright_image() -> None:
    turned = picture(orientation=6)  # shown turned clockwise: 30 wide, 40 high; what was left is on top
    assert crop(Box(0, 0, 15, 10), turned)[1] == pytest.approx((20, 20, 200), abs=15)
    assert crop(Box(15, 0, 15, 20), turned)[1] == pytest.approx((250, 20, 20), abs=12)
    assert crop(Box(20, 30, 500, 500), turned)[0] == (10, 10)


@pytest.mark.parametrize("resize_mode", ["squash", "center_crop", "keep_ratio", "border"])
def test_a_crop_is_resized_as_any_image(resize_mode: str) -> None:
    made = resize(picture(size=(400, 300)), Download(image_size=16, resize=resize_mode), Box(0, 0, 200, 100))  # type: ignore[arg-type]
    assert (made.width, made.height) == ((32, 16) if resize_mode == "keep_ratio" else (16, 16))


@pytest.mark.parametrize(
    "url, box",
    [
        ("http://a/b.jpg#xywh=1,2,30,40", (1, 2, 30, 40)),
        ("local:vg/1.jpg#xywh=pixel:0,-3,5,5", (0, -3, 5, 5)),
        ("http://a/b.jpg#xywh=percent:1,2,3,4", None),
        ("http://a/b.jpg?xywh=1,2,3,4", None),
        ("http://a/b.jpg#top", None),
        (None, None),
    ],
)
def test_the_part_of_an_image_is_named_by_a_media_fragment(url: str | None, box: tuple[int, ...] | None) -> None:
    assert crop_of(url) == box
