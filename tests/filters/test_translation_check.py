"""What is wrong with a translation: real failures of translation models, and texts that only look like them."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pydantic import ValidationError

from filters.rules import Rules
from filters.translation import TranslationCheck


def reasons(english: str | None, caption: str | None, check: TranslationCheck | None = None) -> list[str]:
    table = pa.table({"english": pa.array([english], pa.string()), "caption": pa.array([caption], pa.string())})
    masks = (check or TranslationCheck()).rejects(table)
    return [reason.removeprefix("translation_") for reason, mask in masks.items() if mask.to_pylist() == [True]]


CAPTION = "A man riding a horse on the beach"


@pytest.mark.parametrize(
    ("english", "caption", "expected"),
    [
        (CAPTION, "一个男人在海滩上骑马", []),
        (CAPTION, None, ["empty"]),
        (CAPTION, " \u3000\n", ["empty"]),
        (CAPTION, CAPTION.upper() + " ", ["untranslated", "not_chinese"]),
        (CAPTION, "一个 man riding a horse on the 海滩", ["untranslated", "not_chinese"]),
        ("Nike", "nike", ["untranslated", "not_chinese"]),
        ("a bus with BBC on it", "写着BBC的公共汽车", []),
        (CAPTION, "一个男人在海滩上骑" + "马" * 4, ["repeats"]),
        (CAPTION, "一个男人在海滩上骑" + "马" * 3, []),
        (CAPTION, "一个男人，一个男人，一个男人，一个男人", ["repeats"]),
        (CAPTION, "骑马骑马骑马骑马", ["repeats"]),
        (CAPTION, "在海滩上骑着马的男人" * 3, []),  # longer than 8 letters, and a third of the pairs is distinct
        (CAPTION, "在海滩上骑着马的男人" * 4, ["repeats"]),  # too few distinct pairs
        ("10000 people in a square, 1999", "1999年，广场上有10000人", []),  # digits may repeat
        (CAPTION, "马", ["length"]),
        ("cat", "一只白色的猫坐在窗边", ["length"]),
        ("!", "一只白色的猫坐在窗边", []),  # without a word there is no measure
        (CAPTION, "ビーチで馬に乗るおとこのひとのしゃしん", ["not_chinese"]),
        (CAPTION, "Мужчина верхом на лошади", ["not_chinese"]),
        (CAPTION, "……！！", ["length", "not_chinese"]),
        (None, "aaaaaaaa", []),
        (None, None, []),
    ],
)
def test_failures_and_what_only_looks_like_them(english: str | None, caption: str | None, expected: list[str]) -> None:
    assert reasons(english, caption) == expected


def test_rows_do_not_run_into_one_another() -> None:
    table = pa.table({"english": ["horse"] * 3 + [None, "a b"], "caption": ["马", "马", "马马", "马", ""]})
    assert sum(TranslationCheck().rejects(table)["translation_repeats"].to_pylist()) == 0
    many = pa.table({"english": ["a red car"] * 40_000, "caption": ["红色汽车"] * 39_999 + ["红色红色红色红色"]})
    repeats = TranslationCheck().rejects(many)["translation_repeats"]
    assert repeats.to_pylist() == [False] * 39_999 + [True]


def test_bounds_are_the_recipe_s() -> None:
    assert reasons(CAPTION, "马马马", TranslationCheck(max_repeats=2, min_per_word=0)) == ["repeats"]
    assert reasons(CAPTION, "一个男人在海滩上骑马", TranslationCheck(max_per_word=1)) == ["length"]
    with pytest.raises(ValidationError, match="must not exceed"):
        TranslationCheck(min_per_word=7)


def test_sources_without_english_are_left_alone() -> None:
    captions = pa.table({"caption": ["aaaaaaaa", None]})
    assert all(not any(mask.to_pylist()) for mask in TranslationCheck().rejects(captions).values())
    assert TranslationCheck().rejects(captions.slice(0, 0))["translation_repeats"].to_pylist() == []


def test_the_check_is_off_unless_a_recipe_asks_for_it() -> None:
    assert not any(isinstance(rule, TranslationCheck) for rule in Rules().filters())
    asked = Rules.model_validate({"translation": {"max_repeats": 2}})
    assert TranslationCheck(max_repeats=2) in asked.row_filters()
