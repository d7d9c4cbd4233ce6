"""Length, Han characters and frequency of captions."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pydantic import ValidationError

from filters.caption import CaptionFrequency, CaptionLength, HanCharacters


def captions(*texts: str | None) -> pa.Table:
    return pa.table({"caption": pa.array(texts, pa.string())})


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        ("四个字符", "caption_too_short"),
        ("五个字符的", None),
        ("  四个字符\u3000\n", "caption_too_short"),  # white space around does not count
        ("五 个 字", None),  # white space within does
        ("字" * 50, None),
        ("字" * 51, "caption_too_long"),
        (" " + "字" * 50 + "\u3000", None),
        ("🐼🐼🐼🐼", "caption_too_short"),  # 16 bytes, 8 UTF-16 units, 4 characters
        ("🐼🐼🐼🐼🐼", None),
        ("👨\u200d👩\u200d👧", None),  # one drawing, five code points
        ("ＡＢＣＤ", "caption_too_short"),
        ("繁體字長度", None),
        ("", "caption_too_short"),
        ("   ", "caption_too_short"),
        (None, "caption_too_short"),
    ],
)
def test_length_counts_characters_after_trimming(caption: str | None, reason: str | None) -> None:
    _, rejected = CaptionLength().split(captions(caption))
    assert rejected["reasons"].to_pylist() == ([[reason]] if reason else [])


def test_length_bounds_must_be_ordered() -> None:
    with pytest.raises(ValidationError, match=r"min \(9\) must not exceed max \(8\)"):
        CaptionLength(min=9, max=8)


def test_han_wants_a_han_character() -> None:
    table = captions("zhong guo mei shi", "beijing 北京", "カタカナ", "㐂", "𠀀", None, "", "１２３")
    kept, rejected = HanCharacters().split(table)
    assert kept["caption"].to_pylist() == ["beijing 北京", "㐂", "𠀀"]
    assert set(map(tuple, rejected["reasons"].to_pylist())) == {("no_han",)}


def test_han_share_is_of_characters_other_than_space() -> None:
    table = captions("北京 ab", "北京 abc", "北 京 a b")
    assert HanCharacters(min_share=0.5).rejects(table)["han_share_too_low"].to_pylist() == [False, True, False]
    assert HanCharacters(min_count=3).rejects(table)["no_han"].to_pylist() == [True, True, True]


def test_frequency_counts_distinct_urls_in_each_source() -> None:
    rows = [("a", f"u{i}", "常见") for i in range(3)]  # three urls: too many of at most two
    rows += [("b", "u0", "常见"), ("b", "u1", "常见")]  # the same text is rare in another source
    rows += [("a", "u9", "重复")] * 5  # one pair five times over is one occurrence
    rows += [("a", f"u{i}", None) for i in range(5)]
    source, url, caption = zip(*rows, strict=True)
    table = pa.table({"source": source, "url": url, "caption": caption})
    answer = CaptionFrequency(max=2).rejects(table)["caption_too_frequent"].to_pylist()
    assert answer == [True] * 3 + [False] * 12
