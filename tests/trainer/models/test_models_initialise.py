from __future__ import annotations

import math
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip import CLIPTextCfg, CLIPVisionCfg
from safetensors.torch import save_file
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM

from foundation.hub import ModelError
from trainer.config import Init
from trainer.models.clip import ChineseCLIP, build_model
from trainer.models.config import ModelConfig
from trainer.models.exchange import save_cn_clip
from trainer.models.initialise import initialise, load_checkpoint, load_image_tower, load_text_tower

reference = pytest.importorskip("cn_clip.clip.model", reason="cn_clip is not installed: run `make`")

both = pytest.mark.parametrize("kind", ["vit", "resnet"])
vit = pytest.mark.parametrize("kind", ["vit"])


def open_clip_model(config: ModelConfig) -> open_clip.CLIP:
    """open_clip's own, English, model with an image tower of this shape."""
    vision = config.vision
    layers = vision.layers if isinstance(vision.layers, int) else list(vision.layers)
    image = CLIPVisionCfg(
        layers=layers, width=vision.width, head_width=64, patch_size=vision.patch_size, image_size=vision.image_size
    )
    text = CLIPTextCfg(context_length=8, vocab_size=64, width=64, heads=2, layers=1)
    clip = open_clip.CLIP(config.embed_dim, image, text, quick_gelu=True).eval()
    torch.nn.init.constant_(clip.logit_scale, math.log(37))
    return clip


def bert(config: ModelConfig, **changes: int) -> BertForMaskedLM:
    """A BERT as Chinese RoBERTa is published: with a head for masked words, its names beginning with `bert.`."""
    text = config.text
    values = {
        "vocab_size": text.vocab_size,
        "hidden_size": text.hidden_size,
        "num_hidden_layers": text.layers,
        "num_attention_heads": text.heads,
        "intermediate_size": text.intermediate_size,
        "max_position_embeddings": text.max_positions,
    }
    return BertForMaskedLM(BertConfig(**(values | changes))).eval()


def grow(config: ModelConfig, image_size: int) -> ModelConfig:
    return config.model_copy(update={"vision": config.vision.model_copy(update={"image_size": image_size})})


@both
@pytest.mark.parametrize("form", ["state.pt", "checkpoint.pt", "model.safetensors"])
def test_an_image_tower_comes_from_open_clip(model: ChineseCLIP, images: Tensor, tmp_path: Path, form: str) -> None:
    clip, before = open_clip_model(model.config), {n: t.clone() for n, t in model.state_dict().items()}
    path = tmp_path / form
    if form == "model.safetensors":
        save_file(clip.state_dict(), path)
    elif form == "checkpoint.pt":
        torch.save({"epoch": 3, "state_dict": {f"module.{n}": t for n, t in clip.state_dict().items()}}, path)
    else:
        torch.save(clip.state_dict(), path)
    load_image_tower(model, str(path))
    with torch.no_grad():
        torch.testing.assert_close(model.encode_image(images), clip.encode_image(images), atol=1e-6, rtol=1e-5)
    assert model.logit_scale.exp().item() == pytest.approx(37)
    for name in ("text_projection", *(name for name in before if name.startswith("bert."))):
        assert torch.equal(model.state_dict()[name], before[name]), name


@vit
def test_an_image_tower_comes_from_torchscript_without_batch_counters(model: ChineseCLIP, tmp_path: Path) -> None:
    clip = open_clip_model(model.config).half()
    torch.jit.script(_Published(clip.visual, clip.logit_scale)).save(str(tmp_path / "openai.pt"))
    load_image_tower(model, str(tmp_path / "openai.pt"))
    assert model.visual.conv1.weight.dtype == torch.float32
    assert torch.equal(model.visual.conv1.weight, clip.visual.conv1.weight.float())


class _Published(torch.nn.Module):
    """The names of OpenAI's archives; what it computes plays no part."""

    def __init__(self, visual: torch.nn.Module, logit_scale: torch.nn.Parameter) -> None:
        super().__init__()
        self.visual = torch.nn.Module()
        for name, parameter in visual.named_parameters():
            module = self.visual
            *parents, last = name.split(".")
            for parent in parents:
                if not hasattr(module, parent):
                    module.add_module(parent, torch.nn.Module())
                module = getattr(module, parent)
            module.register_parameter(last, parameter)
        self.logit_scale = logit_scale

    def forward(self, x: Tensor) -> Tensor:
        return x * self.logit_scale


@pytest.mark.parametrize("kind", ["resnet"])
def test_a_resnet_file_needs_no_batch_counters(model: ChineseCLIP, tmp_path: Path) -> None:
    state = {
        n: t for n, t in open_clip_model(model.config).state_dict().items() if not n.endswith("num_batches_tracked")
    }
    torch.save(state, tmp_path / "resnet.pt")
    load_image_tower(model, str(tmp_path / "resnet.pt"))
    assert torch.equal(model.visual.bn1.weight, state["visual.bn1.weight"])


@both
def test_a_larger_image_interpolates_the_positions(model: ChineseCLIP, tmp_path: Path) -> None:
    save_cn_clip(model, tmp_path / "model.pt")
    larger = build_model(grow(model.config, 128)).eval()
    load_checkpoint(larger, str(tmp_path / "model.pt"))
    name = (
        "visual.positional_embedding" if model.config.vision.kind == "vit" else "visual.attnpool.positional_embedding"
    )
    old, new = model.state_dict()[name], larger.state_dict()[name]
    side = round((len(new) - 1) ** 0.5)
    assert torch.equal(new[0], old[0])
    # Aligned corners: the four corners of the grid are the old ones.
    corners = [1, side, len(new) - side, len(new) - 1]
    old_side = round((len(old) - 1) ** 0.5)
    torch.testing.assert_close(new[corners], old[[1, old_side, len(old) - old_side, len(old) - 1]])
    assert larger.encode_image(torch.randn(1, 3, 128, 128)).isfinite().all()


@vit
def test_positions_are_interpolated_as_in_cn_clip(model: ChineseCLIP, tmp_path: Path) -> None:
    save_cn_clip(model, tmp_path / "model.pt")
    larger = build_model(grow(model.config, 96))
    peer = {n: t.clone() for n, t in model.state_dict().items()}
    reference.resize_pos_embed(peer, larger)
    load_checkpoint(larger, str(tmp_path / "model.pt"))
    assert torch.equal(larger.visual.positional_embedding, peer["visual.positional_embedding"])


@vit
def test_positions_of_no_grid_are_refused(model: ChineseCLIP, tmp_path: Path) -> None:
    torch.save(model.state_dict() | {"visual.positional_embedding": torch.zeros(16, 128)}, tmp_path / "odd.pt")
    with pytest.raises(ModelError, match=r"positional_embedding \(16, 128\) for \(17, 128\)"):
        load_checkpoint(model, str(tmp_path / "odd.pt"))


@vit
def test_a_text_tower_comes_from_a_bert_folder(model: ChineseCLIP, tokens: Tensor, tmp_path: Path) -> None:
    published, before = bert(model.config), {n: t.clone() for n, t in model.state_dict().items()}
    published.save_pretrained(tmp_path)
    load_text_tower(model, str(tmp_path))
    with torch.no_grad():
        states = published.bert(input_ids=tokens, attention_mask=tokens.ne(0)).last_hidden_state
        torch.testing.assert_close(
            model.encode_text(tokens), states[:, 0] @ model.text_projection, atol=1e-6, rtol=1e-5
        )
    for name in before:
        assert name.startswith("bert.") or torch.equal(model.state_dict()[name], before[name]), name


@vit
def test_the_text_projection_starts_normally_distributed(model: ChineseCLIP) -> None:
    fresh = build_model(model.config.model_copy(update={"embed_dim": 512})).text_projection
    assert fresh.std().item() == pytest.approx(model.config.text.hidden_size**-0.5, rel=0.05)
    assert fresh.mean().abs().item() < 0.01


@vit
def test_initialise_takes_each_tower_from_its_own_source(model: ChineseCLIP, tmp_path: Path) -> None:
    clip, published = open_clip_model(model.config), bert(model.config)
    torch.save(clip.state_dict(), tmp_path / "image.pt")
    published.save_pretrained(tmp_path / "bert")
    save_cn_clip(model, tmp_path / "all.pt")
    other = build_model(model.config)
    initialise(
        other, Init(image=str(tmp_path / "image.pt"), text=str(tmp_path / "bert"), checkpoint=str(tmp_path / "all.pt"))
    )
    assert torch.equal(other.visual.proj, clip.visual.proj)
    assert torch.equal(other.bert.embeddings.word_embeddings.weight, published.bert.embeddings.word_embeddings.weight)
    assert torch.equal(other.text_projection, model.text_projection)


@vit
def test_poolers_and_position_ids_of_older_checkpoints_are_left_out(model: ChineseCLIP, tmp_path: Path) -> None:
    state = {f"module.{n}": t for n, t in model.state_dict().items()}
    state["module.bert.pooler.dense.weight"] = torch.zeros(64, 64)
    state["module.bert.embeddings.position_ids"] = torch.arange(32)[None]
    torch.save({"state_dict": state}, tmp_path / "old.pt")
    load_checkpoint(build_model(model.config), str(tmp_path / "old.pt"))


@vit
def test_names_that_do_not_fit_are_listed(model: ChineseCLIP, tmp_path: Path) -> None:
    state = dict(model.state_dict())
    del state["bert.encoder.layer.1.output.dense.bias"]
    state["visual.extra"] = torch.zeros(1)
    state["text_projection"] = torch.zeros(64, 33)
    torch.save({"state_dict": state}, tmp_path / "odd.pt")
    before = {n: t.clone() for n, t in model.state_dict().items()}
    with pytest.raises(ModelError) as refused:
        load_checkpoint(model, str(tmp_path / "odd.pt"))
    message = str(refused.value)
    assert message.startswith(str(tmp_path / "odd.pt"))
    assert "1 missing: bert.encoder.layer.1.output.dense.bias" in message
    assert "1 unexpected: visual.extra" in message
    assert "1 of another shape: text_projection (64, 33) for (64, 32)" in message
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())


@vit
def test_a_bert_of_another_size_is_refused(model: ChineseCLIP, tmp_path: Path) -> None:
    bert(model.config, num_hidden_layers=1).save_pretrained(tmp_path / "short")
    with pytest.raises(ModelError, match=r"16 missing: bert\.encoder\.layer\.1\."):
        load_text_tower(model, str(tmp_path / "short"))
    bert(model.config, num_hidden_layers=3).save_pretrained(tmp_path / "long")
    with pytest.raises(ModelError, match=r"16 unexpected: bert\.encoder\.layer\.2\."):
        load_text_tower(model, str(tmp_path / "long"))
    bert(model.config, intermediate_size=80).save_pretrained(tmp_path / "narrow")
    with pytest.raises(
        ModelError, match=r"of another shape: bert\.encoder\.layer\.0\.intermediate\.dense\.bias \(80,\) for \(96,\)"
    ):
        load_text_tower(model, str(tmp_path / "narrow"))


@vit
def test_sources_that_do_not_exist_are_named(model: ChineseCLIP, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"ViT-B-16:opnai: no such file.*ViT-B-16 has: openai, laion400m_e31"):
        load_image_tower(model, "ViT-B-16:opnai")
    with pytest.raises(ModelError, match=r"gone\.pt: no such file"):
        load_image_tower(model, str(tmp_path / "gone.pt"))
    with pytest.raises(ModelError, match="gone: no BERT"):
        load_text_tower(model, str(tmp_path / "gone"))
    with pytest.raises(ModelError, match="gone: no Chinese-CLIP checkpoint"):
        load_checkpoint(model, str(tmp_path / "gone"))


@vit
@pytest.mark.parametrize("content", [b"", b"not weights", [1, 2]])
def test_a_file_without_weights_is_refused(model: ChineseCLIP, tmp_path: Path, content: object) -> None:
    path = tmp_path / "broken.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ModelError, match=r"broken\.pt (cannot be read as weights|holds a list)"):
        load_checkpoint(model, str(path))
