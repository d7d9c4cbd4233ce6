"""Translation in batches against plain transformers, one text at a time, on a small checkpoint in the published layout."""

from __future__ import annotations

import json
import shutil
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, MarianMTModel, MarianTokenizer

from pipeline.sources.translation import Translation, to_simplified
from pipeline.stages.translate import load_translator
from pipeline.stages.translate.marian import Translator, batches_by_length
from tests.pipeline.stages.translate.marian_checkpoint import CHINESE, ENGLISH, write_marian

MAX_TOKENS = 64


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_marian(tmp_path_factory.mktemp("models") / "opus-tiny")


def config(model: Path, **changes: object) -> Translation:
    given = {"model": str(model), "dtype": "float32", "max_tokens": MAX_TOKENS, "device": "cpu", **changes}
    return Translation.model_validate(given)


@lru_cache(maxsize=1)
def plain_parts(model: Path) -> tuple[Any, Any]:
    return MarianTokenizer.from_pretrained(model), MarianMTModel.from_pretrained(model).eval()


def plainly(model: Path, text: str, beams: int, prefix: str = ">>cmn_Hans<< ") -> str:
    """As the model card of opus-mt-en-zh has it: tokenizer, generate, decode."""
    tokenizer, network = plain_parts(model)
    given = tokenizer([prefix + text], return_tensors="pt", truncation=True, max_length=MAX_TOKENS)
    search = GenerationConfig(
        num_beams=beams, max_new_tokens=MAX_TOKENS, bad_words_ids=[[network.config.pad_token_id]], eos_token_id=0,
        pad_token_id=network.config.pad_token_id, decoder_start_token_id=network.config.pad_token_id,
    )  # fmt: skip
    with torch.inference_mode():
        output = network.generate(**given, generation_config=search)
    return " ".join(tokenizer.batch_decode(output, skip_special_tokens=True)[0].split())


@pytest.mark.parametrize("beams", [1, 4])
def test_batches_give_what_plain_transformers_gives_one_by_one(model: Path, beams: int) -> None:
    translator = load_translator(config(model, beams=beams, batch_tokens=96, simplified=False))
    tokens = translator.tokenize(ENGLISH)
    assert len(list(batches_by_length(tokens, 96))) in range(2, len(ENGLISH))  # some padded, more than one
    translations = translator.translate(ENGLISH)
    assert translations == [plainly(model, text, beams) for text in ENGLISH]
    assert translations == CHINESE  # what it was taught: each ends where it should


def test_answers_stand_in_the_order_of_the_texts_and_equal_texts_are_equal(model: Path) -> None:
    translator = load_translator(config(model, beams=1))
    alone = dict(zip(ENGLISH, translator.translate(ENGLISH), strict=True))
    shuffled = [*reversed(ENGLISH), " blue \n sky ", "", "  \t", ENGLISH[1]]
    expected = [alone[text] for text in reversed(ENGLISH)] + [alone["blue sky"], "", "", alone[ENGLISH[1]]]
    assert translator.translate(shuffled) == expected
    assert translator.translate([]) == []


def test_the_language_token_is_the_one_of_the_recipe(model: Path, tmp_path: Path) -> None:
    chosen = load_translator(config(model, beams=1, language_token=">>cmn_Hant<<", simplified=False))
    assert chosen.translate(ENGLISH) == [plainly(model, text, 1, ">>cmn_Hant<< ") for text in ENGLISH]
    none = load_translator(config(model, beams=1, language_token="", simplified=False))
    assert none.translate(ENGLISH[:2]) == [plainly(model, text, 1, "") for text in ENGLISH[:2]]
    with pytest.raises(ValueError, match=r"language_token is '>>zho<<'; opus-tiny knows >>cmn_Hans<<, >>cmn_Hant<<"):
        load_translator(config(model, language_token=">>zho<<"))
    one_target = write_marian(tmp_path / "one", language_codes=())
    assert load_translator(config(one_target)).language_token == ""


def test_output_is_simplified_unless_the_recipe_says_no(model: Path) -> None:
    as_is = load_translator(config(model, beams=1, simplified=False)).translate(ENGLISH)
    assert load_translator(config(model, beams=1)).translate(ENGLISH) == [to_simplified(text) for text in as_is]
    assert to_simplified(as_is[1]) != as_is[1]


def test_long_texts_are_cut_at_the_end_token(model: Path) -> None:
    translator = load_translator(config(model))
    (tokens,) = translator.tokenize([" ".join(ENGLISH)])
    assert len(tokens) == MAX_TOKENS and tokens[-1] == 0


def test_batches_hold_no_more_padded_tokens_than_asked() -> None:
    tokens = [[0] * length for length in (5, 1, 9, 3, 3, 40, 2)]
    batches = list(batches_by_length(tokens, 12))
    assert sorted(position for batch in batches for position in batch) == list(range(7))
    assert batches == [[1, 6, 3, 4], [0], [2], [5]]  # 4·3 = 12; one that is too long goes alone


def test_threads_share_one_translator(model: Path) -> None:
    given = config(model, beams=1)
    expected = load_translator(given).translate(ENGLISH)
    answers: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(load_translator(given).translate(ENGLISH))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [expected] * 4


def test_identity_names_model_revision_and_precision(model: Path) -> None:
    identity = load_translator(config(model, dtype="bfloat16", revision=None)).identity
    assert (identity["model"], identity["dtype"], identity["language_token"]) == (
        "opus-tiny",
        "bfloat16",
        ">>cmn_Hans<<",
    )
    same = Translator.load(config(model, revision=identity["revision"])).identity
    assert same["revision"] == identity["revision"]
    with pytest.raises(ValueError, match=f"have the digest '{identity['revision']}'"):
        load_translator(config(model, revision="0123456789abcdef"))


def test_what_is_missing_or_wrong_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="neither a folder here nor a hub id"):
        load_translator(config(tmp_path / "none"))
    broken = tmp_path / "broken"
    for name, error in (
        ("source.spm", "no source.spm in"),
        ("model.safetensors", "no weights in"),
        ("config.json", "no config.json in"),
    ):
        shutil.copytree(model, broken)
        (broken / name).unlink()
        with pytest.raises(FileNotFoundError, match=error):
            load_translator(config(broken))
        shutil.rmtree(broken)
    shutil.copytree(model, broken)
    (broken / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(ValueError, match=r"the weights in .*broken cannot be loaded"):
        load_translator(config(broken))
    (broken / "config.json").write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")
    with pytest.raises(ValueError, match="expected a MarianMT model"):
        load_translator(config(broken))
    with pytest.raises(ValueError, match="max_tokens is 500; opus-tiny takes 128"):
        load_translator(config(model, max_tokens=500))
