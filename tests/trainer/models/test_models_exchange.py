from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModel, AutoProcessor, ChineseCLIPModel

from trainer.models.clip import ChineseCLIP, build_model
from trainer.models.exchange import from_transformers, save_cn_clip, save_transformers, to_transformers
from trainer.models.initialise import load_checkpoint
from trainer.tokenizer import tokenize

cn_clip = pytest.importorskip("cn_clip", reason="cn_clip is not installed: run `make`")
pytest.importorskip("cn_clip.clip.utils")

both = pytest.mark.parametrize("kind", ["vit", "resnet"])
CAPTIONS = ["一只黑白相间的猫", "“双十一”特价 iPhone 14 Pro", "风景"]


def write_cn_clip_configurations(model: ChineseCLIP, folder: Path) -> None:
    vision, text = model.config.vision, model.config.text
    layers = vision.layers if isinstance(vision.layers, int) else str(list(vision.layers))  # a string, as in RN50.json
    small = {
        "embed_dim": model.config.embed_dim,
        "image_resolution": vision.image_size,
        "vision_layers": layers,
        "vision_width": vision.width,
        "vision_patch_size": vision.patch_size,
    }
    package = Path(cn_clip.clip.utils.__file__).parent / "model_configs"
    bert = json.loads((package / "RBT3-chinese.json").read_text(encoding="utf-8"))
    bert |= {
        "text_hidden_size": text.hidden_size,
        "text_intermediate_size": text.intermediate_size,
        "text_max_position_embeddings": text.max_positions,
        "text_num_attention_heads": text.heads,
        "text_num_hidden_layers": text.layers,
    }
    (folder / "model_configs").mkdir()
    (folder / "model_configs" / "small-image.json").write_text(json.dumps(small))
    (folder / "model_configs" / "small-text.json").write_text(json.dumps(bert))


@both
def test_cn_clip_loads_what_is_saved_for_it(
    model: ChineseCLIP, images: Tensor, tokens: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_cn_clip(model, tmp_path / "model.pt")
    write_cn_clip_configurations(model, tmp_path)
    # cn_clip knows only shapes described beside its own module; its smallest is 77 M parameters, too many for a test.
    monkeypatch.setattr(cn_clip.clip.utils, "__file__", str(tmp_path / "utils.py"))
    peer, _ = cn_clip.clip.load_from_name(
        str(tmp_path / "model.pt"),
        "cpu",
        vision_model_name="small-image",
        text_model_name="small-text",
        input_resolution=64,
    )
    with torch.no_grad():
        torch.testing.assert_close(peer.eval().encode_image(images), model.encode_image(images), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(peer.encode_text(tokens), model.encode_text(tokens), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(peer.logit_scale, model.logit_scale)


@both
def test_a_cn_clip_checkpoint_comes_back(model: ChineseCLIP, tmp_path: Path) -> None:
    save_cn_clip(model, tmp_path / "model.pt")
    other = build_model(model.config)
    load_checkpoint(other, str(tmp_path / "model.pt"))
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


@pytest.mark.parametrize("kind", ["vit"])
def test_transformers_loads_what_is_saved_for_it(
    model: ChineseCLIP, images: Tensor, tokens: Tensor, tmp_path: Path
) -> None:
    save_transformers(model, tmp_path)
    peer, report = ChineseCLIPModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    with torch.no_grad():
        image_features = peer.eval().get_image_features(pixel_values=images).pooler_output
        text_features = peer.get_text_features(input_ids=tokens, attention_mask=tokens.ne(0).long()).pooler_output
        torch.testing.assert_close(image_features, model.encode_image(images), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(text_features, model.encode_text(tokens), atol=1e-5, rtol=1e-5)
        assert torch.equal(peer.logit_scale, model.logit_scale)


@pytest.mark.parametrize("kind", ["vit"])
def test_a_transformers_folder_comes_back(model: ChineseCLIP, tmp_path: Path) -> None:
    save_transformers(model, tmp_path)
    other = build_model(model.config)
    load_checkpoint(other, str(tmp_path))
    # transformers sets the embedding of [PAD] to 0 when it loads; attention leaves [PAD] out, so no text changes.
    assert not other.bert.embeddings.word_embeddings.weight[0].any()
    model.bert.embeddings.word_embeddings.weight.data[0] = 0
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


@pytest.mark.parametrize("kind", ["vit"])
def test_the_exported_processor_treats_inputs_as_the_trainer_does(model: ChineseCLIP, tmp_path: Path) -> None:
    save_transformers(model, tmp_path)
    processor = AutoProcessor.from_pretrained(tmp_path)
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 90, 3), dtype=np.uint8))
    batch = processor(text=CAPTIONS, images=photo, padding=True, return_tensors="pt")
    assert torch.equal(batch["input_ids"], tokenize(CAPTIONS))
    assert torch.equal(batch["attention_mask"], tokenize(CAPTIONS).ne(0).long())
    assert batch["pixel_values"].shape == (1, 3, 64, 64)
    expected = cn_clip.clip.image_transform(64)(photo)  # the whole image, squeezed
    assert (batch["pixel_values"][0] - expected).abs().mean() < 0.02  # rounding and antialiasing differ a little
    assert AutoModel.from_pretrained(tmp_path)(**batch).logits_per_image.shape == (1, 3)


@pytest.mark.parametrize("kind", ["resnet"])
def test_a_resnet_is_refused_for_transformers(model: ChineseCLIP, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no ResNet image tower"):
        save_transformers(model, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["vit"])
def test_a_gelu_model_goes_to_transformers_but_not_to_cn_clip(
    model: ChineseCLIP, images: Tensor, tmp_path: Path
) -> None:
    vision = model.config.vision.model_copy(update={"activation": "gelu"})
    other = build_model(model.config.model_copy(update={"vision": vision})).eval()
    other.load_state_dict(model.state_dict())
    assert not torch.allclose(other.encode_image(images), model.encode_image(images), atol=1e-5)
    with pytest.raises(ValueError, match="quick_gelu only"):
        save_cn_clip(other, tmp_path / "model.pt")
    save_transformers(other, tmp_path)
    peer = ChineseCLIPModel.from_pretrained(tmp_path).eval()
    features = peer.get_image_features(pixel_values=images).pooler_output
    torch.testing.assert_close(features, other.encode_image(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["vit"])
def test_names_go_there_and_back(model: ChineseCLIP) -> None:
    state = model.state_dict()
    again = from_transformers(to_transformers(state))
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)
