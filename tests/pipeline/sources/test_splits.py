"""Splits of any file hold every row once and in order, however small they are cut."""

from __future__ import annotations

import json
import re
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources.base import Source
from pipeline.sources.coco import CocoSource
from pipeline.sources.readers import _positions
from pipeline.sources.splits import UNREADABLE_REASONS, Block
from pipeline.sources.table import TableSource
from pipeline.sources.visual_genome import VisualGenomeSource
from tests.pipeline.sources.image_set_files import coco_image, region
from tests.support.paths import REPOSITORY


def write(name: str, content: Any) -> str:
    path = f"memory://splits/{name}"
    with fsspec.open(path, "w") as file:
        json.dump(content, file)
    return path


def rows_of(source: Source, rows_per_split: int) -> list[tuple[int, dict[str, Any]]]:
    """Positions and rows, split by split."""
    rows = []
    for split in source.splits("s", rows_per_split):
        first = len(rows)
        for piece in source.read(split):
            assert isinstance(piece, Block)
            rows += zip(piece.positions.tolist(), piece.table.to_pylist(), strict=True)
        if split.rows is not None:
            assert (split.first_row, split.rows) == (first, len(rows) - first)
    return rows


@settings(max_examples=60, deadline=None)
@given(groups=st.lists(st.integers(1, 9), max_size=6), rows_per_split=st.integers(1, 20))
def test_row_groups_are_gathered_in_order_and_never_cut(groups: list[int], rows_per_split: int) -> None:
    path = "memory://splits/a.parquet"
    schema = pa.schema([pa.field("url", pa.string()), pa.field("caption", pa.string())])
    with fsspec.open(path, "wb") as file, pq.ParquetWriter(file, schema) as writer:
        for number, size in enumerate(groups):
            writer.write_table(pa.table({"url": [str(number)] * size, "caption": map(str, range(size))}, schema))
    source = TableSource(kind="table", files=(path,))
    splits = source.splits("s", rows_per_split)
    assert [group for split in splits for group in split.row_groups] == list(range(len(groups)))
    assert all(split.rows <= rows_per_split or len(split.row_groups) == 1 for split in splits)  # type: ignore[operator]
    rows = rows_of(source, rows_per_split)
    assert [position for position, _ in rows] == list(range(sum(groups)))
    assert [row["url"] for _, row in rows] == [str(number) for number, size in enumerate(groups) for _ in range(size)]


@settings(max_examples=40, deadline=None)
@given(images=st.lists(st.integers(1, 4), max_size=8), rows_per_split=st.integers(1, 9))
def test_annotations_are_the_same_in_splits_of_any_size(images: list[int], rows_per_split: int) -> None:
    annotations = [{"id": i, "image_id": image, "caption": f"text {i}"} for i, image in enumerate(images)]
    path = write("coco.json", {"images": [coco_image(number) for number in (1, 2, 3)], "annotations": annotations})
    source = CocoSource(kind="coco", files=(path,), translation={"files": ["x"]})  # type: ignore[arg-type]
    rows = rows_of(source, rows_per_split)
    assert [row["texts"] for _, row in rows] == [[f"text {i}"] for i in range(len(images))]
    assert rows == rows_of(source, 1000)


@settings(max_examples=40, deadline=None)
@given(
    regions=st.lists(st.integers(0, 4), max_size=6),
    rows_per_split=st.integers(1, 9),
    pairs=st.sampled_from(["joined", "regions"]),
)
def test_images_with_regions_are_the_same_in_splits_of_any_size(
    regions: list[int], rows_per_split: int, pairs: str
) -> None:
    images = [
        {"id": i, "regions": [region(10 * i + j, i, f"phrase {i} {j}") for j in range(n)]}
        for i, n in enumerate(regions)
    ]
    data = write("image_data.json", [{"image_id": 0, "url": "http://a.example/VG_100K/0.jpg"}])
    source = VisualGenomeSource(
        kind="visual_genome",
        files=(write("regions.json", images),),
        image_data=data,
        pairs=pairs,  # type: ignore[arg-type]
    )
    rows = rows_of(source, rows_per_split)
    assert [position for position, _ in rows] == list(range(len(images) if pairs == "joined" else sum(regions)))
    assert rows == rows_of(source, 1000)


@settings(max_examples=100, deadline=None)
@given(first=st.integers(0, 20), count=st.integers(0, 20), bad=st.sets(st.integers(0, 40)))
def test_positions_pass_over_the_malformed_lines(first: int, count: int, bad: set[int]) -> None:
    positions = _positions(first, count, np.array(sorted(bad), dtype=np.int64)).tolist()
    candidates = (row for row in range(first, first + count + len(bad)) if row not in bad)
    assert positions == [row for row, _ in zip(candidates, range(count), strict=False)]


def test_every_reason_that_a_source_gives_has_a_sentence() -> None:
    text = "".join(path.read_text() for path in sorted((REPOSITORY / "pipeline/sources").glob("*.py")))
    given_reasons = set(re.findall(r'Unreadable\([^\n]*"([a-z_]+)", ', text))
    assert given_reasons == set(UNREADABLE_REASONS)
