"""Small text helpers of translations."""

from __future__ import annotations

import zhconv  # type: ignore[import-untyped]


def to_simplified(text: str) -> str:
    """`text` with traditional characters simplified, word by word where a word needs it (乾隆 stays, 乾淨 → 干净).

    MediaWiki's table zh-hans, from zhconv; regional words stay what they are (軟體 → 软体, not 软件).
    """
    return zhconv.convert(text, "zh-hans")


def one_line(text: str) -> str:
    """`text` with each run of white space as one space, and none around."""
    return " ".join(text.split())
