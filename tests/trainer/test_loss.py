"""The tiled loss against the plain one, in one process and over two ranks of gloo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import open_clip
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from trainer.loss import contrastive_loss

pytestmark = pytest.mark.slow

PAIRS, STEPS, RANKS = 24, 20, 2


def naive_loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """What everyone writes: the whole matrix, cross entropy over rows and over columns."""
    logits, own = scale * images @ texts.T, torch.arange(len(images))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def features(pairs: int, size: int = 16, noise: float = 0.3) -> tuple[Tensor, Tensor]:
    """Normalised float64 features; texts are noisy images."""
    torch.manual_seed(pairs)
    images = F.normalize(torch.randn(pairs, size, dtype=torch.float64), dim=-1)
    return images, F.normalize(images + noise * torch.randn(pairs, size, dtype=torch.float64), dim=-1)


def loss_and_grads(loss: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """[loss, gradient by images, by texts, by scale]."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    actual = loss(*leaves)
    actual.backward()
    return [actual.detach(), *(leaf.grad for leaf in leaves)]


def largest_difference(actual: list[Tensor], expected: list[Tensor]) -> float:
    """The largest absolute difference, in units of the largest expected number of each tensor (at least 1)."""
    pairs = zip(actual, expected, strict=True)
    return max(float((a.double() - b.double()).abs().max() / b.abs().max().clamp(min=1)) for a, b in pairs)


@pytest.mark.parametrize(("pairs", "chunk"), [(1, 1), (7, 3), (7, 7), (60, 16), (60, 1024), (61, 20)])
@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0, 1000.0])  # 1000 is past the span of a single exponential
def test_equals_the_naive_loss_and_its_gradients(pairs: int, chunk: int, scale: float) -> None:
    inputs = [*features(pairs), torch.tensor(scale, dtype=torch.float64)]
    expected = loss_and_grads(naive_loss, *inputs)
    assert largest_difference(loss_and_grads(lambda *x: contrastive_loss(*x, chunk=chunk), *inputs), expected) < 1e-12
    if scale <= 100:  # the logits themselves have an error of scale · 6e-8 in float32
        narrow = loss_and_grads(lambda *x: contrastive_loss(*x, chunk=chunk), *(tensor.float() for tensor in inputs))
        naive = loss_and_grads(naive_loss, *(tensor.float() for tensor in inputs))
        assert largest_difference(narrow, expected) < max(1e-6, 2 * largest_difference(naive, expected))


def test_equals_the_loss_of_open_clip() -> None:
    inputs = [*(tensor.float() for tensor in features(50)), torch.tensor(20.0)]
    expected = loss_and_grads(open_clip.ClipLoss(), *inputs)
    assert largest_difference(loss_and_grads(lambda *x: contrastive_loss(*x, chunk=16), *inputs), expected) < 1e-6


def test_gradients_agree_with_finite_differences() -> None:
    inputs = [*features(5, 4), torch.tensor(3.0, dtype=torch.float64)]
    assert torch.autograd.gradcheck(
        lambda *x: contrastive_loss(*x, chunk=2), [tensor.requires_grad_() for tensor in inputs]
    )


@pytest.mark.parametrize("length", [1.0, 3.0, 40.0])
@pytest.mark.parametrize("opposed", [False, True])
def test_is_exact_where_one_exponential_would_vanish_or_overflow(length: float, opposed: bool) -> None:
    images, texts = features(30, 3)
    images[:5] = -texts.mean(0)  # rows whose logits are all far below those of other rows
    texts = -images if opposed else texts
    inputs = [length * images, length * texts, torch.tensor(100.0, dtype=torch.float64)]
    expected = loss_and_grads(naive_loss, *inputs)
    actual = loss_and_grads(lambda *x: contrastive_loss(*x, chunk=8), *(tensor.float() for tensor in inputs))
    assert all(bool(tensor.isfinite().all()) for tensor in actual)
    assert largest_difference(actual, expected) < 1e-5 * length**2


@pytest.mark.parametrize(
    "trained", [(True, False, True), (False, True, True), (False, False, True), (True, False, False)]
)
def test_gradients_where_some_inputs_are_frozen(trained: tuple[bool, ...]) -> None:
    inputs = [*features(20), torch.tensor(10.0, dtype=torch.float64)]
    expected = loss_and_grads(naive_loss, *inputs)[1:]
    leaves = [tensor.clone().requires_grad_(wanted) for tensor, wanted in zip(inputs, trained, strict=True)]
    contrastive_loss(*leaves, chunk=6).backward()
    for leaf, grad, wanted in zip(leaves, expected, trained, strict=True):
        assert (leaf.grad is not None) == wanted
        assert not wanted or torch.allclose(leaf.grad, grad, atol=1e-12)


class LargestTensor(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        actual = function(*args, **(kwargs or {}))
        for tensor in actual if isinstance(actual, tuple | list) else [actual]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return actual


@pytest.mark.parametrize("scale", [10.0, 1000.0])
def test_never_holds_all_logits(scale: float) -> None:
    inputs = [*(tensor.float() for tensor in features(600, 8)), torch.tensor(scale)]
    with LargestTensor() as naive:
        loss_and_grads(naive_loss, *inputs)
    with LargestTensor() as tiled:
        loss_and_grads(lambda *x: contrastive_loss(*x, chunk=64), *inputs)
    assert naive.elements == 600 * 600
    assert tiled.elements == 600 * 8  # the features; a tile has 64 · 64


def test_bfloat16_features_are_summed_in_float32() -> None:
    images, texts = (tensor.bfloat16() for tensor in features(300))
    scale = torch.tensor(100.0)
    expected = loss_and_grads(naive_loss, images.double(), texts.double(), scale.double())
    actual = loss_and_grads(lambda *x: contrastive_loss(*x, chunk=64), images, texts, scale)
    assert [tensor.dtype for tensor in actual] == [torch.float32, torch.bfloat16, torch.bfloat16, torch.float32]
    assert abs(float(actual[0]) - float(expected[0])) < 1e-5
    for grad, exact in zip(actual[1:], expected[1:], strict=True):
        assert float((grad - exact).norm() / exact.norm()) < 0.01


def test_autocast_does_not_touch_float32_features() -> None:
    inputs = [*(tensor.float() for tensor in features(40)), torch.tensor(100.0)]
    plain = loss_and_grads(contrastive_loss, *inputs)
    with torch.autocast("cpu", torch.bfloat16):
        assert largest_difference(loss_and_grads(contrastive_loss, *inputs), plain) == 0


def test_nan_features_give_a_nan_loss() -> None:
    images, texts = features(10)
    images[3, 1] = torch.nan
    assert contrastive_loss(images, texts, torch.tensor(10.0), chunk=4).isnan()


@pytest.mark.parametrize(
    ("images", "texts", "scale", "chunk"),
    [
        (torch.ones(3, 4), torch.ones(2, 4), torch.tensor(1.0), 2),
        (torch.ones(0, 4), torch.ones(0, 4), torch.tensor(1.0), 2),
        (torch.ones(3), torch.ones(3), torch.tensor(1.0), 2),
        (torch.ones(3, 4), torch.ones(3, 4).double(), torch.tensor(1.0), 2),
        (torch.ones(3, 4).long(), torch.ones(3, 4).long(), torch.tensor(1.0), 2),
        (torch.ones(3, 4), torch.ones(3, 4), torch.ones(2), 2),
        (torch.ones(3, 4), torch.ones(3, 4), torch.tensor(1.0), 0),
    ],
)
def test_refuses_what_does_not_fit(images: Tensor, texts: Tensor, scale: Tensor, chunk: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        contrastive_loss(images, texts, scale, chunk)


class Pair(nn.Module):
    """Two small towers and a temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = (nn.Sequential(nn.Linear(12, 16), nn.GELU(), nn.Linear(16, 8)) for _ in range(2))
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return F.normalize(self.image(images), dim=-1), F.normalize(self.text(texts), dim=-1), self.logit_scale.exp()


def trajectory(
    optimizer: str, freeze: bool, dtype: torch.dtype, loss: Callable[..., Tensor], rank: int = 0, ranks: int = 1
) -> dict[str, Tensor]:
    """Losses [steps] and all gradients [steps, parameters] of a small training on this rank's part of the pairs."""
    torch.manual_seed(0)
    model, data = Pair().to(dtype), torch.randn(2, PAIRS, 12).to(dtype)
    model.image.requires_grad_(not freeze)
    images, texts = data.chunk(ranks, dim=1)[rank]
    run = DistributedDataParallel(model) if ranks > 1 else model
    trained = [tensor for tensor in model.parameters() if tensor.requires_grad]
    step = torch.optim.SGD(trained, lr=0.01) if optimizer == "sgd" else torch.optim.Adam(trained, lr=1e-3)
    losses, grads = [], []
    for _ in range(STEPS):
        step.zero_grad()
        actual = loss(*run(images, texts))
        actual.backward()
        losses.append(actual.detach())
        grads.append(torch.cat([tensor.grad.flatten() for tensor in trained]))
        step.step()
    return {"losses": torch.stack(losses), "grads": torch.stack(grads)}


CASES = [
    (optimizer, freeze, dtype)
    for optimizer in ("sgd", "adam")
    for freeze in (False, True)
    for dtype in (torch.float32, torch.float64)
]


def rank_main(rank: int, folder: str) -> None:
    """What one rank does: the trainings, and the loss of bfloat16 features; the results go into a file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS)
    results: dict[Any, Any] = {
        case: trajectory(*case, lambda *x: contrastive_loss(*x, chunk=5), rank, RANKS) for case in CASES
    }
    own = [tensor.chunk(RANKS)[rank].bfloat16() for tensor in features(PAIRS)]
    results["bfloat16"] = loss_and_grads(lambda *x: contrastive_loss(*x, chunk=5), *own, torch.tensor(100.0))
    alone = dist.new_subgroups(1)[0]
    results["alone"] = loss_and_grads(lambda *x: contrastive_loss(*x, chunk=5, group=alone), *own, torch.tensor(100.0))
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("case", CASES)
def test_training_on_two_ranks_equals_training_on_one(
    ranks: list[dict[Any, Any]], case: tuple[str, bool, torch.dtype]
) -> None:
    expected = trajectory(*case, naive_loss)
    for results in ranks:
        assert torch.equal(results[case]["losses"], ranks[0][case]["losses"])  # the same on all ranks
        losses = (results[case]["losses"] - expected["losses"]).abs()
        grads = (results[case]["grads"] - expected["grads"]).abs().amax(1)
        if case[-1] == torch.float64:
            assert float(losses.max()) < 1e-12
            assert float(grads.max()) < 1e-12
        else:
            assert float(losses.max()) < 1e-5
            assert float(grads.max()) < 1e-6
    assert expected["losses"][-1] < 0.9 * expected["losses"][0]  # it did train


def test_bfloat16_over_two_ranks(ranks: list[dict[Any, Any]]) -> None:
    images, texts = (tensor.bfloat16().double() for tensor in features(PAIRS))
    expected = loss_and_grads(naive_loss, images, texts, torch.tensor(100.0, dtype=torch.float64))
    for rank, (loss, by_image, by_text, _) in enumerate(results["bfloat16"] for results in ranks):
        assert abs(float(loss - expected[0])) < 1e-5
        for grad, exact in ((by_image, expected[1]), (by_text, expected[2])):
            own = exact.chunk(RANKS)[rank] * RANKS  # DistributedDataParallel would divide by the ranks
            assert float((grad - own).norm() / own.norm()) < 0.01
    assert abs(float(sum(results["bfloat16"][3] for results in ranks) / RANKS - expected[3])) < 1e-4


def test_a_group_bounds_the_global_batch(ranks: list[dict[Any, Any]]) -> None:
    for rank, results in enumerate(ranks):
        images, texts = (part.chunk(RANKS)[rank].bfloat16() for part in features(PAIRS))
        expected = loss_and_grads(lambda *x: contrastive_loss(*x, chunk=5), images, texts, torch.tensor(100.0))
        assert largest_difference(results["alone"], expected) == 0
