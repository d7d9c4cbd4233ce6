"""Captions to token ids: Chinese-CLIP's text treatment, in `tokenizers`' native code."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer, Lowercase, Normalizer, Replace
from tokenizers.normalizers import Sequence as Normalizers
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import PreTrainedTokenizerFast

VOCABULARY = Path(__file__).parent / "vocabulary" / "vocab.txt"
SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
MAX_LENGTH = 52  # tokens of a text, [CLS] and [SEP] included: cn_clip's context for the paper's 50 (Table 8)
LONGEST_WORD = 200  # characters; a longer word is [UNK], as in cn_clip
CURLY_QUOTES = Regex("[“”]")  # not in the vocabulary; cn_clip's training puts straight ones in their place


def tokenize(captions: Sequence[str], max_length: int = MAX_LENGTH) -> Tensor:
    """Token ids, int64 [B, L], of captions: [CLS] … [SEP], padded with 0 to the longest caption of this batch.

    Args:
        captions: any text; an empty one becomes [CLS] [SEP].
        max_length: at most so many tokens, [CLS] and [SEP] included; the rest of a longer caption is cut off.

    Raises:
        ValueError: `max_length` leaves no room for a word piece.
    """
    if max_length < 3:
        raise ValueError(f"max_length is at least 3 ([CLS], one token, [SEP]); found {max_length}")
    tokenizer = _tokenizer()
    # One at a time: `encode_batch` starts threads, which do not go together with forked loader processes.
    rows = [tokenizer.encode(caption).ids for caption in captions]
    tokens = torch.zeros(len(rows), max((min(len(row), max_length) for row in rows), default=2), dtype=torch.int64)
    for i, row in enumerate(rows):
        kept = row if len(row) <= max_length else [*row[: max_length - 1], row[-1]]
        tokens[i, : len(kept)] = torch.tensor(kept)
    return tokens


def vocabulary() -> dict[str, int]:
    """Word piece → id, the 21,128 entries of Chinese BERT."""
    return {piece: number for number, piece in enumerate(VOCABULARY.read_text(encoding="utf-8").split("\n")) if piece}


def transformers_tokenizer() -> PreTrainedTokenizerFast:
    """The same treatment as a tokenizer of transformers, for export."""
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=_build(), model_max_length=MAX_LENGTH, model_input_names=names, **SPECIAL
    )


@cache
def _tokenizer() -> Tokenizer:
    return _build()


def _build() -> Tokenizer:
    pieces = vocabulary()
    tokenizer = Tokenizer(WordPiece(pieces, unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD))
    tokenizer.normalizer = _normalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(name, pieces[name]) for name in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def _normalizer() -> Normalizer:
    bert = BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True)
    return Normalizers([Lowercase(), Replace(CURLY_QUOTES, '"'), bert])
