"""Images of evaluation sets, from every layout that is read."""

from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from foundation.formats.lines import FormatError
from pipeline.recipe.images import EvalImageSet
from pipeline.stages.eval_images.sets import EvalImagesError, find_images, read_images


def jpeg(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(out, "JPEG")
    return out.getvalue()


def read(path: Path, **options: object) -> dict[str, bytes]:
    return dict(read_images(EvalImageSet(path=str(path), **options)))


def write_rows(path: Path, images: dict[str, bytes]) -> None:
    """As MUGE and Chinese-CLIP write it: URL-safe base64."""
    rows = (name.encode() + b"\t" + base64.urlsafe_b64encode(data) + b"\n" for name, data in images.items())
    path.write_bytes(b"".join(rows))


def test_tsv_of_the_wanted_splits(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "valid", "MR_test")):
        write_rows(tmp_path / f"{split}_imgs.tsv", {f"{split}-1": jpeg(number)})
    assert read(tmp_path) == {"valid-1": jpeg(1), "MR_test-1": jpeg(2)}
    assert list(read(tmp_path, splits=("train",))) == ["train-1"]
    assert list(read(tmp_path / "train_imgs.tsv")) == ["train-1"]
    with pytest.raises(EvalImagesError, match=r"expected \*_imgs.tsv of dev; found MR_test_imgs.tsv, train"):
        read(tmp_path, splits=("dev",))


def test_folder_and_zip_with_a_list_of_names(tmp_path: Path) -> None:
    folder, archive, names = tmp_path / "images" / "val2014", tmp_path / "images.zip", tmp_path / "coco-cn_test.txt"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(3):
            (folder / f"COCO_{number}.jpg").write_bytes(jpeg(number))
            file.writestr(f"val2014/COCO_{number}.jpg", jpeg(number))
        file.writestr("README.txt", "no image")
    everything = {f"COCO_{number}": jpeg(number) for number in range(3)}
    assert read(tmp_path / "images") == read(archive) == everything
    names.write_text("COCO_2\nCOCO_0.jpg\n")
    assert list(read(archive, only=(str(names),))) == list(read(folder, only=(str(names),))) == ["COCO_0", "COCO_2"]
    names.write_text("COCO_2\nCOCO_9\nCOCO_8\n")
    with pytest.raises(
        EvalImagesError, match=r"2 of 3 images cannot be found, such as COCO_9, which .*coco-cn_test.txt names"
    ):
        find_images(EvalImageSet(path=str(folder), only=(str(names),)))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"1\tAAAA\nno tab here\n", r"bad_imgs.tsv:2: expected id, tab, base64; found b'no tab here'"),
     (b"1\t*****\n", r"bad_imgs.tsv:1: expected base64 .* found b'\*\*\*\*\*'")],
)  # fmt: skip
def test_bad_rows_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad_imgs.tsv").write_bytes(content)
    with pytest.raises(FormatError, match=message):
        read(tmp_path / "bad_imgs.tsv")


def test_places_without_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(EvalImagesError, match="nowhere: expected a folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(EvalImagesError, match=r"expected images .* found none"):
        read(tmp_path)
    (tmp_path / "broken.zip").write_bytes(b"PK")
    with pytest.raises(EvalImagesError, match=r"broken.zip: expected a zip of images"):
        read(tmp_path / "broken.zip")
    (tmp_path / "set.tar").write_bytes(b"")
    with pytest.raises(EvalImagesError, match=r"set.tar: expected .tsv, .zip or an image; found .tar"):
        read(tmp_path / "set.tar")
