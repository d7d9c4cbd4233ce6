from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from benchmarks.reference import reference
from trainer.models.clip import ChineseCLIP, statistics_untouched

pytest.importorskip("cn_clip", reason="cn_clip is not installed: run `make`")
both = pytest.mark.parametrize("kind", ["vit", "resnet"])


def gradients(model: ChineseCLIP, images: Tensor, tokens: Tensor) -> dict[str, Tensor]:
    """Gradients of a loss that both towers take part in; dropout and patch dropout drawn from one seed."""
    torch.manual_seed(3)
    model.train().zero_grad(set_to_none=True)
    image_features, text_features, scale = model(images, tokens)
    torch.nn.functional.cross_entropy(scale * image_features @ text_features.T, torch.arange(len(images))).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@both
def test_names_and_embeddings_are_those_of_cn_clip(model: ChineseCLIP, images: Tensor, tokens: Tensor) -> None:
    peer = reference(model.config)
    assert {name: t.shape for name, t in peer.state_dict().items()} == {
        n: t.shape for n, t in model.state_dict().items()
    }
    peer.load_state_dict(model.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(model.encode_image(images), peer.encode_image(images), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model.encode_text(tokens), peer.encode_text(tokens), atol=1e-5, rtol=1e-5)
        for output, expected in zip(model(images, tokens), peer(images, tokens), strict=True):
            torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["vit"])
def test_padding_does_not_change_a_text(model: ChineseCLIP, tokens: Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(
            model.encode_text(tokens)[1:2], model.encode_text(tokens[1:2, :3]), atol=1e-6, rtol=1e-5
        )


@pytest.mark.parametrize("kind", ["vit"])
def test_forward_leaves_out_what_it_is_not_given(model: ChineseCLIP, images: Tensor, tokens: Tensor) -> None:
    assert model(images)[1] is None
    assert model(tokens=tokens)[0] is None
    assert model(images)[0].norm(dim=1).sub(1).abs().max() < 1e-6
    assert torch.equal(model()[2], model.logit_scale.exp())


@both
def test_the_towers_are_all_but_the_temperature(model: ChineseCLIP) -> None:
    image, text = (model.towers()[name] for name in ("image", "text"))
    names = [*image.parameters, *text.parameters, "logit_scale"]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert "text_projection" in text.parameters
    assert image.modules == (model.visual,)
    assert text.modules == (model.bert,)


@both
def test_weights_in_bfloat16_take_images_in_float32(model: ChineseCLIP, images: Tensor) -> None:
    expected = model.encode_image(images)
    features = model.bfloat16().encode_image(images)
    assert features.dtype == torch.bfloat16
    assert torch.cosine_similarity(features.float(), expected).min() > 0.99


@both
def test_checkpointing_changes_neither_gradients_nor_statistics(
    model: ChineseCLIP, images: Tensor, tokens: Tensor
) -> None:
    first = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plain, after_plain = gradients(model, images, tokens), {n: t.clone() for n, t in model.state_dict().items()}
    model.load_state_dict(first)
    model.set_gradient_checkpointing(True)
    checked, after_checked = gradients(model, images, tokens), model.state_dict()
    assert plain.keys() == checked.keys() == dict(model.named_parameters()).keys()
    for name in plain:
        torch.testing.assert_close(checked[name], plain[name], atol=1e-7, rtol=1e-5, msg=name)
    for name in after_plain:
        torch.testing.assert_close(after_checked[name], after_plain[name], msg=name)


@both
def test_checkpointing_keeps_less_for_the_backward_pass(model: ChineseCLIP, images: Tensor, tokens: Tensor) -> None:
    model.train()
    kept: dict[bool, dict[str, int]] = {}
    for enable in (False, True):
        model.set_gradient_checkpointing(enable)
        kept[enable] = {
            "image": _saved_tensors(lambda: model.encode_image(images)),
            "text": _saved_tensors(lambda: model.encode_text(tokens)),
        }
    assert kept[True]["image"] < kept[False]["image"] / 1.5
    assert kept[True]["text"] < kept[False]["text"] / 1.5


def _saved_tensors(run: Callable[[], Tensor]) -> int:
    """How many tensors `run` keeps for its backward pass."""
    saved: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        run()
    return len(saved)


@pytest.mark.parametrize("kind", ["resnet"])
def test_statistics_stay_untouched_inside(model: ChineseCLIP, images: Tensor) -> None:
    model.train()
    before = {name: t.clone() for name, t in model.named_buffers()}
    with statistics_untouched(model):
        inside = model.encode_image(images)
    assert all(torch.equal(before[name], t) for name, t in model.named_buffers())
    torch.testing.assert_close(model.encode_image(images), inside)
    assert not torch.equal(before["visual.bn1.running_mean"], model.visual.bn1.running_mean)


@pytest.mark.parametrize("kind", ["vit"])
def test_patch_dropout_leaves_out_patches_in_training_only(model: ChineseCLIP, images: Tensor) -> None:
    lengths: list[int] = []
    model.visual.ln_pre.register_forward_hook(lambda _module, _inputs, output: lengths.append(output.shape[1]))
    expected = model.encode_image(images)
    model.set_patch_dropout(0.5)
    assert torch.equal(model.encode_image(images), expected)
    model.train().encode_image(images)
    model.set_patch_dropout(0)
    torch.testing.assert_close(model.encode_image(images), expected)
    assert lengths == [17, 17, 9, 17]  # the class token and all, all, half, all of 16 patches
    assert "visual.patch_dropout" not in "".join(model.state_dict())


@both
def test_patch_dropout_that_cannot_be_is_refused(model: ChineseCLIP) -> None:
    model.set_patch_dropout(0)
    with pytest.raises(ValueError, match=r"below 1; found 1\.0"):
        model.set_patch_dropout(1.0)
    if model.config.vision.kind == "resnet":
        with pytest.raises(ValueError, match="needs a vit"):
            model.set_patch_dropout(0.5)
