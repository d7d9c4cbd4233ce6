"""The values of a recipe that say where a model runs. Free of torch, so that reading a recipe stays quick."""

from __future__ import annotations

from typing import Literal

from foundation.config import Config, value


class Placement(Config):
    """Where a model runs, and in which number type: what `foundation.devices` picks from."""

    device: Literal["auto", "cpu", "cuda", "mps"] = value("auto", "where the model runs")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = value(
        "auto", "weights; auto: bfloat16 where the processor or GPU computes in it, else float32"
    )
