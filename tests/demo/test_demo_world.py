from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from demo.faults import ALL_KINDS
from demo.metadata import JOINED_SCHEMA, RAW_SCHEMA
from demo.pairs import SPECIAL
from demo.world import CORRUPT, JOINED, RAW, WUKONG, World, build_world


@pytest.fixture(scope="module")
def truth(world: World) -> list[dict[str, Any]]:
    return pq.read_table(world.truth).to_pylist()


def rows_of(truth: list[dict[str, Any]], file: str) -> list[dict[str, Any]]:
    return [row for row in truth if row["file"] == file]


def test_every_kind_is_planted_and_numbered(world: World, truth: list[dict[str, Any]]) -> None:
    assert set(world.planted) == {kind.name for kind in ALL_KINDS}
    assert Counter(row["fault"] for row in truth) == world.planted
    for file in (*JOINED, RAW, *WUKONG):
        assert [row["row"] for row in rows_of(truth, file)] == list(range(len(rows_of(truth, file))))
    assert sum(row["file"] != CORRUPT for row in truth) == world.rows
    assert {name for name in SPECIAL if sum(row["variant"] == name for row in truth) < 2} == set()


def test_clean_pairs_are_clean(truth: list[dict[str, Any]]) -> None:
    clean = [row for row in truth if row["fault"] == "clean"]
    assert {5 <= len(row["caption"]) <= 50 for row in clean} == {True}
    assert len({row["url"] for row in clean}) == len(clean)
    assert max(Counter(row["caption"] for row in truth if row["fault"] != "frequent" and row["caption"]).values()) <= 10
    assert {row["stage"] for row in clean} == {"none"}


def test_frequent_captions_are_frequent_within_a_file(truth: list[dict[str, Any]]) -> None:
    occurrences = Counter((row["file"], row["caption"]) for row in truth if row["fault"] == "frequent")
    assert min(occurrences.values()) > 10


def test_duplicates_come_after_what_they_repeat(world: World, truth: list[dict[str, Any]]) -> None:
    first = {(row["url"], row["caption"]): row for row in truth if row["fault"] == "clean"}
    repeats = [row for row in truth if row["fault"] in ("duplicate pair", "duplicate image url")]
    assert len(repeats) == world.planted["duplicate pair"] + world.planted["duplicate image url"]
    for row in repeats:
        original = first[row["url"].removesuffix("?from=list"), row["caption"]]
        assert original["file"] in JOINED and row["file"] in WUKONG
        assert row["url"].endswith("?from=list") == (row["fault"] == "duplicate image url")


def test_swapped_captions_are_of_another_concept(truth: list[dict[str, Any]]) -> None:
    swapped = [row for row in truth if row["fault"] == "swapped caption"]
    assert all(row["concept"] != row["variant"] for row in swapped)


def test_the_joined_files_are_what_they_claim(world: World, truth: list[dict[str, Any]]) -> None:
    table = pq.read_table(world.folder / "metadata" / "laion" / JOINED[0])
    assert table.schema.equals(JOINED_SCHEMA)
    expected = rows_of(truth, JOINED[0])
    assert table["URL"].to_pylist() == [row["url"] for row in expected]
    assert table["TEXT"].to_pylist() == [row["caption"] for row in expected]
    unsafe = [row["fault"] == "punsafe" for row in expected]
    assert [value > 0.9 for value in table["punsafe"].to_pylist()] == unsafe
    foreign = [row["fault"] == "other language" for row in expected]
    assert [language != "zh" for language in table["LANGUAGE"].to_pylist()] == foreign


def test_only_the_first_row_group_of_the_second_file_is_spoilt(world: World, truth: list[dict[str, Any]]) -> None:
    file = pq.ParquetFile(world.folder / "metadata" / "laion" / JOINED[1])
    with pytest.raises((OSError, ValueError)):
        file.read_row_group(0, columns=["URL"])
    rest = file.read_row_groups(list(range(1, file.num_row_groups)), columns=["URL"])
    spoilt = world.planted["corrupt row group"]
    assert file.metadata.row_group(0).num_rows == spoilt
    assert rest["URL"].to_pylist() == [row["url"] for row in rows_of(truth, JOINED[1])[spoilt:]]


def test_the_raw_file_is_dirty_and_the_corrupt_one_unreadable(world: World) -> None:
    table = pq.read_table(world.folder / "metadata" / "laion" / RAW)
    assert table.schema.equals(RAW_SCHEMA)
    assert 6016.0 in table["similarity"].to_pylist() and None in table["similarity"].to_pylist()
    with pytest.raises(pa.ArrowInvalid):
        pq.ParquetFile(world.folder / "metadata" / "laion" / CORRUPT)


@pytest.mark.parametrize("name", WUKONG)
def test_the_csv_files_hold_the_rows_but_for_malformed_lines(
    world: World, truth: list[dict[str, Any]], name: str
) -> None:
    skipped: list[str] = []
    path = world.folder / "metadata" / "wukong" / name
    options = pyarrow.csv.ParseOptions(
        newlines_in_values=True, invalid_row_handler=lambda row: skipped.append(row.text) or "skip"
    )
    table = pyarrow.csv.read_csv(path, parse_options=options)
    expected = [row for row in rows_of(truth, name) if row["fault"] != "malformed line"]
    assert path.read_text(encoding="utf-8").startswith("url,caption\n")
    assert len(skipped) == len(rows_of(truth, name)) - len(expected)
    assert table["url"].to_pylist() == [row["url"] or "" for row in expected]
    assert table["caption"].to_pylist() == [row["caption"] for row in expected]


def test_the_removal_list_holds_the_removed_links(world: World, truth: list[dict[str, Any]]) -> None:
    lines = world.removal_list.read_text(encoding="utf-8").splitlines()
    removed = {row["url"] for row in truth if row["fault"] == "removed link"}
    assert {line for line in lines if not line.startswith("#")} == removed


@pytest.mark.slow
def test_the_same_seed_builds_the_same_world(world: World, tmp_path: Path) -> None:
    again = build_world(tmp_path, world.base_url, size="test")
    assert contents(tmp_path) == contents(world.folder)
    other = build_world(tmp_path, world.base_url, seed=1, size="test")
    assert pq.read_table(other.truth) != pq.read_table(world.truth)
    assert again.planted == other.planted


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the one that names the folder itself."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "world.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
