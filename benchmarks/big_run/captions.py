"""Captions: phrases of Chinese words, and everything that rules throw out, in plausible shares."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.big_run.draws import Draws, shares, zipf
from benchmarks.big_run.urls import SYLLABLES
from benchmarks.generate import WORDS as COMMON

WORDS = 20_000
PHRASES = 1 << 17
FREQUENT = 400  # captions that name a page, not an image
TAGS = {
    "n": 0.62,
    "ns": 0.12,
    "nz": 0.08,
    "vn": 0.1,
    "a": 0.08,
}  # jieba's parts of speech, and their share of the words
LEADS = "高清 2019年 2021新款 【图】 实拍： 组图： 第3集 原创 热门 中国 8K 图解"
TAILS = "图片 高清图片 图 _图片素材 -摄影作品 壁纸 效果图 （图） 素材下载 图集 -百科 海报设计 照片 photo 第2张 大全"
BETWEEN = pa.array(["", "的", " ", "，", "与", "、", "-", "和"])
BETWEEN_SHARES = shares([0.52, 0.16, 0.12, 0.09, 0.04, 0.03, 0.02, 0.02])
STOCK = "暂无图片 商品详情展示 新闻配图 楼盘实景图 网友晒单图 车型图片 商铺照片 封面图片"
DIRT = (
    "点击查看大图 点击图片放大 图片加载失败 假一赔十 货到付款 正品保证 全国联保 加微信领优惠 联系电话13812345678 "
    "DSC_0123.jpg IMG_20210304_101112 QQ群：12345678 成人视频 www.tuku.example.com"
)
KINDS = ("plain", "dirty", "short", "long", "pinyin", "stock")
STYLES = {  # of a source: shares of KINDS, and of captions of 1, 2, … 7 phrases
    "laion": ([0.79, 0.07, 0.045, 0.035, 0.045, 0.015], [0.13, 0.34, 0.27, 0.14, 0.07, 0.03, 0.02]),
    "wukong": ([0.9, 0.04, 0.02, 0.02, 0.005, 0.015], [0.04, 0.22, 0.32, 0.22, 0.12, 0.05, 0.03]),
    "danqing": ([0.935, 0.02, 0.005, 0.03, 0.0, 0.01], [0.01, 0.06, 0.16, 0.24, 0.25, 0.17, 0.11]),
}


def captions(ids: Draws, style: np.ndarray) -> pa.Array:
    """string (n,): the caption of each id, in the style of the source at that position of STYLES.

    Args:
        style: int (n,).
    """
    kinds, lengths = np.zeros(len(style), dtype=np.int32), np.zeros(len(style), dtype=np.int32)
    for number, (kind_table, length_table) in enumerate(_style_tables()):
        of_style = style == number
        draws = Draws(ids.ids[of_style], ids.seed)
        kinds[of_style], lengths[of_style] = draws.pick("kind", kind_table), draws.pick("phrases", length_table)
    order, texts = [], []
    for kind, make in enumerate(MAKERS):
        rows = np.flatnonzero(kinds == kind)
        order.append(rows)
        texts.append(make(Draws(ids.ids[rows], ids.seed), lengths[rows] + 1))
    position = np.empty(len(style), dtype=np.int64)
    position[np.concatenate(order)] = np.arange(len(style))
    return pa.concat_arrays(texts).take(pa.array(position))


def _plain(ids: Draws, lengths: np.ndarray, most: int = 7) -> pa.Array:
    """Phrases, with something before or behind them now and then."""
    cells = [_sometimes(ids, "lead", LEADS.split(), 0.12)]
    for number in range(most):
        absent = lengths <= number
        if number:
            cells.append(_taken(BETWEEN, ids.pick(f"between {number}", BETWEEN_SHARES), absent))
        phrase = (ids.bits(f"phrase {number}") % np.uint64(PHRASES)).astype(np.int32)
        cells.append(_taken(_phrases(), phrase, absent))
    cells.append(_sometimes(ids, "tail", TAILS.split(), 0.3))
    return pc.binary_join_element_wise(*cells, "", null_handling="skip")


def _dirty(ids: Draws, lengths: np.ndarray) -> pa.Array:
    return pc.binary_join_element_wise(_plain(ids, lengths, 2), _one_of(ids, "dirt", _dirt()), " ")


def _short(ids: Draws, lengths: np.ndarray) -> pa.Array:  # noqa: ARG001
    return _words().take(pa.array(ids.pick("short", _word_table())))


def _long(ids: Draws, lengths: np.ndarray) -> pa.Array:
    return _plain(ids, lengths + 9, 16)


def _pinyin(ids: Draws, lengths: np.ndarray) -> pa.Array:
    cells = [_one_of(ids, f"syllable {number}", SYLLABLES.split()) for number in range(8)]
    longer = pc.if_else(pa.array(lengths > 2), pc.binary_join_element_wise(*cells[5:], " "), None)
    return pc.binary_join_element_wise(*cells[:5], longer, " ", null_handling="skip")


def _stock(ids: Draws, lengths: np.ndarray) -> pa.Array:  # noqa: ARG001
    numbers = ids.pick("stock", _stock_table())
    return _stock_texts().take(pa.array(numbers))


MAKERS: tuple[Callable[[Draws, np.ndarray], pa.Array], ...] = (_plain, _dirty, _short, _long, _pinyin, _stock)
"""In the order of KINDS."""


def _taken(values: pa.Array, positions: np.ndarray, absent: np.ndarray) -> pa.Array:
    return values.take(pa.array(positions, mask=absent))


def _one_of(ids: Draws, name: str, values: list[str]) -> pa.Array:
    """Each of `values` equally often."""
    return pa.array(values).take(pa.array((ids.bits(name) % np.uint64(len(values))).astype(np.int32)))


def _sometimes(ids: Draws, name: str, values: list[str], share: float) -> pa.Array:
    """The first of `values` most often; null where there is none."""
    return _taken(pa.array(values), ids.pick(name, _few(len(values))), ids.uniform(f"{name}?") >= share)


@lru_cache
def _few(count: int) -> np.ndarray:
    return zipf(count)


@lru_cache
def _style_tables() -> list[tuple[np.ndarray, np.ndarray]]:
    return [(shares(kinds), shares(lengths)) for kinds, lengths in STYLES.values()]


@lru_cache
def _word_table() -> np.ndarray:
    return zipf(WORDS, 1.0, flat=12)


@lru_cache
def _stock_table() -> np.ndarray:
    return zipf(FREQUENT, 0.8)


@lru_cache
def _stock_texts() -> pa.Array:
    texts = STOCK.split()
    return pa.array([f"{texts[number % len(texts)]}{number + 1:03d}" for number in range(FREQUENT)])


@lru_cache
def _dirt() -> list[str]:
    """Texts above, and every plain entry of the project's own word lists."""
    folder = resources.files("filters") / "words"
    lines = [line for file in sorted(Path(str(folder)).glob("*.txt")) for line in file.read_text("utf-8").splitlines()]
    return [*DIRT.split() * 20, *(line for line in lines if line and not line.startswith(("#", "re:")))]


@lru_cache
def _words() -> pa.Array:
    """The commonest first: words of captions, then jieba's, which are of newspapers, by frequency."""
    import jieba

    names = ["word", "count", "tag"]
    path = Path(jieba.__file__).with_name("dict.txt")
    dictionary = pl.read_csv(path, separator=" ", has_header=False, new_columns=names, quote_char=None)
    usable = dictionary.filter(pl.col("tag").is_in(list(TAGS)) & pl.col("word").str.len_chars().is_between(2, 4))
    share = pl.col("tag").replace_strict(TAGS, return_dtype=pl.Float64)
    turn = pl.int_range(pl.len()).over("tag") / share  # parts of speech take turns, each at its share
    ranked = usable.sort("count", "word", descending=[True, False]).with_columns(turn=turn).sort("turn", "word")["word"]
    common = [word for word in COMMON.split() if len(word) > 1]
    return pa.array(list(dict.fromkeys([*common, *ranked.head(WORDS)]))[:WORDS])


@lru_cache
def _phrases() -> pa.Array:
    """string (PHRASES,): one to three words each, of which words follow Zipf's law."""
    ids = Draws(np.arange(PHRASES, dtype=np.uint64), 0)
    length = ids.pick("words of a phrase", shares([0.35, 0.5, 0.15]))
    cells = [_taken(_words(), ids.pick(f"word {number}", _word_table()), length < number) for number in range(3)]
    return pc.binary_join_element_wise(*cells, "", null_handling="skip")
