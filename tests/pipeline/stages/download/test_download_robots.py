from __future__ import annotations

import pytest

from pipeline.stages.download.robots import forbids

DIRECTIVES = ("noai", "noimageai", "noindex", "noimageindex")


@pytest.mark.parametrize(
    ("headers", "directive"),
    [
        ([], None),
        (["noai"], "noai"),
        (["NoFollow, NoImageAI"], "noimageai"),
        (["all", "nofollow", "noindex"], "noindex"),
        (["none"], "none"),
        (["zhclip: noai"], "noai"),
        (["ZHClip : noai"], "noai"),
        (["*: noai"], "noai"),
        (["otherbot: noai"], None),
        (["otherbot: noarchive, noai"], None),
        (["otherbot: noai, zhclip: noindex"], "noindex"),
        (["otherbot: noai", "noai"], "noai"),
        (["max-snippet: 50, noai"], "noai"),  # img2dataset takes max-snippet for a user agent
        (["noai, max-image-preview: large"], "noai"),  # and here all up to the colon
        (["unavailable_after: Friday, 25-Jun-30 15:00:00 PST, noai"], "noai"),
        (["unavailable_after: 25 Jun 2030 15:00:00 PST"], None),
        (["zhclip: max-snippet: 5, noindex"], "noindex"),
        ([",, :,"], None),
        (["noaisle"], None),
    ],
)
def test_directives(headers: list[str], directive: str | None) -> None:
    assert forbids(headers, "zhclip", DIRECTIVES) == directive


def test_only_what_the_recipe_names_forbids() -> None:
    assert forbids(["noindex, none"], "zhclip", ("noai",)) is None
    assert forbids(["noai"], "zhclip", ()) is None
