"""A model's retrieval on a set, with images and texts prepared as Chinese-CLIP prepares them; the table; JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import nn
from torchvision.transforms import Compose, InterpolationMode, Lambda, Normalize, Resize, ToTensor

from tests.trainer.evaluate.evaluation_sets import colour, write_chinese_clip, write_jsonl, write_muge, write_tsv
from trainer.config import load_train_recipe, presets
from trainer.evaluate.datasets import EvaluationSet, EvaluationSetError
from trainer.evaluate.encode import MEAN, STD, encode_images, encode_texts
from trainer.evaluate.paper import SIZES, ZERO_SHOT, published, size_of
from trainer.evaluate.report import evaluate_retrieval, retrieval_report, retrieval_table
from trainer.models.clip import build_model
from trainer.tokenizer import tokenize, vocabulary

CPU = torch.device("cpu")
DIGITS = "一二三四五六七八九十"


class MeanColour(nn.Module):
    """Knows each picture by its mean colour, and the text that names its number."""

    def __init__(self, count: int) -> None:
        super().__init__()
        colours = torch.tensor([colour(number) for number in range(count)]).float() / 255
        self.colours = nn.Parameter((colours - torch.tensor(MEAN)) / torch.tensor(STD))
        self.pieces = [vocabulary()[digit] for digit in DIGITS[:count]]
        self.dropout = nn.Dropout()
        self.seen: list[tuple[int, ...]] = []

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """[B, D]: one-hot of the nearest colour."""
        self.seen.append(tuple(images.shape))
        nearest = (images.mean(dim=(2, 3))[:, None] - self.colours).square().sum(dim=2).argmin(dim=1)
        return self.dropout(nn.functional.one_hot(nearest, len(self.pieces)).to(self.colours.dtype))

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """[B, D]: one-hot of the number that the text names."""
        self.seen.append(tuple(tokens.shape))
        return torch.stack([(tokens == piece).any(dim=1) for piece in self.pieces], dim=1).to(self.colours.dtype)


def numbered(folder: Path, count: int) -> EvaluationSet:
    """`count` pictures; text n names picture n; texts of very different length."""
    write_tsv(folder, "test", range(count))
    rows = [{"text_id": n, "text": "很" * (7 * n % 5) + DIGITS[n], "image_ids": [n]} for n in range(count)]
    write_jsonl(folder / "test_texts.jsonl", rows)
    return EvaluationSet.load(folder)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_a_model_that_knows_finds_all_and_one_that_is_wrong_about_one_does_not(tmp_path: Path, batch_size: int) -> None:
    evaluation_set, model = numbered(tmp_path, 9), MeanColour(9)
    assert evaluate_retrieval(model, evaluation_set, 8, batch_size).mean_recall == 100.0
    model.pieces[2], model.pieces[3] = model.pieces[3], model.pieces[2]
    result = evaluate_retrieval(model, evaluation_set, 8, batch_size, CPU, torch.float32)
    assert result.text_to_image is not None and result.image_to_text is not None
    assert result.text_to_image.r1 == result.image_to_text.r1 == pytest.approx(100 * 7 / 9)
    assert {shape[0] for shape in model.seen} <= {batch_size, 9 % batch_size or batch_size, 9}


def test_the_model_stays_as_it_is(tmp_path: Path) -> None:
    evaluation_set, model = numbered(tmp_path, 4), MeanColour(4)
    model.train()
    model.frozen = nn.BatchNorm1d(2).eval()  # a frozen tower: in eval mode while the rest trains
    for dtype in (torch.float32, torch.bfloat16):
        assert evaluate_retrieval(model, evaluation_set, 8, 2, CPU, dtype).mean_recall == 100.0  # dropout is off
        assert model.training and model.dropout.training and not model.frozen.training
        assert model.colours.dtype == torch.float32 and model.colours.requires_grad


def test_muge_reports_one_direction(tmp_path: Path) -> None:
    result = evaluate_retrieval(MeanColour(3), EvaluationSet.load(write_muge(tmp_path)), 8)
    assert result.image_to_text is None and result.text_to_image is not None


@pytest.mark.parametrize(
    ("form", "mode"), [("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "CMYK")]
)
def test_images_are_prepared_as_torchvision_prepares_them_for_cn_clip(form: str, mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (57, 83, 4), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise, "RGBA").convert("RGB" if mode in ("L", "P", "CMYK") else mode).convert(mode).save(
        buffer, form
    )
    reference = Compose(
        [
            Resize((48, 48), InterpolationMode.BICUBIC),
            Lambda(lambda image: image.convert("RGB")),
            ToTensor(),
            Normalize(MEAN, STD),
        ]
    )
    given: list[torch.Tensor] = []

    class Given(MeanColour):
        def encode_image(self, images: torch.Tensor) -> torch.Tensor:
            given.append(images)
            return images.flatten(1)

    encode_images(Given(1), [("x", buffer.getvalue())], 48, 4, CPU)
    with Image.open(buffer) as image:
        torch.testing.assert_close(given[0][0], reference(image), rtol=0, atol=1e-6)


def test_texts_keep_their_order_and_short_ones_are_not_padded_to_long_ones() -> None:
    model = build_model(load_train_recipe("tiny").model).eval()
    texts = ["一只小猫坐在窗边看着外面的雨", "雨", "小猫", "一只红色的汽车停在路旁", "狗"]
    lengths = []
    encode = model.encode_text

    def counted(tokens: torch.Tensor) -> torch.Tensor:
        lengths.append(tokens.shape[1])
        return encode(tokens)

    model.encode_text = counted  # type: ignore[method-assign]
    with torch.no_grad():
        features = encode_texts(model, texts, 2, CPU)
        expected = nn.functional.normalize(torch.cat([encode(tokenize([text])) for text in texts]), dim=-1)
    assert lengths == [3, 13, 16]
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)


def test_the_projects_own_model_runs_in_both_precisions(tmp_path: Path) -> None:
    evaluation_set = numbered(tmp_path, 9)
    recipe = load_train_recipe("tiny").model
    torch.manual_seed(0)
    model = build_model(recipe)
    for dtype in (torch.float32, torch.bfloat16):
        result = evaluate_retrieval(model, evaluation_set, recipe.vision.image_size, 4, "cpu", dtype)
        assert (
            result.text_to_image is not None and result.text_to_image.queries == 9 and result.text_to_image.r10 == 100.0
        )


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    write_chinese_clip(tmp_path)
    rows = (tmp_path / "test_imgs.tsv").read_bytes().splitlines(keepends=True)
    (tmp_path / "test_imgs.tsv").write_bytes(rows[0] + b"21\tbm8gaW1hZ2U=\n")
    with pytest.raises(EvaluationSetError, match="image 21: expected an image; 8 bytes do not decode"):
        evaluate_retrieval(MeanColour(2), EvaluationSet.load(tmp_path), 8)


def rendered(table: object) -> str:
    """What the table looks like on a terminal of 120 columns."""
    console = Console(width=120, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_table_stands_beside_the_papers(tmp_path: Path) -> None:
    evaluation_set = EvaluationSet.load(write_chinese_clip(tmp_path / "COCO-CN"))
    result = evaluate_retrieval(MeanColour(2), evaluation_set, 8)
    text = rendered(retrieval_table(result, evaluation_set, "vit-b-16"))
    assert "COCO-CN test: 2 images, 3 texts" in text and "Table 4" in text
    row = next(line for line in text.splitlines() if "vit-b-16" in line)
    assert [word for word in row.split() if word[0].isdigit()] == [
        "62.2",
        "86.6",
        "94.9",
        "57.0",
        "84.1",
        "93.6",
        "79.7",
    ]
    assert sum(size in rendered(retrieval_table(result, evaluation_set)) for size in SIZES) == 5
    assert "paper" not in rendered(retrieval_table(result, numbered(tmp_path / "own", 2), "vit-b-16"))


def test_the_report_is_json_with_the_papers_figures(tmp_path: Path) -> None:
    evaluation_set = EvaluationSet.load(write_muge(tmp_path))
    result = evaluate_retrieval(MeanColour(3), evaluation_set, 8)
    report = json.loads(json.dumps(retrieval_report(result, evaluation_set, "rn50")))
    assert (report["set"], report["layout"], report["benchmark"], report["split"]) == (
        tmp_path.name,
        "MUGE",
        "muge",
        "valid",
    )
    assert (report["texts"], report["paper"]["model"], report["paper"]["text_to_image_r1"]) == (2, "rn50", 42.6)
    assert "image_to_text_r1" not in report["paper"]
    assert retrieval_report(result, evaluation_set)["paper"] is None


def test_the_papers_figures_agree_with_its_own_means() -> None:
    means = {"rn50": 63.0, "vit-b-16": 71.1, "vit-l-14": 74.1, "vit-l-14-336": 76.1, "vit-h-14": 78.8}  # Table 2, MR
    for size, mean in means.items():
        paper = published("muge", size)
        assert paper is not None and paper.mean_recall == pytest.approx(mean, abs=0.1)
    for rows in ZERO_SHOT.values():
        assert tuple(rows) == SIZES
        for row in rows.values():
            assert list(row[:3]) == sorted(row[:3]) and list(row[3:]) == sorted(row[3:])


def test_the_size_of_a_preset_is_known() -> None:
    assert {name: size_of(load_train_recipe(name).model) for name in presets()} == {
        **{n: n for n in SIZES},
        "tiny": None,
    }
