"""The published folder, as those who use it open it."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import duckdb
import pytest
import yaml
from PIL import Image

from pipeline.run.folder import Run
from pipeline.run.tar import END_OF_TAR, sample_members


@pytest.fixture
def dataset(finished: Run, tmp_path: Path) -> Path:
    """The folder alone, somewhere else."""
    return Path(shutil.copytree(finished.folder / "dataset", tmp_path / "moved"))


def test_members_are_in_key_order_with_fixed_metadata(dataset: Path) -> None:
    for path in sorted(dataset.glob("*.tar")):
        with tarfile.open(path) as tar:
            members = tar.getmembers()
        keys = [member.name[:32] for member in members]
        assert keys == sorted(keys)
        assert [member.name[32:] for member in members] == [".jpg", ".json", ".txt"] * (len(members) // 3)
        assert {(member.mtime, member.uid, member.mode) for member in members} == {(0, 0, 0o644)}


def test_the_index_gives_every_image_by_one_range_read(dataset: Path) -> None:
    rows = duckdb.sql(f"select * from '{dataset}/*.parquet' order by key").to_arrow_table().to_pylist()
    for row in rows:
        with (dataset / row["tar"]).open("rb") as file:
            file.seek(row["offset"])
            image = Image.open(io.BytesIO(file.read(row["length"])))
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (224, 224))
        assert len(row["image_hash"]) == 72
        assert 5 <= len(row["caption"]) <= 50
        assert row["score"] >= 0.26
    assert len({row["key"] for row in rows}) == len(rows)
    digests = duckdb.sql(
        f"select count(*) from '{dataset}/*.parquet' where key <> md5(source || chr(10) || url || chr(10) || caption)"
    ).fetchall()
    assert digests == [(0,)]


def test_webdataset_reads_it(dataset: Path) -> None:
    import webdataset

    paths = [str(path) for path in sorted(dataset.glob("*.tar"))]
    pairs = list(webdataset.WebDataset(paths, shardshuffle=False).decode("pil").to_tuple("jpg", "txt", "json"))
    assert len(pairs) == json.loads((dataset / "manifest.json").read_text())["pairs"]
    image, text, columns = pairs[0]
    assert image.size == (224, 224)
    assert text == columns["caption"]


def test_hugging_face_datasets_reads_it(dataset: Path, tmp_path: Path) -> None:
    import datasets

    loaded = datasets.load_dataset(
        "webdataset", data_files=str(dataset / "*.tar"), split="train", cache_dir=str(tmp_path / "hf")
    )
    assert loaded.num_rows == json.loads((dataset / "manifest.json").read_text())["pairs"]
    assert loaded[0]["jpg"].size == (224, 224)


def test_hugging_face_datasets_reads_it_where_the_first_pairs_lack_a_value(dataset: Path, tmp_path: Path) -> None:
    import datasets

    with tarfile.open(dataset / "000000.tar") as tar:
        image = tar.extractfile(next(name for name in tar.getnames() if name.endswith(".jpg"))).read()  # type: ignore[union-attr]
    rows = [{"caption": "一张图", "english": None if row < 8 else "a picture"} for row in range(12)]
    samples = [sample_members(f"{row:032x}", image, columns).content for row, columns in enumerate(rows)]
    (tmp_path / "000000.tar").write_bytes(b"".join(samples) + END_OF_TAR)
    loaded = datasets.load_dataset(
        "webdataset", data_files=str(tmp_path / "*.tar"), split="train", cache_dir=str(tmp_path / "hf")
    )
    assert loaded.num_rows == 12
    assert loaded[11]["txt"] == "一张图"


def test_the_card_is_a_hugging_face_card_and_names_no_place_of_this_machine(dataset: Path, finished: Run) -> None:
    text = (dataset / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---")[1])
    assert front["language"] == ["zh"]
    assert front["configs"][0]["data_files"][0]["path"] == "*.tar"
    assert "| laion |" in text
    assert str(finished.folder) not in text
    assert str(finished.folder) not in (dataset / "manifest.json").read_text()
