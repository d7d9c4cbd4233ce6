"""A shop of 40 pictures on loopback, its metadata as CSV, and a finished run of it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import Run, curate
from tests.support.loopback import Answer, Web
from tests.support.paths import REPOSITORY

PICTURES = 40
BROKEN = 3  # of them answer 503, once


@dataclass(frozen=True)
class Shop:
    """The folder that holds recipe.yaml and pairs.csv, and the server that both name."""

    folder: Path
    web: Web

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.yaml"


def open_shop(folder: Path) -> Shop:
    """Write the files and start the server."""
    web, rng = Web(), np.random.default_rng(7)
    with (folder / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["url", "caption"])
        for number in range(PICTURES):
            picture = Answer(_jpeg(rng), headers=(("Content-Type", "image/jpeg"),))
            answers = (Answer(status=503), picture) if number < BROKEN else (picture,)
            rows.writerow([web.put(f"/{number}.jpg", *answers), f"第{number}张漂亮的图画"])
        rows.writerow(["http://127.0.0.1/none.jpg", "短"])  # a caption that is too short
    (folder / "recipe.yaml").write_text(json.dumps(_recipe(folder, web)), encoding="utf-8")
    return Shop(folder, web)


def _recipe(folder: Path, web: Web) -> dict[str, object]:
    scorer = REPOSITORY / "demo" / "mclip-tiny"
    source = {
        "kind": "table",
        "files": [str(folder / "pairs.csv")],
        "columns": {"url": "url", "caption": "caption"},
        "min_score": None,
        "rules": {"url": {"allow_hosts": [web.host]}},
    }
    return {
        "name": "shop",
        "sources": {"shop": source},
        "download": {"allow_hosts": [web.host], "retries": 0, "timeout": 20, "deadline": 30},
        "score": {"text_model": str(scorer / "text"), "image_model": str(scorer / "image"), "max_tokens": 80},
    }


def _jpeg(rng: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).resize((160, 160)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop of which nothing was fetched yet."""
    opened = open_shop(tmp_path)
    yield opened
    opened.web.close()


@pytest.fixture(scope="session")
def sold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, Run]]:
    """A shop and its finished run; copy the run before changing it. Its server still answers."""
    opened = open_shop(tmp_path_factory.mktemp("shop"))
    yield opened, curate(opened.recipe, opened.folder / "run", workers=2)
    opened.web.close()
