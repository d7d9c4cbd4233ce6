"""Cached steps against the same step as one graph: gradients, dropout, frozen towers, ranks, low precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from trainer.gradcache import cached_step, plain_step
from trainer.loss import contrastive_loss
from trainer.models.clip import build_model
from trainer.models.config import ModelConfig

pytestmark = pytest.mark.slow

RANKS = 2


class TwoTowers(nn.Module):
    """A small image tower and text tower that count their passes."""

    def __init__(self, dropout: float = 0.0, batch_norm: bool = False) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(4) if batch_norm else nn.Identity()
        self.visual = nn.Sequential(
            nn.Conv2d(3, 4, 3), norm, nn.GELU(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(144, 8)
        )
        self.words = nn.Embedding(50, 16)
        self.bert = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(16, 16), nn.GELU(), nn.Dropout(dropout), nn.Linear(16, 8)
        )
        self.logit_scale = nn.Parameter(torch.tensor(2.5))
        self.passes = {"image": 0, "text": 0}

    def encode_image(self, images: Tensor) -> Tensor:
        self.passes["image"] += 1
        return self.visual(images)

    def encode_text(self, tokens: Tensor) -> Tensor:
        self.passes["text"] += 1
        return self.bert(self.words(tokens).mean(1))

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.encode_image(images), self.encode_text(tokens), self.logit_scale.exp()


def towers(**options: Any) -> TwoTowers:
    torch.manual_seed(1)
    return TwoTowers(**options)


def pairs(number: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    return torch.randn(number, 3, 8, 8), torch.randint(0, 50, (number, 5))


def one_graph(model: Any, images: Tensor, tokens: Tensor, chunk: int) -> Tensor:
    """The reference: all chunks forward in one graph, the towers in turn, one backward pass."""
    outputs = [model(*pair) for pair in zip(images.split(chunk), tokens.split(chunk), strict=True)]
    features = [F.normalize(torch.cat([output[side] for output in outputs]).float(), dim=-1) for side in (0, 1)]
    loss = contrastive_loss(*features, model.logit_scale.exp())
    loss.backward()
    return loss.detach()


def outcome(
    step: Callable[..., Tensor], model: Any, *arguments: Any
) -> tuple[Tensor, dict[str, Tensor | None], Tensor]:
    """Loss, gradients by name, and the next random number after a step from a fixed seed."""
    torch.manual_seed(3)
    loss = step(model, *arguments)
    return loss, {name: parameter.grad for name, parameter in model.named_parameters()}, torch.rand(1)


def assert_close(grads: dict[str, Tensor | None], expected: dict[str, Tensor | None], tolerance: float = 1e-6) -> None:
    """Equal to `tolerance` times the largest expected number (at least 1): rounding depends on the order of sums."""
    assert grads.keys() == expected.keys()
    largest = max(1.0, *(float(grad.abs().max()) for grad in expected.values() if grad is not None))
    for name, grad in expected.items():
        assert (grad is None) == (grads[name] is None), name
        assert grad is None or float((grads[name] - grad).abs().max()) <= tolerance * largest, name


@pytest.mark.parametrize(("number", "chunk"), [(12, 4), (10, 3), (5, 1), (6, 6), (6, 100)])
def test_equals_one_graph_with_dropout(number: int, chunk: int) -> None:
    model, reference = towers(dropout=0.3), towers(dropout=0.3)
    loss, grads, after = outcome(cached_step, model, *pairs(number), chunk)
    expected_loss, expected, expected_after = outcome(one_graph, reference, *pairs(number), chunk)
    assert abs(float(loss - expected_loss)) < 1e-6
    assert_close(grads, expected)
    assert torch.equal(after, expected_after)  # the generator goes on as if nothing had been replayed
    chunks = -(-number // chunk)
    assert model.passes == {"image": 2 * chunks, "text": 2 * chunks}


def test_other_dropout_gives_other_gradients() -> None:
    model, other, batch = towers(dropout=0.3), towers(dropout=0.3), pairs(8)
    cached_step(model, *batch, 4)
    torch.manual_seed(99)
    cached_step(other, *batch, 4)
    assert float((model.visual[5].weight.grad - other.visual[5].weight.grad).abs().max()) > 1e-3


def test_equals_the_plain_step_without_dropout() -> None:
    model, reference = towers(), towers()
    loss, grads, _ = outcome(cached_step, model, *pairs(11), 4)
    expected_loss, expected, _ = outcome(plain_step, reference, *pairs(11))
    assert abs(float(loss - expected_loss)) < 1e-6
    assert_close(grads, expected)


def test_adds_to_gradients_that_are_there() -> None:
    model, reference = towers(), towers()
    cached_step(model, *pairs(6), 4)
    cached_step(model, *pairs(6), 2)
    plain_step(reference, *pairs(6))
    assert_close({"": model.words.weight.grad}, {"": 2 * reference.words.weight.grad})


@pytest.mark.parametrize("frozen", ["visual", "text", "scale"])
def test_a_frozen_tower_runs_once(frozen: str) -> None:
    model, reference = towers(dropout=0.3), towers(dropout=0.3)
    for network in (model, reference):
        parts = {"visual": [network.visual], "text": [network.words, network.bert], "scale": []}[frozen]
        for part in parts:
            part.requires_grad_(False)
        network.logit_scale.requires_grad_(frozen != "scale")
    _, grads, after = outcome(cached_step, model, *pairs(10), 4)
    _, expected, expected_after = outcome(one_graph, reference, *pairs(10), 4)
    assert_close(grads, expected)
    assert torch.equal(after, expected_after)
    assert model.passes == {"image": 3 if frozen == "visual" else 6, "text": 3 if frozen == "text" else 6}


def test_running_statistics_move_once() -> None:
    model, reference = towers(batch_norm=True), towers(batch_norm=True)
    _, grads, _ = outcome(cached_step, model, *pairs(10), 5)
    _, expected, _ = outcome(one_graph, reference, *pairs(10), 5)
    assert_close(grads, expected)
    assert_close(dict(model.named_buffers()), dict(reference.named_buffers()), 1e-7)
    assert int(model.visual[1].num_batches_tracked) == 2


def test_under_autocast_of_the_caller() -> None:
    model, reference, exact = towers(dropout=0.3), towers(dropout=0.3), towers(dropout=0.3)
    with torch.autocast("cpu", torch.bfloat16):
        _, grads, _ = outcome(cached_step, model, *pairs(12), 4)
        _, expected, _ = outcome(one_graph, reference, *pairs(12), 4)
    _, in_float32, _ = outcome(one_graph, exact, *pairs(12), 4)
    assert_close(grads, expected, 0.03)  # there the cast sums the chunks' gradients of a weight in bfloat16
    assert_close(grads, in_float32, 0.03)
    assert float((grads["visual.5.weight"] - in_float32["visual.5.weight"]).abs().max()) > 1e-5  # it was bfloat16


def test_after_a_pass_without_graph_under_the_same_autocast() -> None:
    model, reference = towers(), towers()
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            model(*pairs(2))  # leaves casts of the weights that carry no gradient
        _, grads, _ = outcome(cached_step, model, *pairs(8), 4)
        _, expected, _ = outcome(one_graph, reference, *pairs(8), 4)
    assert_close(grads, expected, 0.03)


def test_a_scaler_scales_the_gradients() -> None:
    model, reference = towers(), towers()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    loss = cached_step(model, *pairs(8), 4, scaler=scaler)
    assert float(loss) == pytest.approx(float(plain_step(reference, *pairs(8))), abs=1e-6)
    expected = {name: 1024 * parameter.grad for name, parameter in reference.named_parameters()}
    assert_close({name: parameter.grad for name, parameter in model.named_parameters()}, expected)


def test_another_loss() -> None:
    def squares(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
        return scale * (images - texts).square().sum()

    model, reference = towers(), towers()
    cached_step(model, *pairs(8), 3, squares)
    plain_step(reference, *pairs(8), squares)
    assert_close(
        *({name: parameter.grad for name, parameter in each.named_parameters()} for each in (model, reference))
    )


@pytest.mark.parametrize(("images", "tokens", "chunk"), [(4, 4, 0), (4, 3, 2), (0, 0, 2)])
def test_refuses_what_does_not_fit(images: int, tokens: int, chunk: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        cached_step(towers(), pairs(images)[0], pairs(tokens)[1], chunk)


class ChineseClip(nn.Module):
    """The real towers, called as the trainer calls them."""

    def __init__(self, kind: dict[str, Any]) -> None:
        super().__init__()
        text = {"hidden_size": 32, "layers": 2, "heads": 2, "intermediate_size": 64, "max_positions": 32}
        self.clip = build_model(ModelConfig.model_validate({"embed_dim": 16, "vision": kind, "text": text}))
        self.logit_scale = self.clip.logit_scale

    def encode_image(self, images: Tensor) -> Tensor:
        return self.clip.encode_image(images)

    def encode_text(self, tokens: Tensor) -> Tensor:
        return self.clip.encode_text(tokens)

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.encode_image(images), self.encode_text(tokens), self.logit_scale.exp()


VIT = {"kind": "vit", "image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "heads": 2}
RESNET = {"kind": "resnet", "image_size": 32, "width": 8, "layers": [1, 1, 1, 1], "heads": 4}


@pytest.mark.parametrize("kind", [VIT, RESNET])
def test_chinese_clip_with_all_its_randomness(kind: dict[str, Any]) -> None:
    torch.manual_seed(1)
    model = ChineseClip(kind)
    if kind is VIT:
        model.clip.set_patch_dropout(0.5)
    images, tokens = torch.randn(8, 3, 32, 32), torch.randint(1, 1000, (8, 12))
    results = []
    for step in (cached_step, one_graph):
        model.zero_grad()
        loss, grads, _ = outcome(step, model.train(), images, tokens, 3 if kind is VIT else 4)
        results.append((loss, {name: None if grad is None else grad.clone() for name, grad in grads.items()}))
    assert abs(float(results[0][0] - results[1][0])) < 1e-6
    assert_close(results[0][1], results[1][1], 2e-6)


def averaged(model: nn.Module) -> dict[str, Tensor | None]:
    """Gradients, as their mean over the ranks."""
    for parameter in model.parameters():
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad /= RANKS
    return {name: parameter.grad for name, parameter in model.named_parameters()}


CASES = [(dropout, frozen, unused) for dropout in (0.0, 0.3) for frozen in (False, True) for unused in (False, True)]


def rank_main(rank: int, folder: str) -> None:
    """Two cached steps through DistributedDataParallel, and as reference one graph whose gradients are averaged by hand."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS)
    results = {}
    for dropout, frozen, unused in CASES:
        model, reference = towers(dropout=dropout), towers(dropout=dropout)
        for network in (model, reference):
            network.visual.requires_grad_(not frozen)
        wrapped = DistributedDataParallel(model, find_unused_parameters=unused)
        own = [part.chunk(RANKS)[rank] for part in pairs(20)]
        for step in range(2):
            torch.manual_seed(10 * rank + step)
            loss = cached_step(wrapped, *own, 3 + 2 * rank)  # 4 chunks on one rank, 2 on the other
            torch.manual_seed(10 * rank + step)
            model.zero_grad() if step == 0 else None
            reference.zero_grad()
            expected_loss = one_graph(reference, *own, 3 + 2 * rank)
        grads = {name: parameter.grad for name, parameter in model.named_parameters()}
        results[dropout, frozen, unused] = (loss, expected_loss, grads, averaged(reference), model.passes)
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("case", CASES)
def test_two_ranks(ranks: list[dict[Any, Any]], case: tuple[float, bool, bool]) -> None:
    for loss, expected_loss, grads, expected, _ in (results[case] for results in ranks):
        assert abs(float(loss - expected_loss)) < 1e-6
        assert_close(grads, expected)
        assert_close(grads, ranks[0][case][2], 0)  # the ranks agree to the bit


@pytest.mark.parametrize("case", [case for case in CASES if not case[0]])
def test_two_ranks_equal_one_process(ranks: list[dict[Any, Any]], case: tuple[float, bool, bool]) -> None:
    model = towers()
    model.visual.requires_grad_(not case[1])
    loss, grads, _ = outcome(plain_step, model, *pairs(20))
    assert abs(float(loss - ranks[0][case][0])) < 1e-6
    assert_close(ranks[0][case][2], grads)


def test_passes_on_two_ranks(ranks: list[dict[Any, Any]]) -> None:
    for rank, chunks in ((0, 4), (1, 2)):  # two steps; a frozen tower runs once more, in the pass that DDP must see
        assert ranks[rank][0.0, False, False][-1] == {"image": 4 * chunks, "text": 4 * chunks}
        assert ranks[rank][0.0, True, False][-1] == {"image": 2 * chunks + 2, "text": 4 * chunks}
