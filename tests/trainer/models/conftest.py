"""Small models of both kinds, and a batch for them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainer.models.clip import ChineseCLIP, build_model
from trainer.models.config import ModelConfig, TextConfig, VisionConfig

TEXT = TextConfig(hidden_size=64, layers=2, heads=2, intermediate_size=96, max_positions=32)
# As many heads as cn_clip derives from the width: width / 64 (vit), width * 32 / 64 (resnet).
VISION = {
    "vit": VisionConfig(kind="vit", image_size=64, patch_size=16, width=128, layers=2, heads=2),
    "resnet": VisionConfig(kind="resnet", image_size=64, width=8, layers=(1, 2, 1, 1), heads=4),
}


def _disturb(model: ChineseCLIP) -> None:
    """No weight at 0 or 1, where a mistake would not show; all of them exact in float16, to which cn_clip rounds."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            tensor.add_(
                0.1 * torch.rand_like(tensor) if name.endswith("running_var") else 0.02 * torch.randn_like(tensor)
            )
            tensor.copy_(tensor.half().float())


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """All tests of these models use it."""


@pytest.fixture
def model(kind: str) -> ChineseCLIP:
    """A small model of the `kind` that the test is parametrised with, in eval mode."""
    torch.manual_seed(0)
    model = build_model(ModelConfig(embed_dim=32, vision=VISION[kind], text=TEXT)).eval()
    _disturb(model)
    return model


@pytest.fixture
def images() -> Tensor:
    """Six images, [6, 3, 64, 64]."""
    return torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def tokens() -> Tensor:
    """Six texts of 3 to 8 tokens, [6, 8], padded."""
    ids = torch.randint(1000, 8000, (6, 8), generator=torch.Generator().manual_seed(2))
    ids[:, 0] = 101
    lengths = torch.tensor([8, 3, 5, 7, 4, 6])
    return ids.masked_fill(torch.arange(8)[None] >= lengths[:, None], 0)
