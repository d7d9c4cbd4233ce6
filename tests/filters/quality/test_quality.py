"""Caption filters beyond the paper: what they are to find and to leave, slices and nulls, and a slow reference."""

from __future__ import annotations

import random
import unicodedata
from itertools import pairwise

import pyarrow as pa
import pytest

from filters.base import Filter
from filters.quality.contact import ContactDetails
from filters.quality.language import CANTONESE, CaptionLanguage, japanese_han
from filters.quality.marks import MarksAndDigits
from filters.quality.repetition import Repetition
from filters.rules import Rules

FILTERS: tuple[Filter, ...] = (
    CaptionLanguage(),
    Repetition(max_run=2, max_phrases=1, max_phrase_length=3, max_pair_share=0.3),
    MarksAndDigits(max_marks=0.25, max_digits=0.2),
    ContactDetails(),
)
PIECES = [*"猫猫猫哈哈！！!?，1２③〇のカ나嘅検 　\t\n🐼é𠀀a", "电话138-0013-8000", "加V abc12345", "中山路12号"]


def reasons(rule: Filter, caption: str | None) -> set[str]:
    masks = rule.rejects(pa.table({"caption": pa.array([caption], pa.string())}))
    return {reason for reason, mask in masks.items() if mask[0].as_py()}


def dirty(seed: int, rows: int = 300) -> list[str | None]:
    chance = random.Random(seed)
    return [None, "", " \u3000", *("".join(chance.choices(PIECES, k=chance.randint(1, 12))) for _ in range(rows))]


def runs(text: str, period: int) -> int:
    """Longest stretch that repeats with `period`, found by trying every one; of one character alone for period 1 only."""
    longest = 0
    for begin in range(len(text)):
        end = begin + period
        while end < len(text) and text[end] == text[end - period]:
            end += 1
        if end > begin + period and (period == 1 or len(set(text[begin:end])) > 1):
            longest = max(longest, end - begin)
    return longest


def by_hand(caption: str | None) -> set[str]:
    """The answers of FILTERS but ContactDetails, character by character."""
    text = (caption or "").strip()
    visible = [character for character in text if not character.isspace()]
    marks = sum(unicodedata.category(character)[0] in "PS" for character in visible)
    digits = sum(unicodedata.category(character) in ("Nd", "No") for character in visible)
    kana = sum(
        "HIRAGANA" in (name := unicodedata.name(character, "")) or "KATAKANA" in name
        for character in text
        if character != "の"
    )
    neighbours = list(pairwise(text))
    rejected_by = {
        "caption_japanese": kana > 1 or any(character in japanese_han() for character in text),
        "caption_korean": sum("HANGUL" in unicodedata.name(character, "") for character in text) > 1,
        "caption_cantonese": any(character in CANTONESE for character in text),
        "repeated_character": runs(text, 1) > 2,
        "repeated_phrase": any(runs(text, period) >= 2 * period for period in (2, 3)),
        "repeated_pairs": len(neighbours) - len(set(neighbours)) > 0.3 * len(neighbours),
        "mark_share_too_high": marks > 0.25 * len(visible),
        "digit_share_too_high": digits > 0.2 * len(visible),
    }
    return {reason for reason, rejected in rejected_by.items() if rejected}


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_reference_on_slices_and_chunks(seed: int) -> None:
    captions = dirty(seed)
    captions_column = pa.chunked_array([pa.array(captions[:100]), pa.array([], pa.string()), pa.array(captions[100:])])
    for first in (0, 2, 150):  # a slice: offsets into the buffers must be minded
        table = pa.table({"caption": captions_column}).slice(first)
        masks = {reason: mask for rule in FILTERS for reason, mask in rule.rejects(table).items()}
        for row, caption in enumerate(captions[first:]):
            got = {reason for reason, mask in masks.items() if mask[row].as_py() and not reason.startswith("contact")}
            assert got == by_hand(caption), repr(caption)


def test_every_mask_is_whole_and_without_nulls() -> None:
    table = pa.table({"caption": pa.array(dirty(9), pa.string())})
    for rows in (table, table.slice(0, 0), table.slice(0, 1), pa.table({"caption": pa.array([], pa.string())})):
        for rule in FILTERS:
            masks = rule.rejects(rows)
            assert tuple(masks) == tuple(rule.reasons)
            assert all(isinstance(mask, pa.BooleanArray) and len(mask) == len(rows) for mask in masks.values())
            assert not any(mask.null_count for mask in masks.values())


def test_long_columns_are_cut_between_captions() -> None:
    captions = ["哈哈", "哈"] * 20_000 + ["哈哈哈哈哈"]  # neighbours in the buffer, not in a caption
    mask = Repetition().rejects(pa.table({"caption": captions}))["repeated_character"]
    assert mask.to_pylist() == [False] * 40_000 + [True]


def test_off_unless_asked_for() -> None:
    names = {"CaptionLanguage", "Repetition", "MarksAndDigits", "ContactDetails"}
    assert not names & {type(rule).__name__ for rule in Rules().filters()}
    rules = Rules.model_validate({"language": {}, "repetition": {}, "marks": {}, "contact": {"kinds": ["phone"]}})
    assert names <= {type(rule).__name__ for rule in rules.row_filters()}
    assert Rules.model_validate_json(rules.model_dump_json()) == rules
    for rule in FILTERS:
        assert all(field.description for field in type(rule).model_fields.values())


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        ("新年明けましておめでとうございます", "caption_japanese"),
        ("東京駅の夜", "caption_japanese"),  # 駅, in a caption whose only kana is の
        ("ﾊﾝﾊﾞｰｶﾞｰ", "caption_japanese"),  # half width
        ("鲜の每日果汁", None),
        ("臺灣的國語說明與圖書館裡的綠色機器", None),
        ("無料素材 写真", None),  # characters that Chinese has as well
        ("귀여운 고양이", "caption_korean"),
        ("呢個係我哋嘅相", "caption_cantonese"),
        ("唔，羊咩咩叫", None),
        ("红色汽车 red car", None),
    ],
)
def test_language(caption: str, reason: str | None) -> None:
    assert reasons(CaptionLanguage(), caption) == ({reason} if reason else set())
    assert not reasons(CaptionLanguage(reject=()), caption)


def test_japanese_characters_are_none_that_chinese_charsets_have() -> None:
    characters = japanese_han()
    assert len(characters) == 271 and set("検気売駅桜") <= set(characters)
    assert not set("裏説歴緑録国学会写真来画号点") & set(characters)


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        ("哈哈哈哈真好笑", None),
        ("哈哈哈哈哈真好笑", "repeated_character"),
        ("太美了！！！！！", "repeated_character"),
        ("好看好看", None),
        ("真的很好看好看好看的红色连衣裙图片", "repeated_phrase"),
        ("红色汽车 汽车图片 汽车壁纸", None),
        ("高清汽车 汽车高清 高清汽车 汽车高清", "repeated_pairs"),
    ],
)
def test_repetition(caption: str, reason: str | None) -> None:
    assert reasons(Repetition(), caption) == ({reason} if reason else set())


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        ("2019年的春天", "digit_share_too_high"),
        ("２０１９年的春天", "digit_share_too_high"),
        ("①②③④步骤", "digit_share_too_high"),
        ("一二三四五六七", None),
        ("★☆★☆春天", "mark_share_too_high"),
        ("【春天】的花，开在路边", None),
        ("iPhone 13 Pro", None),
    ],
)
def test_marks_and_digits(caption: str, reason: str | None) -> None:
    assert reasons(MarksAndDigits(), caption) == ({reason} if reason else set())


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        ("批发 1 3 8 1 2 3 4 5 6 7 8", "contact_phone"),
        ("幺三八〇〇一三八〇〇〇 批发", "contact_phone"),
        ("联系①③⑧⓪⓪①③⑧⓪⓪⓪", "contact_phone"),
        ("订购 021-5555 1234", "contact_phone"),
        ("电话一三八零零一三八零零零", "contact_phone"),
        ("薇❤: zhang_123", "contact_messenger"),
        ("加V abc12345", "contact_messenger"),
        ("扣扣12345678", "contact_messenger"),
        ("q q 1 2 3 4 5 6 7", "contact_messenger"),
        ("ＱＱ：１２３４５６７", "contact_messenger"),
        ("北京市朝阳区建国路88号", "contact_address"),
        ("地址：上海", "contact_address"),
        ("北京市海淀区中关村大街", None),  # a place
        ("道路1号公路", None),
        ("一九四九年十月一日", None),
        ("一三五七九十一十三十五", None),
        ("ISBN 9787111213826", None),
        ("VX-1000型相机", None),
        ("iPhone 13 Pro 256GB 1920x1080", None),
        ("c+v 快捷键", None),
        ("wx加州风光", None),
    ],
)
def test_contact(caption: str, reason: str | None) -> None:
    assert reasons(ContactDetails(), caption) == ({reason} if reason else set())


def test_contact_kinds_can_be_left_out() -> None:
    assert reasons(ContactDetails(kinds=("address",)), "电话138-0013-8000 中山路12号") == {"contact_address"}
