"""Which of several equal pairs stays."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest

from filters.base import reason_bits, reasons_of
from filters.duplicates import Duplicates
from filters.url import canonical_url

SAME_IMAGE = [
    "http://example.com/a/b.jpg",
    "https://example.com/a/b.jpg",
    "HTTP://EXAMPLE.com/a/b.jpg",
    "https://www.example.com:443/a/b.jpg?x=1",
    "http://example.com:80/a/b.jpg#top",
    "http://www.example.com/a/b.jpg?w=100#x",
]


@pytest.mark.parametrize("url", SAME_IMAGE)
def test_spellings_of_one_image(url: str) -> None:
    assert canonical_url(pl.Series([url])).to_list() == ["example.com/a/b.jpg"]


@pytest.mark.parametrize(
    ("first_url", "second_url"),
    [
        ("http://example.com/a.jpg", "http://example.com/A.jpg"),  # the case of a path counts
        ("http://example.com:8080/a.jpg", "http://example.com/a.jpg"),
        ("http://example.com:443/a.jpg", "http://example.com/a.jpg"),  # 443 is not the default of http
        ("http://img.example.com/a.jpg", "http://example.com/a.jpg"),
        ("http://example.com/a", "http://example.com/a/"),
    ],
)
def test_different_images(first_url: str, second_url: str) -> None:
    first, second = canonical_url(pl.Series([first_url, second_url]))
    assert first != second


def test_odd_urls_have_a_canonical_form() -> None:
    urls = pl.Series(["http://中文.cn/图.jpg?a", "http://a.cn", "https://A.cn/", None, "", "no url?x"])
    assert canonical_url(urls).to_list() == ["中文.cn/图.jpg", "a.cn/", "a.cn/", None, "", "no url"]


def pairs(rows: list[tuple[str | None, str | None]], **more: list[int]) -> pa.Table:
    url, caption = zip(*rows, strict=True)
    return pa.table({"url": pa.array(url, pa.string()), "caption": pa.array(caption, pa.string()), **more})


def test_first_row_wins_and_both_reasons_are_kept() -> None:
    rows = [(SAME_IMAGE[0], "猫"), (SAME_IMAGE[1], "猫"), (SAME_IMAGE[0], "猫"), (SAME_IMAGE[0], "狗")]
    _, rejected = Duplicates().split(pairs(rows))
    assert rejected["reasons"].to_pylist() == [["duplicate_image_url"], ["duplicate_pair", "duplicate_image_url"]]


def test_spelling_of_the_url_can_be_left_to_count() -> None:
    rows = [(SAME_IMAGE[0], "猫"), (SAME_IMAGE[1], "猫"), (SAME_IMAGE[0], "猫")]
    table = pairs(rows)
    assert Duplicates(same_image_url=False).split(table)[0].num_rows == 2
    assert Duplicates(same_image_url=False).rejects(table)["duplicate_pair"].to_pylist() == [False, False, True]


def test_lower_priority_wins_then_table_order() -> None:
    table = pairs([("http://a.cn/x", "猫")] * 4, priority=[2, 1, 1, 0])
    assert Duplicates().rejects(table)["duplicate_pair"].to_pylist() == [True, True, True, False]
    table = pairs([("http://a.cn/x", "猫")] * 3, priority=[1, 0, 0])
    assert Duplicates().rejects(table)["duplicate_pair"].to_pylist() == [True, False, True]
    bits = reason_bits([Duplicates()], table)  # `reason_bits` hands the optional column on
    assert [int(b) & 1 for b in bits] == [1, 0, 1]
    assert reasons_of([Duplicates()]) == ("duplicate_pair", "duplicate_image_url")


def test_null_equals_nothing() -> None:
    table = pairs([(None, "猫"), (None, "猫"), ("http://a.cn/x", None), ("http://a.cn/x", None)])
    assert Duplicates().split(table)[0].num_rows == 4


def test_captions_and_urls_do_not_run_together() -> None:
    table = pairs([("http://a.cn/x", "y"), ("http://a.cn/", "xy"), ("y", "http://a.cn/x")])
    assert Duplicates().split(table)[0].num_rows == 3
