from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.recipe.download import Download
from pipeline.stages.download.shard import download_shard
from pipeline.stages.download.writer import OUTCOME_SCHEMA
from tests.pipeline.stages.download.shards import check_tar, photo, rows_of, use_child
from tests.support.loopback import Answer, Web
from tests.support.paths import REPOSITORY

LOSES_TWO_ROWS = """
class Faulty(writer.ShardWriter):
    def write(self, jpeg, row_key, caption, meta):
        if int(row_key) in (1, 2):
            raise RuntimeError("a writer that fails on this row")
        super().write(jpeg, row_key, caption, meta)
writer.ShardWriter = Faulty
"""

PARENT = """
import json, sys
from pathlib import Path
import pyarrow as pa
from pipeline.recipe.download import Download
from pipeline.stages.download.shard import download_shard
rows = pa.table({"key": ["0" * 32], "url": [sys.argv[1]]})
download_shard(rows, Path(sys.argv[2]), Download(**json.loads(sys.argv[3])))
"""


def test_every_row_comes_back_once_and_in_order(web: Web, tmp_path: Path) -> None:
    bomb = io.BytesIO()
    Image.new("1", (8000, 8000)).save(bomb, "PNG")
    cases: list[tuple[str | None, str | None]] = [
        (web.put("/%E7%8C%AB%20.jpg", Answer(photo(1))).replace("%E7%8C%AB%20", "猫 "), None),
        (web.put("/404", Answer(status=404)), "http_404"),
        (web.put("/a.png", Answer(photo(2, "PNG"), headers=(("Content-Type", "image/png"),))), None),
        (web.put("/flaky", Answer(status=503), Answer(photo(3))), None),
        (None, "url_malformed"),
        ("http://169.254.169.254/", "refused_address"),
        ("file:///etc/passwd", "refused_scheme"),
        (web.put("/html", Answer(b"<html>")), "not_an_image"),
        (web.put("/cut", Answer(photo(4)[:-500])), "truncated_image"),
        (web.put("/bomb", Answer(bomb.getvalue())), "too_many_pixels"),
        (web.put("/no", Answer(photo(5), headers=(("X-Robots-Tag", "noai"),))), "opted_out"),
        (web.put("/drip", Answer(photo(6), drip=0.05)), "timeout"),
        (web.put("/big", Answer(bytes(300_001))), "too_many_bytes"),
        (web.put("/b.jpg", Answer(photo(7))), None),
        (web.put("/b.jpg", Answer(photo(7))), None),  # the same url again, under another key
    ]
    rows = rows_of([url for url, _ in cases])
    table = download_shard(rows, tmp_path / "shard", web.config(deadline=1.5, max_bytes=300_000, threads=8))

    assert table.schema == OUTCOME_SCHEMA
    assert table["key"].to_pylist() == rows["key"].to_pylist()
    assert table["reason"].to_pylist() == [reason for _, reason in cases]
    assert table["status"].to_pylist() == ["failed" if reason else "ok" for _, reason in cases]
    assert pq.read_table(tmp_path / "shard" / "images.parquet").equals(table)
    assert sorted(path.name for path in (tmp_path / "shard").iterdir()) == ["child.log", "images.parquet", "images.tar"]
    check_tar(tmp_path / "shard" / "images.tar", table)
    by_key = table.to_pylist()
    assert by_key[2]["content_type"] == "image/png"
    assert by_key[2]["original_bytes"] == len(photo(2, "PNG"))
    assert by_key[8]["original_bytes"] == len(photo(4)) - 500  # known, although it was no use
    assert by_key[13]["original_sha256"] == by_key[14]["original_sha256"]


@pytest.mark.slow
def test_equal_bytes_become_equal_jpegs_whatever_the_threads(web: Web, tmp_path: Path) -> None:
    rows = rows_of([web.put(f"/{seed}.jpg", Answer(photo(seed))) for seed in range(20)])
    shards = []
    for threads in (1, 16):
        folder = tmp_path / str(threads)
        table = download_shard(rows, folder, web.config(threads=threads, resize="border"))
        data = (folder / "images.tar").read_bytes()
        shards.append([data[row["offset"] : row["offset"] + row["length"]] for row in table.to_pylist()])
    assert shards[0] == shards[1]


def test_no_rows(tmp_path: Path) -> None:
    empty = pa.table({"key": pa.array([], pa.string()), "url": pa.array([], pa.string())})
    table = download_shard(empty, tmp_path / "shard", Download())
    assert table.schema == OUTCOME_SCHEMA
    assert table.num_rows == 0
    with tarfile.open(tmp_path / "shard" / "images.tar") as tar:
        assert tar.getnames() == []
    assert not (tmp_path / "shard" / "child.log").exists()


@pytest.mark.parametrize("keys", [["a" * 32] * 2, ["../../etc/passwd"], ["A" * 32], [None], ["a" * 32, ""]])
def test_keys_must_be_keys(keys: list[str | None], tmp_path: Path) -> None:
    rows = pa.table({"key": pa.array(keys, pa.string()), "url": ["http://a.example/"] * len(keys)})
    with pytest.raises(ValueError, match="keys"):
        download_shard(rows, tmp_path / "shard", Download())


def test_a_row_whose_writer_raises_is_found_to_be_lost(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_child(monkeypatch, LOSES_TWO_ROWS)
    good = [web.put(f"/{seed}", Answer(photo(seed))) for seed in (1, 2)]
    rows = rows_of([*good, None, web.put("/3", Answer(b"x"))])
    table = download_shard(rows, tmp_path, web.config())
    assert table["key"].to_pylist() == rows["key"].to_pylist()
    assert table["reason"].to_pylist() == [None, "lost_by_downloader", "lost_by_downloader", "not_an_image"]
    assert table["status"].to_pylist() == ["ok", "failed", "failed", "failed"]
    assert "a writer that fails on this row" in (tmp_path / "child.log").read_text()
    check_tar(tmp_path / "images.tar", table)


def test_a_url_that_is_no_text_fails_alone(web: Web, tmp_path: Path) -> None:
    urls = [web.put("/1", Answer(photo(1))).encode(), None, b"http://a.example/\xc3\x28.jpg", "http://猫".encode()[:-1]]
    rows = rows_of([None] * len(urls))
    texts = pa.chunked_array([pa.array(urls, pa.binary()).view(pa.string())])  # as a Parquet file's, unchecked
    rows = rows.set_column(rows.column_names.index("url"), "url", texts)
    table = download_shard(rows, tmp_path, web.config())
    assert table["reason"].to_pylist() == [None, *["url_malformed"] * 3]
    assert table["detail"].to_pylist() == [None, "no url", "not UTF-8", "not UTF-8"]
    check_tar(tmp_path / "images.tar", table)


def endless(web: Web) -> str:
    """The url of an image that goes on for minutes."""
    return web.put("/endless", Answer(bytes(10_000), drip=0.05))


@pytest.mark.slow
def test_a_killed_parent_takes_its_child_along(web: Web, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, endless(web), str(tmp_path), web.config(deadline=600).model_dump_json()]
    parent = subprocess.Popen(command, cwd=REPOSITORY)
    assert web.asked.wait(30)
    parent.kill()
    parent.wait()
    assert web.dropped.wait(30)  # the server saw the child's connection end; the answer would have gone on for minutes
