"""Is it Chinese? Short captions in Chinese characters that are Japanese, Korean or written Cantonese."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from filters.base import Filter
from filters.quality.points import slices
from filters.text import simplified
from foundation.config import value

Language = Literal["japanese", "korean", "cantonese"]
LANGUAGES: tuple[Language, ...] = ("japanese", "korean", "cantonese")
# Blocks of Unicode: hiragana but for の, which Chinese shop signs use, katakana but for the middle dot, half-width katakana.
KANA = ((0x3041, 0x306D), (0x306F, 0x3096), (0x30A1, 0x30FA), (0xFF66, 0xFF9D))
HANGUL = ((0x1100, 0x11FF), (0x3131, 0x318E), (0xAC00, 0xD7A3))
# Characters of written Cantonese that Mandarin does not use; 唔, 咩, 俾, 乜 and 咁 occur in Mandarin and are left out.
CANTONESE = "嘅咗冇佢喺啲嚟嗰嘢噉哋瞓諗攞搵揾啱嘥嬲嗌冚乸"
JAPANESE_HAN = 4  # the kind after those of LANGUAGES: characters of which one is enough


class CaptionLanguage(Filter):
    """Rejects captions that are not Mandarin, by their characters.

    Japanese shows kana, or Chinese characters that neither mainland China nor Taiwan has: those of JIS X 0208's first level that
    GB 2312 and Big5 lack and zhconv does not know as Chinese variants (検, 気, 売, 駅; 271 of 2,965). Statistical detectors do not
    help here: lingua 2.1 decides by script as well, and calls every caption Chinese that has no kana. A caption in characters
    which all three share (無料素材 写真) counts as Chinese. So does a null caption.
    """

    reasons: ClassVar[Mapping[str, str]] = {
        "caption_japanese": "the caption is Japanese, by its characters",
        "caption_korean": "the caption is Korean, by its characters",
        "caption_cantonese": "the caption is written Cantonese, by its characters",
    }
    columns: ClassVar[tuple[str, ...]] = ("caption",)

    reject: tuple[Language, ...] = value(LANGUAGES, "languages that are rejected")
    max_kana: int = value(1, "most kana in a Chinese caption; の is not counted", "characters", ge=0)
    max_japanese_han: int = value(0, "most Chinese characters that only Japanese has", "characters", ge=0)
    max_hangul: int = value(1, "most Korean letters in a Chinese caption", "characters", ge=0)
    max_cantonese: int = value(0, "most characters of written Cantonese", "characters", ge=0)

    def rejects(self, pairs: pa.Table) -> dict[str, pa.BooleanArray]:
        """A mask for each of `reasons`; all False for languages that are not in `reject`."""
        rejected: dict[str, list[np.ndarray]] = {name: [np.zeros(0, bool)] for name in LANGUAGES}
        for captions in slices(pairs["caption"]):
            kinds = _kinds()[captions.points]
            kana, hangul, cantonese, han = (captions.count(kinds == kind) for kind in range(1, JAPANESE_HAN + 1))
            rejected["japanese"].append((kana > self.max_kana) | (han > self.max_japanese_han))
            rejected["korean"].append(hangul > self.max_hangul)
            rejected["cantonese"].append(cantonese > self.max_cantonese)
        return {f"caption_{name}": pa.array(np.concatenate(parts) & (name in self.reject))
                for name, parts in rejected.items()}  # fmt: skip


@lru_cache(maxsize=1)
def japanese_han() -> str:
    """The Chinese characters that only Japanese has, in the order of the standard."""
    known = {*simplified(), *simplified().values()}
    return "".join(
        character
        for character in _jis_level_1()
        if character not in known and not (_in(character, "gb2312") or _in(character, "big5"))
    )


def _jis_level_1() -> str:
    """Rows 16 to 47 of JIS X 0208; the last row ends early."""
    cells = bytes(byte for row in range(0xB0, 0xD0) for cell in range(0xA1, 0xFF) for byte in (row, cell))
    return cells.decode("euc_jp", errors="ignore")


def _in(character: str, encoding: str) -> bool:
    return bool(character.encode(encoding, errors="ignore"))


@lru_cache(maxsize=1)
def _kinds() -> np.ndarray:
    """uint8 array of 0x110000: position in LANGUAGES from 1, JAPANESE_HAN, or 0 for each code point."""
    kinds = np.zeros(0x110000, np.uint8)
    for kind, blocks in enumerate((KANA, HANGUL), 1):
        for first, last in blocks:
            kinds[first : last + 1] = kind
    kinds[[ord(character) for character in CANTONESE]] = 1 + LANGUAGES.index("cantonese")
    kinds[[ord(character) for character in japanese_han()]] = JAPANESE_HAN
    return kinds
