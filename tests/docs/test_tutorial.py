"""docs/tutorial.md, command by command, with pictures from loopback and the demo's small scorer."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from tests.support import warm
from tests.support.loopback import Answer, Web
from tests.support.paths import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

PAGE = (REPOSITORY / "docs" / "tutorial.md").read_text(encoding="utf-8")
COLOURS = {"red": "红色", "green": "绿色", "blue": "蓝色", "yellow": "黄色", "black": "黑色", "orange": "橙色"}
BACKGROUNDS = {"white": "白色", "lightgrey": "浅灰色", "pink": "粉色", "cyan": "青色"}
SHAPES = {"ellipse": "圆形", "rectangle": "方形"}

# What a network and the hub would do is done on this machine; the scorer is another, so its scores are.
HERE = """
    rules: {{url: {{allow_hosts: ["{host}"]}}}}
download: {{allow_hosts: ["{host}"]}}
score:
  text_model: {demo}/text
  image_model: {demo}/image
  max_tokens: 80
"""
OTHERWISE = {
    "min_score: 0.26": "min_score: -1",
    "sources.own.min_score=0.3": "sources.own.min_score=-0.9",
    "stages.0.batch_size=16": "stages.0.batch_size=16 --set stages.0.epochs=2 --set data.workers=0",
}


@pytest.fixture
def web() -> Iterator[Web]:
    """A server on loopback."""
    web = Web()
    yield web
    web.close()


def picture(colour: str, background: str, shape: str) -> bytes:
    """A shape in the middle of a square, as JPEG."""
    image = Image.new("RGB", (240, 240), background)
    getattr(ImageDraw.Draw(image), shape)((60, 60, 180, 180), fill=colour)
    content = io.BytesIO()
    image.save(content, "JPEG")
    return content.getvalue()


def write_pairs(path: Path, web: Web) -> int:
    """A CSV of links and captions, and an advertisement as the tutorial has one; returns the pairs to keep."""
    lines = ["link,text"]
    for colour, colour_name in COLOURS.items():
        for background, background_name in BACKGROUNDS.items():
            for shape, shape_name in SHAPES.items():
                url = web.put(f"/{len(lines)}.jpg", Answer(picture(colour, background, shape)))
                lines.append(f"{url},{background_name}背景上的{colour_name}{shape_name}")
    lines.append(f"{url},厂家直销，加微信有优惠")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines) - 2


def blocks(language: str) -> list[str]:
    """The page's fenced blocks of a language, with what is otherwise here."""
    text = PAGE
    for there, here in OTHERWISE.items():
        assert there in text
        text = text.replace(there, here)
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def words_of(command: str, folder: Path) -> list[str]:
    """The arguments that a shell gives to zhclip."""
    script = f"""zhclip() {{ printf '%s\\0' "$@"; }}; {command}"""
    printed = subprocess.run(script, cwd=folder, shell=True, capture_output=True, text=True, check=True).stdout
    return printed.split("\0")[:-1]


def test_every_command_of_the_tutorial_works(web: Web, tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.csv", web)
    (recipe,) = blocks("yaml")
    here = HERE.format(host=web.host, demo=REPOSITORY / "demo" / "mclip-tiny")
    (tmp_path / "own.yaml").write_text(recipe.rstrip("\n") + here, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    printed = {}
    for block in blocks("sh"):
        for command in block.splitlines():
            line, _, file = command.partition(" > ")
            ended = warm.run([sys.executable, "-m", "zhclip", *words_of(line, tmp_path)], tmp_path, environment)
            if file:
                (tmp_path / file).write_text(ended.stdout, encoding="utf-8")
            assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
            printed[command] = ended.stdout
    assert any("blacklist_advertising" in text for text in printed.values())
    assert len(list((tmp_path / "runs/own/dataset").glob("*.tar"))) == 1
    assert f"{pairs} published pairs" in printed["zhclip verify runs/own"]
    assert (tmp_path / "runs/own/report.html").exists()
    assert list((tmp_path / "runs/model").glob("checkpoint-*.pt"))


def test_the_tutorial_shows_no_command_that_is_not_run() -> None:
    outside = re.sub(r"```sh\n.*?```", "", PAGE, flags=re.DOTALL)
    assert not [line for line in outside.splitlines() if line.strip().startswith("zhclip ")]
