"""Finding and loading models: every layout that is published, the hub's own protocol, and errors that say what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import open_clip
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from foundation.hub import digest, find_model
from foundation.weights import read_state
from pipeline.recipe.score import PAIRED_TOWERS
from pipeline.stages.score import Score
from pipeline.stages.score.models import TEXT_MODEL
from pipeline.stages.score.scorer import Scorer
from tests.support.checkpoints import DIM, write_image_model, write_text_model
from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.slow

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_image_model(tmp_path_factory.mktemp("models") / "image")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return write_text_model(tmp_path / "text")


def load(text: Path | str, image: Path | str, **values: object) -> Scorer:
    return Scorer.load(Score(text_model=str(text), image_model=str(image), device="cpu", dtype="float32", **values))


def test_every_published_tower_has_a_partner_that_open_clip_knows() -> None:
    for name, tower in PAIRED_TOWERS.items():
        model, tag = tower.split(":")
        assert tag in open_clip.list_pretrained_tags_by_model(model)
        assert Score(text_model=f"M-CLIP/{name}").image_source == tower
    with pytest.raises(ValidationError, match="image_model must be given"):
        Score(text_model="someone/else")


def test_safetensors_split_and_pickled_weights_give_the_same_embeddings(
    text: Path, image: Path, tmp_path: Path
) -> None:
    captions = ["一只小猫", "红色汽车停在路旁"]
    expected = load(text, image).embed_text(captions)
    single = write_text_model(tmp_path / "single", safetensors=True)
    split = write_text_model(tmp_path / "split", safetensors=True)
    state = read_state([split / "model.safetensors"])
    parts = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(state)}
    for part in set(parts.values()):
        save_file({name: state[name] for name in state if parts[name] == part}, split / part)
    (split / "model.safetensors").unlink()
    (split / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    for folder in (single, split):
        assert np.array_equal(load(folder, image).embed_text(captions), expected)
    (split / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="parts that are missing: model-00002"):
        load(split, image)


def test_base_architecture_is_found_by_relative_and_absolute_folder(text: Path, image: Path, tmp_path: Path) -> None:
    expected = load(text, image).embed_text(["雪山"])
    config = json.loads((text / "config.json").read_text())
    elsewhere = (text / "base").rename(tmp_path / "elsewhere")
    for base in (str(elsewhere), "../elsewhere"):
        (text / "config.json").write_text(json.dumps({**config, "modelBase": base}))
        assert np.array_equal(load(text, image).embed_text(["雪山"]), expected)
    elsewhere.rename(text / "base")
    (text / "config.json").write_text(json.dumps({**config, "modelBase": "xlm-roberta-large"}))  # as published
    assert np.array_equal(load(text, image).embed_text(["雪山"]), expected)


def test_image_weights_file_with_a_named_architecture(tmp_path: Path) -> None:
    model = open_clip.create_model("ViT-S-32-alt", load_weights=False)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "epoch_1.pt")
    wide = write_text_model(tmp_path / "wide", dim=256)
    scorer = load(wide, f"ViT-S-32-alt:{tmp_path / 'epoch_1.pt'}")
    assert scorer.identity["image_model"] == "ViT-S-32-alt:epoch_1.pt" and scorer.image.dim == 256
    loaded = scorer.image.visual.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in model.visual.state_dict().items())


def test_towers_of_different_length_are_refused(text: Path, tmp_path: Path) -> None:
    other = write_image_model(tmp_path / "narrow", dim=16)
    with pytest.raises(ValueError, match=f"text gives {DIM} numbers, image model narrow 16: they were not made"):
        load(text, other)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("pytorch_model.bin", "no weights in .*text: it must hold one of model.safetensors"),
        ("config.json", "no config.json in .*text"),
        ("tokenizer.json", "no tokenizer in .*text: copy"),
    ],
)
def test_a_missing_file_of_the_text_model_is_named(text: Path, image: Path, missing: str, message: str) -> None:
    (text / missing).unlink()
    with pytest.raises(FileNotFoundError, match=message):
        load(text, image)


@pytest.mark.parametrize(
    ("missing", "message"),
    [("open_clip_config.json", "no open_clip_config.json in"), ("open_clip_model.safetensors", "no weights in .*")],
)
def test_a_missing_file_of_the_image_model_is_named(text: Path, tmp_path: Path, missing: str, message: str) -> None:
    folder = write_image_model(tmp_path / "image")
    (folder / missing).unlink()
    with pytest.raises(FileNotFoundError, match=message):
        load(text, folder)


def test_weights_that_do_not_fit_are_named(text: Path, image: Path) -> None:
    state = torch.load(text / "pytorch_model.bin", weights_only=True)
    removed = "transformer.encoder.layer.1.output.dense.weight"
    torch.save({name: value for name, value in state.items() if name != removed}, text / "pytorch_model.bin")
    with pytest.raises(ValueError, match=f"lack 1 tensors: {removed}"):
        load(text, image)
    torch.save({**state, "transformer.stranger": torch.zeros(1)}, text / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"hold unknown 1 tensors: transformer\.stranger"):
        load(text, image)
    torch.save({**state, removed: torch.zeros(3, 3)}, text / "pytorch_model.bin")
    with pytest.raises(ValueError, match="do not fit the architecture"):
        load(text, image)
    (text / "pytorch_model.bin").write_bytes(b"version https://git-lfs")
    with pytest.raises(ValueError, match=r"pytorch_model.bin cannot be read as weights"):
        load(text, image)


def test_the_pooler_is_not_needed(text: Path, image: Path) -> None:
    expected = load(text, image).embed_text(["雪山"])
    state = torch.load(text / "pytorch_model.bin", weights_only=True)
    torch.save({name: value for name, value in state.items() if ".pooler." not in name}, text / "pytorch_model.bin")
    assert np.array_equal(load(text, image).embed_text(["雪山"]), expected)


def test_limits_and_expected_revision_are_checked(text: Path, image: Path) -> None:
    with pytest.raises(ValueError, match=r"max_tokens is 512; .* takes 128 at most"):
        load(text, image, max_tokens=512)
    right = digest([text / "pytorch_model.bin"])
    assert load(text, image, text_revision=right).identity["text_revision"] == right
    with pytest.raises(ValueError, match=f"have the digest '{right}'"):
        load(text, image, text_revision="0" * 16)


@pytest.mark.parametrize(
    ("image_model", "message"),
    [
        ("ViT-B-33:openai", "near names: .*ViT-B-32"),
        ("ViT-B-32:opena1", "neither a weights file here nor one of ViT-B-32's tags: openai"),
        ("no-such-folder", "neither a folder here nor 'NAME:PRETRAINED'"),
    ],
)
def test_unknown_image_models_are_explained(text: Path, image_model: str, message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(text, image_model)


def test_a_text_model_that_is_nowhere_is_explained() -> None:
    with pytest.raises(FileNotFoundError, match="neither a folder here nor a hub id"):
        find_model(TEXT_MODEL, "./no/such/folder", None)


class Hub(SimpleHTTPRequestHandler):
    """The three answers of a model hub that a download needs, for one repository at one commit."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        if not self.path.startswith("/api/models/"):
            return super().do_GET()
        files = sorted(path.relative_to(self.directory) for path in Path(self.directory).rglob("*") if path.is_file())
        listing = {"id": "org/text", "sha": COMMIT, "siblings": [{"rfilename": str(path)} for path in files]}
        if "/tree/" in self.path:
            listing = [{"type": "file", "path": str(path), "size": 1, "oid": "0" * 40} for path in files]  # type: ignore[assignment]
        body = json.dumps(listing).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def translate_path(self, path: str) -> str:
        name = path.partition(f"/resolve/{COMMIT}/")[2]
        self.asked.append(name)
        return str(Path(self.directory, name))

    def end_headers(self) -> None:
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{abs(hash(self.path)):040x}"')
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def hub(text: Path) -> Iterator[str]:
    (text / "tf_model.h5").write_bytes(b"not wanted")  # other frameworks' weights lie in the published repositories
    Hub.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, directory=str(text)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


ASK = """
import sys
import huggingface_hub.utils._http
huggingface_hub.utils._http.time.sleep = lambda seconds: None  # it tries five times, and waits half a minute in all
from foundation.hub import find_model
from pipeline.stages.score.models import TEXT_MODEL
for hub_id in sys.argv[1:]:
    try:
        source = find_model(TEXT_MODEL, hub_id, None)
        print(source.name, source.revision, *source.weights)
    except FileNotFoundError as error:
        print(error)
"""


def from_hub(endpoint: str, cache: Path, *hub_ids: str) -> list[str]:
    """`find_model` in a process of its own: the hub's client reads its settings when it is imported."""
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    result = subprocess.run(
        [sys.executable, "-c", ASK, *hub_ids],
        env={**os.environ, **settings, "no_proxy": "127.0.0.1"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.mark.slow  # loads the models in two processes
def test_a_hub_repository_is_fetched_without_other_frameworks_and_then_works_offline(hub: str, tmp_path: Path) -> None:
    (first,) = from_hub(hub, tmp_path, "org/text")
    name, revision, weights = first.split()
    assert (name, revision, Path(weights).name) == ("org/text", COMMIT, "pytorch_model.bin")
    assert {"config.json", "tokenizer.json", "base/config.json", "pytorch_model.bin"} <= set(Hub.asked)
    assert "tf_model.h5" not in Hub.asked
    again, *explained = from_hub("http://127.0.0.1:9", tmp_path, "org/text", "org/other")  # nothing listens there
    assert again == first
    assert "hf download org/other" in "\n".join(explained)
