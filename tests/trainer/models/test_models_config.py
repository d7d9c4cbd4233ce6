from __future__ import annotations

import pytest
import torch
import yaml
from pydantic import ValidationError

from tests.support.paths import REPOSITORY
from trainer.models.clip import build_model
from trainer.models.config import ModelConfig, VisionConfig

PRESETS = REPOSITORY / "trainer" / "presets"

# Millions of parameters: all, image, text (paper, Table 1).
TABLE_1 = {
    "rn50": (77, 38, 39),
    "vit-b-16": (188, 86, 102),
    "vit-l-14": (406, 304, 102),
    "vit-l-14-336": (407, 304, 102),
    "vit-h-14": (958, 632, 326),
}


def preset(name: str) -> dict:
    return yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", TABLE_1)
def test_the_presets_have_the_parameters_of_table_1(name: str) -> None:
    with torch.device("meta"):
        model = build_model(ModelConfig.model_validate(preset(name)["model"]))
    towers = model.towers()
    counts = [sum(p.numel() for p in parameters) for parameters in (model.parameters(),)]
    counts += [sum(p.numel() for p in towers[tower].parameters.values()) for tower in ("image", "text")]
    assert tuple(round(count / 1e6) for count in counts) == TABLE_1[name]


@pytest.mark.parametrize(
    ("name", "epochs", "batches", "beta2", "epsilon"),
    [
        ("rn50", [20, 44], [32_768, 16_384], 0.999, 1e-8),
        ("vit-b-16", [44, 15], [32_768, 16_384], 0.98, 1e-6),
        ("vit-l-14", [64, 7], [32_768, 4_608], 0.98, 1e-6),
        ("vit-h-14", [26, 7], [32_768, 32_768], 0.98, 1e-6),
    ],
)
def test_the_presets_train_as_in_table_8(
    name: str, epochs: list[int], batches: list[int], beta2: float, epsilon: float
) -> None:
    from trainer.config import load_train_recipe

    first, second = load_train_recipe(name).stages
    assert (first.freeze, second.freeze) == (("image",), ())
    assert [stage.epochs for stage in (first, second)] == epochs
    assert [stage.batch_size for stage in (first, second)] == batches
    assert [stage.learning_rate for stage in (first, second)] == [1e-4, 2e-5]
    for stage in (first, second):
        assert (stage.beta1, stage.beta2, stage.epsilon) == (0.9, beta2, epsilon)
        assert (stage.warmup, stage.weight_decay, stage.schedule, stage.max_temperature) == (5_000, 1e-3, "cosine", 100)
    assert [stage.gradient_checkpointing for stage in (first, second)] == [False, name == "vit-h-14"]


@pytest.mark.parametrize("name", ["vit-l-14-336", "tiny"])
def test_the_other_presets_are_valid(name: str) -> None:
    from trainer.config import load_train_recipe

    recipe = load_train_recipe(name)
    assert len(recipe.stages) == 1
    assert recipe.stages[0].freeze == ()
    assert bool(recipe.init.checkpoint) == (name == "vit-l-14-336")  # the one continues, the other starts from nothing


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"patch_size": 15}, "patch_size that divides image_size 64"),
        ({"layers": [1, 1, 1, 1]}, "one number of layers"),
        ({"heads": 3}, "not a multiple of heads 3"),
        ({"kind": "resnet"}, "a resnet has no patch_size"),
        ({"kind": "resnet", "patch_size": None}, "four numbers of layers"),
        ({"kind": "resnet", "patch_size": None, "layers": [1, 1, 1, 1], "image_size": 80}, "multiple of 32; found 80"),
        ({"patchsize": 16}, "patchsize"),
    ],
)
def test_shapes_that_cannot_be_built_are_refused(change: dict, complaint: str) -> None:
    good = {"kind": "vit", "image_size": 64, "patch_size": 16, "width": 128, "layers": 2, "heads": 2}
    VisionConfig.model_validate(good)
    with pytest.raises(ValidationError, match=complaint):
        VisionConfig.model_validate(good | change)
