from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.sources import readers
from pipeline.sources.columns import to_text
from pipeline.sources.files import find_files
from pipeline.sources.splits import Block, Unreadable
from pipeline.sources.table import TableSource


@contextmanager
def parquet_server(content: bytes) -> Iterator[tuple[str, dict[str, bool]]]:
    """Serves one file with range requests; with state["broken"], every connection is cut in the middle of an answer."""
    state = {"broken": False}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            first, last = 0, len(content) - 1
            if asked := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                first, last = int(asked[1]), int(asked[2] or last)
            part = content[first : last + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(content)}")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(part[:10] if state["broken"] else part)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/a.parquet", state
        server.shutdown()


def table(files: object, **changes: Any) -> TableSource:
    return TableSource(kind="table", files=(str(files),), **changes)


def read(path: Path, rows: int = 1000) -> tuple[list[Block], list[Unreadable]]:
    source = table(path)
    pieces = [piece for split in source.splits("s", rows) for piece in source.read(split)]
    return [p for p in pieces if isinstance(p, Block)], [p for p in pieces if isinstance(p, Unreadable)]


def positions(blocks: list[Block]) -> list[int]:
    return [int(position) for block in blocks for position in block.positions]


def write_parquet(path: Path, rows: int, group: int) -> None:
    table = pa.table(
        {
            "URL": [f"http://a/{i}" for i in range(rows)],
            "Caption": [f"字{i}" for i in range(rows)],
            "other": range(rows),
        }
    )
    pq.write_table(table, path, row_group_size=group, compression="zstd", use_dictionary=False)


def test_parquet_is_read_by_row_groups_with_positions_and_any_case_of_names(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", 100, 10)
    splits = table(tmp_path / "*.parquet").splits("s", 25)
    assert [(split.first_row, split.rows) for split in splits] == [(i * 20, 20) for i in range(5)]
    blocks, bad = read(tmp_path / "a.parquet", rows=25)
    assert positions(blocks) == list(range(100))
    assert blocks[0].table.column_names == ["URL", "Caption"]
    assert bad == []


def test_a_damaged_row_group_is_named_and_stops_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, 40, 10)
    column = pq.ParquetFile(path).metadata.row_group(2).column(1)
    content = bytearray(path.read_bytes())
    start = column.data_page_offset
    content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(bytes(content))
    blocks, bad = read(path)
    assert positions(blocks) == [*range(20), *range(30, 40)]
    assert [(block.first_row, block.rows, block.reason) for block in bad] == [(20, 10, "unreadable_row_group")]
    assert "row group 2" in bad[0].detail


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.jsonl.gz"])
def test_a_file_that_does_not_open_is_one_unreadable_block(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(
        b"\x1f\x8bno such thing" if name.endswith("gz") else b"\n" if name.endswith("csv") else b"PAR1nonsense"
    )
    blocks, bad = read(tmp_path / name)
    assert blocks == []
    assert [(block.first_row, block.rows, block.reason) for block in bad] == [(0, None, "unreadable_file")]


def test_csv_with_quotes_line_breaks_bad_bytes_and_malformed_lines(tmp_path: Path) -> None:
    path = tmp_path / "wukong.csv"
    path.write_bytes(
        b'\xef\xbb\xbfurl,caption\nhttp://a,one\nhttp://b,"two\nlines"\nbad,line,three\nhttp://c,"qu""ote"\nonlyone\n'
        b"http://d,\xff\xfe\xe5\xad\x97\nhttp://e,last\n"
    )
    blocks, bad = read(path)
    table = blocks[0].table
    assert positions(blocks) == [0, 1, 3, 5, 6]
    assert to_text(table["caption"]).to_pylist() == ["one", "two\nlines", 'qu"ote', "\ufffd\ufffd字", "last"]
    assert [(block.first_row, block.rows, block.reason) for block in bad] == [
        (2, 1, "malformed_row"),
        (4, 1, "malformed_row"),
    ]
    assert "3 columns instead of 2: bad,line,three" in bad[0].detail


def test_csv_positions_hold_over_many_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "CSV_BLOCK_BYTES", 4096)
    lines = ["url,caption"] + [f"http://a/{i},字{i}" if i % 97 else f"http://a/{i}" for i in range(5000)]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    blocks, bad = read(tmp_path / "a.csv")
    assert len(blocks) > 3
    assert [block.first_row for block in bad] == [i for i in range(5000) if i % 97 == 0]
    captions = [caption for block in blocks for caption in to_text(block.table["caption"]).to_pylist()]
    assert captions == [f"字{i}" for i in positions(blocks)]
    assert len(captions) + len(bad) == 5000


def test_jsonl_names_its_bad_lines(tmp_path: Path) -> None:
    lines = [json.dumps({"url": f"http://a/{i}", "caption": "字", "extra": [i]}, ensure_ascii=False) for i in range(10)]
    lines[3], lines[7] = "{broken", ""
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    blocks, bad = read(tmp_path / "a.jsonl.gz")
    assert positions(blocks) == [0, 1, 2, 4, 5, 6, 8, 9]
    assert [(block.first_row, block.reason) for block in bad] == [(3, "malformed_row")]
    assert np.concatenate([block.table["url"].to_pylist() for block in blocks]).tolist()[-1] == "http://a/9"


def test_files_come_from_any_fsspec_filesystem() -> None:
    import fsspec

    with fsspec.open("memory://sets/one.csv", "wb") as file:
        file.write(b"url,caption\nhttp://a,b\n")
    assert find_files(["memory://sets/*.csv"]) == ["memory:///sets/one.csv"]
    source = table("memory://sets/*.csv")
    (split,) = source.splits("s", 10)
    (block,) = source.read(split)
    assert isinstance(block, Block)
    assert block.table["url"].to_pylist() == [b"http://a"]


def test_metadata_is_read_over_http_and_a_server_that_breaks_off_is_not_taken_for_damage(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", 100, 10)
    content = (tmp_path / "a.parquet").read_bytes()
    with parquet_server(content) as (url, state):
        source = table(url)
        (split,) = source.splits("s", 1000)
        assert sum(len(piece.positions) for piece in source.read(split) if isinstance(piece, Block)) == 100
        state["broken"] = True
        with pytest.raises(Exception, match=r".") as caught:
            list(source.read(split))
        assert not isinstance(caught.value, ValueError)
