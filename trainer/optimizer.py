"""AdamW with the reference's groups, and the learning rate's schedule."""

from __future__ import annotations

import math

import torch
from torch import nn

from trainer.config import Stage

NOT_DECAYED = ("bn", "ln", "bias", "logit_scale")


def make_optimizer(model: nn.Module, stage: Stage, fused: bool = True) -> torch.optim.AdamW:
    """AdamW over the parameters that train in this stage (Table 8).

    As in the reference (cn_clip), weight decay spares parameters whose name holds bn, ln, bias or logit_scale. That rule
    surprises in two places, which are kept for comparability: BERT's LayerNorm.weight and the image tower's
    class_embedding are decayed. `fused` is the same update in one pass over memory.
    """
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    spared = [parameter for name, parameter in trained if any(part in name for part in NOT_DECAYED)]
    decayed = [parameter for name, parameter in trained if not any(part in name for part in NOT_DECAYED)]
    groups = [{"params": spared, "weight_decay": 0.0}, {"params": decayed, "weight_decay": stage.weight_decay}]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=stage.learning_rate,
        betas=(stage.beta1, stage.beta2),
        eps=stage.epsilon,
        fused=fused,
    )


def learning_rate(stage: Stage, step: int, steps: int) -> float:
    """The learning rate of a step, from 0: a linear rise over the warmup, then half a cosine down to 0 (or constant)."""
    if step < stage.warmup:
        return stage.learning_rate * (step + 1) / stage.warmup
    if stage.schedule == "constant":
        return stage.learning_rate
    share = (step - stage.warmup) / max(1, steps - stage.warmup)
    return stage.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The same rate for all groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate
