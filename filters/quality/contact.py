"""Contact details written so as to get past word lists: spaced or disguised numbers, nicknames of messengers, addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from filters.base import Filter
from filters.text import normal_forms
from foundation.config import value
from foundation.lazy import polars as pl

Kind = Literal["phone", "messenger", "address"]
KINDS: tuple[Kind, ...] = ("phone", "messenger", "address")

# Expressions see the caption in normal form (half-width, lower case, simplified). Digits may be written in any of three ways.
DIGIT = r"[0-9〇零一二三四五六七八九壹贰叁肆伍陆柒捌玖幺①②③④⑤⑥⑦⑧⑨⓪❶❷❸❹❺❻❼❽❾⓿]"
GAP = r"[-\s.·_—–~*/|]{0,2}"
NAME = r"[a-z0-9][-_a-z0-9]{4,19}"
SIGN = r"\s*(?:号码?|id|:|;|-|=|➕|\+|加|是|为)?\s*:?\s*"

PATTERNS: dict[Kind, tuple[str, ...]] = {
    "phone": (
        # a mobile number: 1, 3 to 9, nine more
        rf"(?:^|[^0-9])[1一壹幺①❶]{GAP}[3-9三四五六七八九叁肆伍陆柒捌玖③④⑤⑥⑦⑧⑨❸❹❺❻❼❽❾](?:{GAP}{DIGIT}){{9}}(?:$|[^0-9])",
        r"(?:^|[^0-9])0(?:10|2\d|[3-9]\d\d)[-\s)—–.]{0,2}\d{3,4}[-\s.]?\d{4}(?:$|[^0-9])",  # a land line
        r"(?:^|[^0-9])[48]00[-\s.]?\d{3,4}[-\s.]?\d{3,4}(?:$|[^0-9])",
        r"(?:电话|手机|热线|传真|座机|致电|拨打|咨询|联系|tel|☎|📞|📱)[^0-9]{0,4}\d(?:[-\s.]?\d){5,}",
    ),
    "messenger": (
        rf"(?:^|[^a-z])(?:wx|vx|v信|weixin|wechat|we chat){SIGN}{NAME}(?:$|[^-_a-z0-9])",
        rf"(?:微信|薇信|威信|徽信|微芯|卫星号|微❤|薇❤|威❤|v❤|[加➕+]v(?:信)?|[加➕+]薇){SIGN}{NAME}(?:$|[^-_a-z0-9])",
        r"(?:^|[^a-z])q\s*q?\s*(?:群|号|号码)?\s*[:;]?\s*[1-9](?:[-\s]?\d){5,10}(?:$|[^0-9])",
        r"(?:扣扣|企鹅|口口|球球|抠抠|加群|群号|交流群)[^0-9]{0,3}[1-9]\d{5,10}",
        r"[1-9]\d{5,10}\s*@\s*qq",
        r"(?:加|➕|\+)\s*(?:我|个)?\s*(?:微信|薇信|威信|vx|wx|v信|q(?:$|[^a-z])|qq|扣扣|好友)",
    ),
    "address": (
        r"\p{Han}(?:路|街|道|巷|弄|胡同)\s*\d+\s*(?:-\d+)?\s*(?:号|弄)(?:$|[^公线])",  # a street's name alone is a place
        r"\d+\s*(?:号楼|号院|幢|单元)|\d+\s*栋\s*\d",
        r"\p{Han}(?:广场|大厦|商城|写字楼|公寓)\s*[a-z]?\s*\d+\s*(?:层|楼|室|号|铺|座)",
        r"(?:地址|店址|厂址|门店)\s*[:;]",
    ),
}
# Only captions with one of these can have contact details; most have none.
SCREEN = rf"{DIGIT}|地址|店址|厂址|门店|微信|薇|威信|徽信|微芯|卫星号|❤|wx|vx|v信|weixin|wechat|we chat|[加➕+]"


class ContactDetails(Filter):
    """Rejects captions with a telephone number, a messenger's name with an account, or a postal address.

    Stricter than the blacklist's `contact`, which has words and plain numbers: these patterns also see numbers with gaps
    (138-0013-8000), in other digits (幺三八…, ①③⑧…) and after nicknames (薇❤, 加V, 扣扣). A null caption has none.
    """

    reasons: ClassVar[Mapping[str, str]] = {
        "contact_phone": "the caption contains a telephone number, however written",
        "contact_messenger": "the caption contains a messenger's name with an account",
        "contact_address": "the caption contains a postal address",
    }
    columns: ClassVar[tuple[str, ...]] = ("caption",)

    kinds: tuple[Kind, ...] = value(KINDS, "kinds of details that are rejected")

    def rejects(self, pairs: pa.Table) -> dict[str, pa.BooleanArray]:
        """A mask for each of `reasons`; all False for kinds that are not in `kinds`."""
        captions = normal_forms(pairs["caption"])
        suspects = np.flatnonzero(captions.str.contains(SCREEN).to_numpy()) if len(captions) else np.zeros(0, np.int64)
        suspect_captions = captions.gather(suspects)
        masks = {}
        for reason, kind in zip(self.reasons, KINDS, strict=True):
            rejected = np.zeros(len(captions), bool)
            if kind in self.kinds:
                rejected[suspects] = _any(suspect_captions, PATTERNS[kind])
            masks[reason] = pa.array(rejected)
        return masks


def _any(captions: pl.Series, patterns: Iterable[str]) -> np.ndarray:
    return captions.str.contains("|".join(f"(?:{pattern})" for pattern in patterns)).to_numpy()
