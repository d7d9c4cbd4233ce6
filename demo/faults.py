"""What is planted in the demo's metadata: kinds of faults, how many of each, who is expected to catch them, and how."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

PINYIN = (
    *("hong", "pingguo", "lü", "xiao", "mao", "gou", "da", "shu", "hua", "kai", "fu", "gui"),
    *("nian", "you", "yu", "chun", "jie", "kuai", "le", "shan", "shui", "feng", "jing"),
)
FILLER = "阳光照在安静的小路上远处传来孩子们的笑声一切都显得那么温暖而美好让人忍不住停下脚步多看几眼再慢慢走回家去"


@dataclass(frozen=True)
class Kind:
    """One kind of planted row."""

    name: str
    stage: str  # whose ledger is expected to have it
    reasons: tuple[str, ...]  # reason codes of which at least one is expected in the ledger
    count: int  # rows in a world of size "demo"


def _kind(name: str, stage: str, reasons: str, count: int) -> Kind:
    return Kind(name, stage, tuple(reasons.split()), count)


CAPTION_KINDS = (
    _kind("advertising", "filter", "blacklist_advertising", 40),
    _kind("file name", "filter", "blacklist_image_file_name", 40),
    _kind("boilerplate", "filter", "blacklist_boilerplate", 40),
    _kind("contact", "filter", "blacklist_contact", 40),
    _kind("adult", "filter", "blacklist_adult", 12),
    _kind("too short", "filter", "caption_too_short", 40),
    _kind("too long", "filter", "caption_too_long", 40),
    _kind("pinyin", "filter", "no_han", 40),
    _kind("frequent", "filter", "caption_too_frequent", 48),
)
"""Rows with a good url and a bad caption, which `bad_caption` writes."""

LINK_KINDS = (
    _kind("url missing", "filter", "url_missing", 10),
    _kind("url malformed", "filter", "url_malformed", 16),
    _kind("scheme", "filter", "url_scheme", 16),
    _kind("private address", "filter", "url_private refused_address", 20),
    _kind("private by name", "filter", "url_private refused_address", 10),
    _kind("removed link", "filter", "removed_link", 24),
    _kind("punsafe", "filter", "punsafe_too_high", 24),
    _kind("duplicate pair", "filter", "duplicate_pair", 40),
    _kind("duplicate image url", "filter", "duplicate_image_url duplicate_pair", 30),
)
"""Rows with a good caption and something wrong with the link or with the row."""

WEB_KINDS = (
    _kind("404", "download", "http_404", 30),
    _kind("410", "download", "http_410", 12),
    _kind("500", "download", "http_500", 10),
    _kind("reset", "download", "connection_lost connect_failed", 10),
    _kind("unknown host", "download", "dns_failed", 10),
    _kind("drip", "download", "timeout", 6),
    _kind("hang", "download", "timeout", 4),
    _kind("too many bytes", "download", "too_many_bytes", 8),
    _kind("html", "download", "not_an_image", 16),
    _kind("garbage", "download", "not_an_image truncated_image", 10),
    _kind("truncated", "download", "truncated_image not_an_image", 16),
    _kind("pixel bomb", "download", "too_many_pixels", 6),
    _kind("empty", "download", "empty_response", 6),
    _kind("opt-out", "download", "opted_out", 16),
    _kind("redirect to private", "download", "refused_address", 10),
    _kind("redirect to file", "download", "refused_scheme refused_address", 6),
    _kind("redirect loop", "download", "too_many_redirects", 4),
)
"""Rows whose metadata is good and whose link leads to trouble."""

SWAPPED = _kind("swapped caption", "select", "score_too_low", 340)
CLEAN = _kind("clean", "none", "", 2240)
LANGUAGE = _kind("other language", "read", "language", 200)
MALFORMED = _kind("malformed line", "read", "malformed_row", 6)
ROW_GROUP = _kind("corrupt row group", "read", "unreadable_row_group", 40)
FILE = _kind("corrupt file", "read", "unreadable_file", 1)
ALL_KINDS = (*CAPTION_KINDS, *LINK_KINDS, *WEB_KINDS, SWAPPED, CLEAN, LANGUAGE, MALFORMED, ROW_GROUP, FILE)

FREQUENT = 12  # rows that share one caption; Wukong's rule drops texts that occur more than 10 times
OTHER_LANGUAGES = {
    "en": "a small drawing of a happy face",
    "ja": "かわいいイラスト 笑顔",
    "ko": "귀여운 그림 모음",
    "fr": "un joli dessin en couleurs",
    "nolang": "2019 / 04 / 12",
}


def bad_caption(kind: str, index: int, name: str, rng: random.Random) -> str:
    """The caption of row number `index` of a kind in CAPTION_KINDS, about a thing called `name`."""
    return _WRITERS[kind](index, name, rng)


def _pick(*texts: str) -> Callable[[int, str, random.Random], str]:
    def write(index: int, name: str, rng: random.Random) -> str:
        return texts[index % len(texts)].format(name=name[:10], n=rng.randrange(1000, 10000), i=index)

    return write


def _too_short(index: int, _: str, rng: random.Random) -> str:
    return FILLER[(start := rng.randrange(40)) : start + 1 + index % 4]


def _too_long(index: int, name: str, rng: random.Random) -> str:
    """51 characters at first, then more; the third as long as the longest text known of laion2B-multi (61,192)."""
    wanted = (51, 64, 61_192, 300)[index % 4] if index < 4 else rng.randint(51, 120)
    start = rng.randrange(len(FILLER))
    return (name + FILLER[start:] + FILLER * (wanted // len(FILLER) + 1))[:wanted]


def _pinyin(index: int, _: str, rng: random.Random) -> str:
    return " ".join(rng.sample(PINYIN, 3 + index % 4))


_WRITERS: dict[str, Callable[[int, str, random.Random], str]] = {
    "advertising": _pick(
        "{name} 全国包邮 正品保证",
        "【厂家直销】{name} 批发价 一件代发",
        "{name}官方旗舰店 限时抢购 假一赔十",
        "{name} 货到付款 七天无理由退换",
        "【廠家直銷】{name} 現貨供應",
    ),
    "file name": _pick(
        "{name}_{n}.jpg",
        "IMG_2019{n} {name}",
        "微信图片_20190412{n}12",
        "QQ截图2018{n} {name}",
        "DSC_{n}.JPG {name}",
        "{name}.PNG",
    ),
    "boilerplate": _pick(
        "点击查看大图 {name}",
        "{name} 图片来源于网络 侵删",
        "图片加载失败 {name}",
        "{name} 版权归原作者所有",
        "點擊查看大圖 {name}",
    ),
    "contact": _pick(
        "{name} 联系电话:0755-1234{n}",
        "{name} 加微信:demo_{n}",
        "{name} QQ群:12345{n}",
        "{name} 咨询热线 400-123-{n}",
        "{name} 邮箱:someone{n}@example.com",
        "{name} 電話:138 0000 {n} 客服微信",
    ),
    "adult": _pick("{name} 成人电影", "{name} 情趣用品", "{name} 色情网站"),
    "too short": _too_short,
    "too long": _too_long,
    "pinyin": _pinyin,
    "frequent": lambda index, _, __: f"第{'一二三四五六七八九十'[index // FREQUENT]}届全国摄影大赛入围作品",
}
