from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foundation.pairs import PAIR_SCHEMA
from pipeline.sources.base import Source
from pipeline.sources.columns import MissingColumns
from pipeline.sources.laion import LaionSource
from pipeline.sources.rules.removed_urls import RemovedUrls
from pipeline.sources.table import TableSource
from pipeline.sources.wukong import WukongSource

LAION = LaionSource(kind="laion", files=("x",))


def pairs(raw: dict[str, object], source: Source = LAION) -> dict[str, list[object]]:
    table = pa.table(raw)
    canonical = source.to_pairs(table, "name", "file", np.arange(table.num_rows))
    assert canonical.schema == PAIR_SCHEMA
    return canonical.to_pydict()


def test_raw_laion_has_its_width_and_height_swapped_and_its_dirt_survives() -> None:
    columns = pairs(
        {
            "URL": ["http://a ", None, "http://c"],
            "TEXT": [" 两只小猫\n", "", None],
            "WIDTH": pa.array([480.0, float("nan"), 1e12]),
            "HEIGHT": pa.array([640.0, -1.0, None]),
            "LANGUAGE": ["zh", "zh", "en"],
            "similarity": pa.array([0.31, 6016.0, None]),
            "NSFW": ["UNLIKELY", None, "NSFW"],
        }
    )
    assert columns["url"] == ["http://a", None, "http://c"]
    assert columns["caption"] == ["两只小猫", "", None]
    assert (columns["width"], columns["height"]) == ([640, None, None], [480, None, None])
    assert columns["similarity"][1:] == [6016.0, None]
    assert columns["punsafe"] == [None] * 3


@pytest.mark.parametrize("swapped, expected", [(None, 480), (True, 640), (False, 480)])
def test_joined_laion_has_them_the_right_way_round_unless_told_otherwise(swapped: bool | None, expected: int) -> None:
    source = LaionSource(kind="laion", files=("x",), swapped_size=swapped)
    raw = {"url": ["http://a"], "TEXT": ["字"], "WIDTH": [480], "HEIGHT": [640], "punsafe": [0.1]}
    assert pairs(raw, source)["width"] == [expected]


def test_numbers_that_came_as_text_are_read_and_the_rest_is_null() -> None:
    columns = pairs(
        {"url": ["a"] * 4, "text": ["b"] * 4, "TEXT": ["c"] * 4, "similarity": ["0.3", " 1e-1 ", "n/a", None]}
    )
    assert columns["similarity"] == [pytest.approx(0.3), pytest.approx(0.1), None, None]


def test_only_the_languages_asked_for_are_in_scope() -> None:
    table = pa.table({"url": ["a"] * 3, "TEXT": ["b"] * 3, "LANGUAGE": ["zh", "en", None]})
    rows = LAION.to_pairs(table, "n", "f", np.arange(3))
    assert LAION.in_scope(rows).tolist() == [True, False, False]  # type: ignore[union-attr]
    assert LaionSource(kind="laion", files=("x",), languages=()).in_scope(rows) is None
    assert WukongSource(kind="wukong", files=("x",)).in_scope(rows) is None


def test_a_table_maps_its_own_columns() -> None:
    source = TableSource(kind="table", files=("x",), columns={"url": "link", "caption": "recaption", "width": "w"})
    columns = pairs({"LINK": ["http://a"], "recaption": ["一只猫"], "alt_text": ["猫"], "w": ["640"]}, source)
    assert (columns["caption"], columns["width"], columns["height"]) == (["一只猫"], [640], [None])


def test_a_file_without_captions_is_refused_by_name() -> None:
    with pytest.raises(MissingColumns, match=r"no column TEXT; the file has URL"):
        pairs({"URL": ["a"]})


def test_removed_links_from_text_csv_and_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("# removed in 2024\nhttp://a/1 \n\n")
    (tmp_path / "b.csv").write_text("id,URL\n1,http://a/2\n")
    pq.write_table(pa.table({"url": ["http://a/3"]}), tmp_path / "c.parquet")
    rule = RemovedUrls(lists=(str(tmp_path / "*.txt"), str(tmp_path / "b.csv"), str(tmp_path / "c.parquet")))
    table = pa.table({"url": ["http://a/1", "http://a/2", "http://a/3", "http://a/4", None]})
    kept, rejected = rule.split(table)
    assert kept["url"].to_pylist() == ["http://a/4", None]
    assert rejected["reasons"].to_pylist() == [["removed_link"]] * 3
    (tmp_path / "d.csv").write_text("link\nhttp://a/2\n")
    with pytest.raises(ValueError, match=r"d\.csv: a removal list needs a url column; found link"):
        RemovedUrls(lists=(str(tmp_path / "d.csv"),)).split(table)
