"""A checkpoint written here, measured by cn_clip's own code, gives the figures that `zhclip evaluate` gives."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.reference import reference
from tests.support import warm
from tests.support.published import write_published
from tests.trainer.test_train import train
from trainer.checkpoint import checkpoints, open_model

pytestmark = pytest.mark.slow

cn_clip = pytest.importorskip("cn_clip.clip", reason="cn_clip is not installed: run `make`")


def test_retrieval_of_a_checkpoint_is_the_same_through_cn_clip(tmp_path: Path) -> None:
    data = write_published(tmp_path / "dataset", 90)
    shape = {
        "model.vision.width": "16",
        "model.vision.heads": "8",
        "model.text.hidden_size": "64",
        "model.text.heads": "1",
    }
    done = train(data, tmp_path / "out", **shape)
    assert done.returncode == 0, done.stderr
    checkpoint = checkpoints(tmp_path / "out")[-1]
    command = [sys.executable, "-m", "zhclip", "evaluate", "retrieval", str(checkpoint), str(data), "--json"]
    printed = warm.run(command).stdout
    ours = json.loads(printed.splitlines()[-1])
    expected = cn_clip_recall(checkpoint, data)
    for k, recall in expected.items():
        assert abs(ours[f"text_to_image_r{k}"] - recall) < 1e-6, (k, recall, ours)


def cn_clip_recall(checkpoint: Path, data: Path) -> dict[int, float]:
    """Text → image recall, with cn_clip's model, transform and tokenizer."""
    config = open_model(checkpoint).config
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    peer = reference(config).eval()
    peer.load_state_dict(
        {name.removeprefix("module."): tensor for name, tensor in state.items() if "bert.pooler" not in name}
    )
    rows = duckdb.sql(f"select * from '{data}/*.parquet' order by key").to_arrow_table().to_pylist()
    transform = cn_clip.image_transform(config.vision.image_size)
    texts = sorted({row["caption"] for row in rows})
    with torch.no_grad():
        images = peer.encode_image(torch.stack([transform(Image.open(io.BytesIO(read(data, row)))) for row in rows]))
        words = peer.encode_text(cn_clip.tokenize(texts, context_length=52))
    scores = torch.nn.functional.normalize(words) @ torch.nn.functional.normalize(images).T
    right = np.array([[row["caption"] == text for row in rows] for text in texts])
    order = torch.argsort(scores, dim=1, descending=True).numpy()
    hits = np.take_along_axis(right, order, axis=1)
    return {k: float(hits[:, :k].any(axis=1).mean() * 100) for k in (1, 5, 10)}


def read(data: Path, row: dict[str, object]) -> bytes:
    """The bytes of a pair's image, by the index."""
    content = (data / str(row["tar"])).read_bytes()
    return content[int(str(row["offset"])) :][: int(str(row["length"]))]
