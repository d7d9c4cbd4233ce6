from __future__ import annotations

import unicodedata

import pytest
import torch

from trainer.tokenizer import tokenize, transformers_tokenizer, vocabulary

cn_clip = pytest.importorskip("cn_clip", reason="cn_clip is not installed: run `make`")
pytest.importorskip("cn_clip.clip")

CAPTIONS = [
    "一只黑白相间的猫趴在沙发上",
    "“双十一”特价：iPhone 14 Pro Max，￥8999！",
    "Café Ångström ＡＢＣ１２３ naïve",
    "北京2008奥运会\t开幕式\u3000现场\u200b图",
    "unaffable supercalifragilisticexpialidocious 😂🔥",
    "",
    "長" * 300,
    "a" * 150 + " " + "b" * 201,
    "한국어 ひらがな カタカナ",
]


def reference(captions: list[str], length: int = 52) -> torch.Tensor:
    """Tokens as cn_clip's training makes them: its loader lowers the case and straightens the double quotes first."""
    treated = [caption.lower().replace("“", '"').replace("”", '"') for caption in captions]
    return cn_clip.clip.tokenize(treated, context_length=length)


@pytest.mark.parametrize("length", [52, 12])
def test_tokens_are_those_of_cn_clip(length: int) -> None:
    for caption in CAPTIONS:
        expected = reference([caption], length)[0]
        assert tokenize([caption], length)[0].tolist() == expected[: int(expected.ne(0).sum())].tolist(), caption


def test_every_common_character_is_treated_as_in_cn_clip() -> None:
    ranges = [(0x20, 0x250), (0x370, 0x500), (0x2000, 0x2800), (0x3000, 0x3400), (0x4E00, 0x9FF0), (0xAC00, 0xAE00)]
    ranges += [(0xF900, 0xFB00), (0xFE30, 0xFFF0), (0x1F300, 0x1F650), (0x20000, 0x20100)]
    # Both follow their own edition of Unicode, and lower a final Σ differently: newer characters and that letter aside.
    known = [chr(point) for start, end in ranges for point in range(start, end) if chr(point) != "Σ"]
    captions = [f"{character}中{character}a" for character in known if unicodedata.category(character) != "Cn"]
    tokens, expected = tokenize(captions), reference(captions)
    assert len(captions) > 20_000
    differing = [
        caption for caption, a, b in zip(captions, tokens, expected, strict=True) if a.tolist() != b[: len(a)].tolist()
    ]
    assert differing == []


def test_a_batch_is_padded_to_its_longest_caption() -> None:
    tokens = tokenize(["猫", "一只猫"])
    assert tokens.dtype == torch.int64
    assert tokens.tolist() == [[101, 4344, 102, 0, 0], [101, 671, 1372, 4344, 102]]
    assert tokenize([""]).tolist() == [[101, 102]]
    assert tokenize([]).shape == (0, 2)


def test_a_long_caption_keeps_its_end_mark() -> None:
    tokens = tokenize(["长" * 80, "短"], max_length=10)
    assert tokens.shape == (2, 10)
    assert tokens[:, [0, -1]].tolist() == [[101, 102], [101, 0]]
    with pytest.raises(ValueError, match="found 2"):
        tokenize(["猫"], max_length=2)


def test_the_vocabulary_is_that_of_cn_clip() -> None:
    from cn_clip.clip import _tokenizer

    # cn_clip strips white space from its pieces: the line separator, ids 343 and 13502, is an empty piece there.
    assert {piece.replace("\u2028", ""): number for piece, number in vocabulary().items()} == dict(_tokenizer.vocab)


def test_the_tokenizer_for_transformers_agrees() -> None:
    batch = transformers_tokenizer()(CAPTIONS, padding=True, truncation=True, return_tensors="pt")
    assert torch.equal(batch["input_ids"], tokenize(CAPTIONS))
