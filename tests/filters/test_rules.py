"""All rules together: against a slow reference in plain Python, on dirty input, and as a recipe's section."""

from __future__ import annotations

import pickle
import random
import re
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError
from zhconv import zhconv

from filters.base import reason_bits, reasons_of, split
from filters.caption import CaptionFrequency, CaptionLength
from filters.duplicates import Duplicates
from filters.metadata import DeclaredSize, MetadataSimilarity, NsfwTag, Punsafe, Pwatermark
from filters.rules import Rules
from foundation.pairs import PAIR_SCHEMA
from tests.support.paths import REPOSITORY

ALL = Rules(
    caption_frequency=CaptionFrequency(max=3),
    similarity=MetadataSimilarity(missing="reject"),
    punsafe=Punsafe(),
    pwatermark=Pwatermark(missing="reject"),
    image_size=DeclaredSize(max_side=4000),
    nsfw=NsfwTag(),
)
FILTERS = (*ALL.filters(), Duplicates())
WORDS = REPOSITORY / "filters" / "words"
PIECES = [
    "猫", "大熊貓", "風景", "包邮", "厂家直销", "廠家直銷", "ＱＱ：", "12345678", "13812345678", "DSC_1234", ".jpg", " ", "　",
    "🐼", "👨‍👩‍👧", "abc", "ＡＢＣ", "，", "（一）", "情趣内衣", "點擊查看大圖", "www.", "a@b.cn",
    "微信", "价格", "\t", "é", "𠀀", "ß",
]  # fmt: skip
URLS = [
    "http://a.cn/x.jpg", "https://www.A.cn/x.jpg?y", "http://a.cn:80/x.jpg", "ftp://a.cn/x", "", "  ", "no url", "http:///x",
    "http://localhost/x", "http://10.0.0.1/x", "https://例子.中国/图.jpg", "http://u@a.cn/x", "http://a.cn/x y", "http://b.cn",
]  # fmt: skip


def dirty(seed: int, rows: int) -> pa.Table:
    """Random pairs in which every fault occurs, nulls in every column that may have them."""
    chance = random.Random(seed)
    real = [None, float("nan"), 6016.0, -0.5, 0.0, 0.3, 0.5, 0.9]
    side = [None, 0, -1, 100, 200, 700, 5000]
    texts = [None, "", " \n", *("".join(chance.choices(PIECES, k=chance.randint(1, 14))) for _ in range(rows // 3))]
    choices: dict[str, Any] = {
        "source": ["laion", "wukong"], "file": ["f"], "row": [0], "url": [None, *URLS], "caption": texts,
        "language": [None, "zh"], "similarity": real, "width": side, "height": side, "punsafe": real, "pwatermark": real,
        "nsfw": [None, "UNSURE", "NSFW", "nsfw"], "license": [None],
    }  # fmt: skip
    columns = [pa.array([chance.choice(choices.get(f.name, [None])) for _ in range(rows)], f.type) for f in PAIR_SCHEMA]
    return pa.Table.from_arrays(columns, schema=PAIR_SCHEMA)


def entries() -> dict[str, list[re.Pattern[str]]]:
    patterns = {}
    for path in WORDS.glob("*.txt"):
        lines = [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]
        patterns[path.stem] = [
            re.compile(x[3:].replace("$", r"\Z") if x.startswith("re:") else re.escape(normal(x))) for x in lines
        ]
    return patterns


def normal(text: str) -> str:
    """Another way to the normal form than the code's: character by character."""
    table = zhconv.getdict("zh-cn") and zhconv.zhcdicts["zh2Hans"]
    half = "".join(chr(ord(c) - 0xFEE0) if 0xFF01 <= ord(c) <= 0xFF5E else c for c in text.replace("\u3000", " "))
    return "".join(table.get(c, c).lower() if c.isascii() or c in table else c for c in half)


def plausible(number: float | None, lowest: float, highest: float) -> bool:
    return number is not None and lowest <= number <= highest


def by_hand(row: dict[str, Any], patterns: dict[str, list[re.Pattern[str]]]) -> set[str]:
    """The reasons of one row, by the rules that need no other row; urls have their own tests."""
    text = row["caption"] or ""
    reasons = {"caption_too_short": len(text.strip()) < 5, "caption_too_long": len(text.strip()) > 50}
    reasons["no_han"] = not re.search("[\u3005\u3007\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0003ffff]", text)
    for name, expressions in patterns.items():
        reasons[f"blacklist_{name}"] = any(p.search(normal(text)) for p in expressions)
    similar = plausible(row["similarity"], -1, 1)
    reasons |= {"similarity_missing": not similar, "similarity_too_low": similar and row["similarity"] < 0.26}
    reasons["punsafe_too_high"] = plausible(row["punsafe"], 0, 1) and row["punsafe"] > 0.5
    water = plausible(row["pwatermark"], 0, 1)
    reasons |= {"pwatermark_missing": not water, "pwatermark_too_high": water and row["pwatermark"] > 0.8}
    sides = sorted(side for side in (row["width"], row["height"]) if side is not None and side > 0)
    reasons["image_too_small"] = bool(sides) and sides[0] < 200
    reasons["image_too_large"] = bool(sides) and sides[-1] > 4000
    reasons["image_aspect"] = len(sides) == 2 and sides[1] > 3 * sides[0]
    reasons["nsfw_tag"] = (row["nsfw"] or "").upper() == "NSFW"
    reasons["url_missing"] = not (row["url"] or "").strip()
    return {reason for reason, rejected in reasons.items() if rejected}


CANONICAL = {
    "https://www.A.cn/x.jpg?y": "a.cn/x.jpg",
    "http://a.cn:80/x.jpg": "a.cn/x.jpg",
    "http://a.cn/x.jpg": "a.cn/x.jpg",
}


def across_rows(rows: list[dict[str, Any]]) -> list[set[str]]:
    """The reasons that depend on other rows."""
    places = {(row["source"], row["caption"], row["url"]) for row in rows}
    often = Counter((source, caption) for source, caption, _ in places)
    seen: set[tuple[str, str, str]] = set()
    answers = []
    for row in rows:
        url, caption, reasons = row["url"], row["caption"], set()
        if caption is not None and often[row["source"], caption] > 3:
            reasons.add("caption_too_frequent")
        if caption is not None and url is not None:
            keys = {
                "duplicate_pair": ("pair", url, caption),
                "duplicate_image_url": ("url", CANONICAL.get(url, url), caption),
            }
            reasons |= {reason for reason, key in keys.items() if key in seen}
            seen |= set(keys.values())
        answers.append(reasons)
    return answers


URL_REASONS = {"url_malformed", "url_scheme", "url_private"}


@pytest.mark.parametrize("seed", range(5))
def test_judge_equals_the_reference(seed: int) -> None:
    table = dirty(seed, 500).slice(3)  # a slice: offsets into the buffers must be minded
    rows, names, patterns = table.to_pylist(), reasons_of(FILTERS), entries()
    expected = [by_hand(row, patterns) | more for row, more in zip(rows, across_rows(rows), strict=True)]
    bits = reason_bits(FILTERS, table)
    for row, want, got in zip(rows, expected, bits, strict=True):
        reasons = {name for i, name in enumerate(names) if int(got) >> i & 1}
        assert reasons - URL_REASONS == want, row
    chunked = pa.concat_tables([table.slice(0, 400), table.slice(400, 0), table.slice(400)])
    assert np.array_equal(reason_bits(FILTERS, chunked), bits)


def test_every_mask_is_whole_and_without_nulls() -> None:
    table = dirty(9, 200)
    for rows in (table, table.slice(0, 0), table.slice(0, 1)):
        for rule in FILTERS:
            masks = rule.rejects(rows.select(rule.columns))
            assert tuple(masks) == tuple(rule.reasons)
            assert all(
                isinstance(m, pa.BooleanArray) and len(m) == len(rows) and not m.null_count for m in masks.values()
            )


def test_split_conserves_rows() -> None:
    table = dirty(1, 500)
    kept, rejected = split(table, FILTERS)
    assert kept.num_rows > 0 and rejected.num_rows > 0
    assert kept.num_rows + rejected.num_rows == 500
    assert all(rejected["reasons"].to_pylist()) and not reason_bits(FILTERS, kept).any()


def test_rules_as_a_section_of_a_recipe() -> None:
    rules = Rules.model_validate({"caption_length": {"max": 30}, "han": None, "blacklist": {"allow": ["旗舰店"]}})
    assert rules.caption_length == CaptionLength(min=5, max=30)
    assert [type(rule).__name__ for rule in rules.row_filters()] == ["CaptionLength", "Blacklist", "UrlSanity"]
    assert rules.group_filters() == () and ALL.group_filters() == (CaptionFrequency(max=3),)
    assert Rules.model_validate_json(rules.model_dump_json()) == rules
    assert pickle.loads(pickle.dumps(rules)) == rules
    with pytest.raises(ValidationError, match="caption_lenght"):
        Rules.model_validate({"caption_lenght": None})


def test_every_reason_is_one_sentence() -> None:
    for rule in FILTERS:
        for code, sentence in rule.reasons.items():
            assert re.fullmatch(r"[a-z_]+", code)
            assert len(sentence) > 20 and "\n" not in sentence and not sentence.endswith("."), code


def test_every_value_is_described() -> None:
    for rule in FILTERS:
        for name, field in type(rule).model_fields.items():
            assert field.description, f"{type(rule).__name__}.{name}"
