"""What a pattern is seen to need: too little is slow, too much would lose captions."""

from __future__ import annotations

import pytest

from filters.keywords import required_words


@pytest.mark.parametrize(
    ("regex", "words"),
    [
        (r"微信图片[-_ ]?\d{4,}", ("微信图片",)),
        (r"(?:电话|热线)\s*\d+", ("电话", "热线")),
        (r"(?:^|[^a-z])qq(?:图片|截图)\d", ("图片", "截图")),
        (r"手机号码?\d", ("手机号",)),  # what is optional is not needed
        (r"手机(?:号码)?\d", ("手机",)),
        (r"(?:手机|电话)?\d", None),
        (r"(?:手机|电话)*\d", None),
        (r"(?:手机|电话){0,2}\d", None),
        (r"手机|\d+", None),  # an alternation of the whole
        (r"(?:手机|\d+)号码", ("号码",)),
        (r"(?:手机|号)\d", None),  # one character is too common
        (r"(?i)手机", None),
        (r"(?:手机(?:号)?)\d", None),
        (r"[手机]\d", None),
        (r"手.机", None),
        (r"手\.机", None),
        (r"dsc_\d+", None),
        (r"\p{Han}手机", None),
    ],
)
def test_required_words(regex: str, words: tuple[str, ...] | None) -> None:
    assert required_words(regex) == words
