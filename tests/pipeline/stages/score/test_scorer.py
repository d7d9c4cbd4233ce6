"""The scorer against the packages it stands for, run plainly, on a small checkpoint in the published layout."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from io import BytesIO
from pathlib import Path

import numpy as np
import open_clip
import pyarrow as pa
import pytest
import torch
from multilingual_clip.Config_MCLIP import MCLIPConfig
from multilingual_clip.pt_multilingual_clip import MultilingualCLIP
from PIL import Image
from transformers import AutoConfig, AutoModel, XLMRobertaTokenizer

from pipeline.stages.score import Score, load_scorer
from pipeline.stages.score.scorer import Scorer
from tests.support.checkpoints import DIM, RESNET, write_image_model, write_text_model
from tests.support.paths import REPOSITORY

CAPTIONS = [
    "一只白色的小猫坐在窗边",
    "红色汽车停在路旁。",
    "雪山与湖水",
    "",
    "蓝天下的雪山！看着外面的雨" * 4,
    "abc 123",
    "猫",
    "未知字",
]


def jpeg(seed: int, size: tuple[int, int] = (64, 64)) -> bytes:
    """A blocky random picture."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(small).resize(size, Image.Resampling.NEAREST).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


IMAGES = [jpeg(seed, size) for seed, size in enumerate([(64, 64), (64, 64), (90, 70), (64, 200), (33, 40)] * 2)][:8]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_model(tmp_path_factory.mktemp("models") / "text")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_image_model(tmp_path_factory.mktemp("models") / "image")


@pytest.fixture
def config(text: Path, image: Path) -> Score:
    return Score(text_model=str(text), image_model=str(image), device="cpu", dtype="float32", batch_size=3)


@pytest.fixture
def scorer(config: Score) -> Scorer:
    return load_scorer(config)


def package_embeddings(text: Path, base: Path, captions: list[str]) -> np.ndarray:
    """What the multilingual-clip package's own class gives for the captions, one by one. Its base model's weights,
    which it insists on reading from `base`, are other ones: the published weights then replace them."""
    AutoModel.from_config(AutoConfig.from_pretrained(text / "base")).save_pretrained(base)
    published = json.loads((text / "config.json").read_text(encoding="utf-8"))
    sizes = {"transformerDimSize": published["transformerDimensions"], "imageDimSize": published["numDims"]}
    model = MultilingualCLIP(MCLIPConfig(modelBase=str(base), **sizes)).eval()
    weights = torch.load(text / "pytorch_model.bin", weights_only=True)
    del weights["transformer.embeddings.position_ids"]  # today's transformers makes it anew
    model.load_state_dict(weights)
    tokenizer = XLMRobertaTokenizer.from_pretrained(text)
    with torch.inference_mode():
        return torch.cat([model([caption], tokenizer) for caption in captions]).numpy()


def test_text_embeddings_are_those_of_the_package(scorer: Scorer, text: Path, tmp_path: Path) -> None:
    expected = package_embeddings(text, tmp_path / "base", CAPTIONS)
    embeddings = scorer.embed_text(CAPTIONS)
    assert embeddings.dtype == np.float32 and embeddings.shape == (len(CAPTIONS), DIM)
    assert np.abs(embeddings - expected).max() < 1e-5
    assert np.abs(expected[0] - expected[1]).max() > 0.1  # the checkpoint tells captions apart


VISIONS = {
    "ViT": (None, {}),
    "ResNet": (RESNET, {"resize_mode": "squash", "interpolation": "bilinear"}),
    "timm": (
        {"timm_model_name": "test_vit", "image_size": 160, "timm_pool": "", "timm_proj": "linear"},
        {"mean": [0.5] * 3, "std": [0.5] * 3},
    ),
}


@pytest.mark.parametrize("kind", VISIONS)
def test_image_embeddings_are_those_of_open_clip(config: Score, tmp_path: Path, kind: str) -> None:
    vision, preprocess = VISIONS[kind]
    folder = write_image_model(tmp_path / kind, vision=vision, **preprocess)
    embeddings = Scorer.load(config.model_copy(update={"image_model": str(folder)})).embed_images(IMAGES)
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    with torch.inference_mode():
        plain = [model.eval().encode_image(transform(Image.open(BytesIO(data)))[None]) for data in IMAGES]
    expected = torch.cat(plain).numpy()
    assert embeddings.dtype == np.float32 and np.abs(embeddings - expected).max() < 1e-5
    assert np.abs(expected[0] - expected[1]).max() > 1e-4  # the checkpoint tells images apart


def test_score_is_the_cosine(scorer: Scorer) -> None:
    table = scorer.score(IMAGES, CAPTIONS)
    images, texts = scorer.embed_images(IMAGES), scorer.embed_text(CAPTIONS)
    expected = (images * texts).sum(1) / np.linalg.norm(images, axis=1) / np.linalg.norm(texts, axis=1)
    assert table.schema.names == ["score", "image_hash", "mirror_hash", "pixels_sha256", "error"]
    assert table.schema.field("score").type == pa.float32()
    assert np.abs(table["score"].to_numpy() - expected).max() < 1.1e-5
    assert table["error"].null_count == len(IMAGES)
    assert all(re.fullmatch("[0-9a-f]{72}", digest) for digest in table["image_hash"].to_pylist())


def test_a_broken_image_leaves_the_others_untouched(scorer: Scorer) -> None:
    intact_rows = scorer.score(IMAGES, CAPTIONS).to_pylist()
    images: list[bytes | memoryview] = [memoryview(data) for data in IMAGES]
    images[1], images[6], images[7] = b"", IMAGES[6][:300], b"no image"  # one inside the first batch, a whole end
    rows = scorer.score(images, CAPTIONS).to_pylist()
    for position, row in enumerate(rows):
        if position in (1, 6, 7):
            assert row["score"] is None and row["image_hash"] is None and row["error"]
        else:
            assert row == {**intact_rows[position], "score": pytest.approx(intact_rows[position]["score"], abs=1.1e-5)}
    assert np.isnan(scorer.embed_images(images)).all(axis=1).nonzero()[0].tolist() == [1, 6, 7]


def test_nothing_decodes_and_nothing_is_given(scorer: Scorer) -> None:
    assert scorer.score([b""] * 4, CAPTIONS[:4])["score"].null_count == 4
    assert scorer.score([], []).num_rows == 0 and scorer.embed_text([]).shape == (0, DIM)
    with pytest.raises(ValueError, match="8 images but 2 captions"):
        scorer.score(IMAGES, CAPTIONS[:2])


def test_long_captions_are_cut(scorer: Scorer) -> None:
    long = "雪山与湖水" * 400
    assert np.array_equal(scorer.embed_text([long]), scorer.embed_text([long + "红色汽车"]))
    assert [len(row) for row in scorer.text.tokenize([long, "猫"], 128)] == [128, 4]  # <s>, ▁, character, </s>


def test_batch_size_does_not_matter(config: Score, scorer: Scorer) -> None:
    for size in (1, 64):
        other = Scorer.load(config.model_copy(update={"batch_size": size}))
        assert np.abs(other.embed_text(CAPTIONS) - scorer.embed_text(CAPTIONS)).max() < 1e-5
        assert np.abs(other.embed_images(IMAGES) - scorer.embed_images(IMAGES)).max() < 1e-5


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_same_input_same_bytes_also_from_many_threads(config: Score, dtype: str) -> None:
    scorer = load_scorer(config.model_copy(update={"dtype": dtype}))
    images, captions = [jpeg(seed, (80, 64)) for seed in range(40)], CAPTIONS * 5
    threads_before = torch.get_num_threads()
    expected = scorer.score(images, captions)
    tables: list[pa.Table] = []
    threads = [threading.Thread(target=lambda: tables.append(scorer.score(images, captions))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tables) == 4 and all(table.equals(expected) for table in tables)
    assert torch.get_num_threads() == threads_before


def test_low_precision_stays_near(config: Score, scorer: Scorer) -> None:
    low = load_scorer(config.model_copy(update={"dtype": "bfloat16"}))
    difference = low.score(IMAGES, CAPTIONS)["score"].to_numpy() - scorer.score(IMAGES, CAPTIONS)["score"].to_numpy()
    assert low.identity["dtype"] == "bfloat16" and np.abs(difference).max() < 0.05  # bfloat16 keeps 8 bits


def test_identity_names_models_not_places(config: Score, scorer: Scorer, text: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(text, tmp_path / "elsewhere" / "text")
    identity = Scorer.load(config.model_copy(update={"text_model": str(copy)})).identity
    assert identity == scorer.identity
    assert all(isinstance(part, str) and str(tmp_path) not in part for part in identity.values())
    assert re.fullmatch("[0-9a-f]{16}", identity["text_revision"])
    other = write_text_model(tmp_path / "text", seed=1)
    assert (
        Scorer.load(config.model_copy(update={"text_model": str(other)})).identity["text_revision"]
        != identity["text_revision"]
    )


def test_loads_once_per_configuration(config: Score) -> None:
    scorers: list[Scorer] = []
    threads = [threading.Thread(target=lambda: scorers.append(load_scorer(config.model_copy()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(scorer) for scorer in scorers}) == 1


def test_reading_a_recipe_does_not_import_torch() -> None:
    check = "import sys, pipeline.stages.score; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=REPOSITORY).returncode == 0
