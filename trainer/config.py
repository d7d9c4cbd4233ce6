"""The recipe of a training: model, initialisation, stages, data, evaluation. Presets lie in trainer/presets/NAME.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from foundation.config import Config, load, value
from trainer.data.augment import AugmentConfig
from trainer.models.config import ModelConfig

PRESETS = Path(__file__).parent / "presets"


class Init(Config):
    """Where the weights come from; all null: random (from scratch)."""

    image: str | None = value(
        None, "image tower, visual projection and temperature: open_clip NAME:PRETRAINED, or a file"
    )
    text: str | None = value(
        None, "text tower: a BERT in the Hugging Face layout, hub id or folder; the pooler is discarded"
    )
    checkpoint: str | None = value(None, "all of it: a Chinese-CLIP checkpoint (.pt) or a Hugging Face folder")


class Stage(Config):
    """One stage of pretraining. What is frozen is a line of configuration, not a code path (paper, section 2.3)."""

    name: str = value("stage", "in logs and checkpoints", pattern=r"^[\w-]+$")
    freeze: tuple[Literal["image", "text"], ...] = value(
        (), "towers that are not trained, BatchNorm statistics included"
    )
    epochs: float = value(1.0, "passes over the pairs, at most", "epochs", gt=0)
    steps: int | None = value(None, "at most so many steps, instead of epochs", "steps", ge=1)
    patience: int | None = value(
        None, "end the stage after so many evaluations without a better mean recall", "evaluations", ge=1
    )
    batch_size: int = value(32_768, "pairs in a step, over all ranks (Table 8)", "pairs", ge=2)
    chunk_size: int | None = value(
        None, "pairs that a rank computes at a time (gradient caching); null: all of its batch", "pairs", ge=1
    )
    learning_rate: float = value(1e-4, "peak learning rate (Table 8)", gt=0)
    warmup: int = value(5_000, "steps over which the learning rate rises from 0 (Table 8)", "steps", ge=0)
    schedule: Literal["cosine", "constant"] = value("cosine", "after the warmup (Table 8)")
    weight_decay: float = value(
        1e-3, "of weights, not of biases, norms' scales of the image tower, temperature (Table 8)", ge=0
    )
    beta1: float = value(0.9, "Adam (Table 8)", ge=0, lt=1)
    beta2: float = value(0.98, "Adam: 0.98 for ViT, 0.999 for ResNet (Table 8)", ge=0, lt=1)
    epsilon: float = value(1e-6, "Adam: 1e-6 for ViT, 1e-8 for ResNet (Table 8)", gt=0)
    max_temperature: float = value(100.0, "largest factor on the cosines (Table 8)", gt=1)
    clip_grad_norm: float | None = value(
        None, "largest norm of the gradient; null: not clipped, as in the reference", gt=0
    )
    patch_dropout: float = value(
        0.0, "share of image patches left out in training (arXiv 2212.00794); ViT only", "share", ge=0, lt=1
    )
    gradient_checkpointing: bool = value(False, "recompute activations in the backward pass, to save memory")


class Data(Config):
    """Which pairs, and how they are loaded."""

    shards: tuple[str, ...] = value((), "published folders; --data on the command line")
    where: str | None = value(None, "SQL over the index: only pairs for which it holds, such as clip_score > 0.3")
    weights: dict[str, float] = value({}, "source → how often its pairs are seen in an epoch; 1 where not named")
    augment: AugmentConfig | None = value(
        AugmentConfig(), "random resized crop and AutoAugment (appendix A.2); null: none"
    )
    max_length: int = value(
        52, "tokens of a caption, [CLS] and [SEP] included (cn_clip's 50 and two)", "tokens", ge=4, le=512
    )
    workers: int = value(4, "loader processes of a rank", "processes", ge=0)


class Evaluation(Config):
    """Zero-shot retrieval while training."""

    sets: dict[str, str] = value({}, "name → evaluation set, in any layout that `zhclip evaluate` reads")
    every: int = value(
        1_000, "steps between evaluations; further ones before the first step and after each stage", "steps", ge=1
    )
    batch_size: int = value(256, "images, or texts, at a time", "items", ge=1)


class TrainRecipe(Config):
    """A whole training."""

    model: ModelConfig
    init: Init = value(Init(), "initial weights")
    stages: tuple[Stage, ...] = value(
        (Stage(),), "one after the other; each begins with a fresh optimizer", min_length=1
    )
    data: Data = value(Data(), "pairs")
    evaluation: Evaluation = value(Evaluation(), "retrieval while training")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = value(
        "bfloat16",
        "of the computation; float16 with a scaler; auto: bfloat16 where the device computes in it, else float32",
    )
    compile: bool = value(False, "torch.compile")
    seed: int = value(0, "of initialisation, order, augmentation and dropout", ge=0)
    checkpoint_every: int = value(1_000, "steps between checkpoints; one more at the end of each stage", "steps", ge=1)
    keep_checkpoints: int = value(3, "how many of the newest checkpoints are kept", "checkpoints", ge=1)
    log_every: int = value(10, "steps between lines of the log", "steps", ge=1)

    @model_validator(mode="after")
    def _stage_names_are_unique(self) -> TrainRecipe:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"stages need different names; found {', '.join(names)}")
        return self


def presets() -> list[str]:
    """Names of the presets that ship."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_train_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> TrainRecipe:
    """Read a preset by name, or a YAML file, with `key.path=value` overrides (list items by number: stages.0.epochs=2).

    Raises:
        ConfigError: no such preset or file, or a value that is not allowed.
    """
    path = Path(name_or_path) if name_or_path.endswith((".yaml", ".yml")) else PRESETS / f"{name_or_path}.yaml"
    missing = f"{name_or_path}: no such preset or file; presets: {', '.join(presets())}"
    return load(TrainRecipe, path, overrides, kind="training recipe", missing=missing)
