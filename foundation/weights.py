"""Where a model's files are, which revision they are, and what the weight files hold."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from safetensors.torch import load_file

from foundation.errors import InvalidInput

SMALL_FILES = ["*.json", "*.txt", "*.model", "base/*.json"]  # configurations and every kind of tokenizer
TEXT_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
IMAGE_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")


class ModelError(InvalidInput, ValueError):
    """A model that cannot be used; the message names its folder or file, and what was expected."""


class ModelNotFound(ModelError, FileNotFoundError):
    """A model, or one of its files, that is neither here nor on the hub."""


@dataclass(frozen=True, slots=True)
class Source:
    """A model's files on this machine."""

    name: str  # hub id, or name of the local folder: the same wherever the folder lies
    revision: str  # commit on the hub, or the digest of local weights (see `digest`)
    folder: Path
    weights: tuple[Path, ...]  # one file, or the parts of a split checkpoint in order


def text_source(text_model: str, revision: str | None) -> Source:
    """The local folder `text_model`, or that hub repository fetched into the hub's cache (at `revision`).

    Raises ModelNotFound where folder, repository or weights are missing, ModelError where a local folder's
    weights are not the expected `revision`.
    """
    local = Path(text_model).expanduser()
    if not local.is_dir():
        folder = _fetch(text_model, revision)
        return Source(text_model, folder.name, folder, find_weights(folder, TEXT_WEIGHTS))
    weights = find_weights(local, TEXT_WEIGHTS)
    found = digest(weights)
    if revision and revision != found:
        raise ModelError(f"text_revision is {revision!r}, but the weights in {local} have the digest {found!r}")
    return Source(local.resolve().name, found, local, weights)


def find_weights(folder: Path, names: Sequence[str]) -> tuple[Path, ...]:
    """The weight files of the first of `names` that `folder` has; an index names the parts it stands for.

    Raises ModelNotFound naming the folder and what it would need to hold.
    """
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise ModelNotFound(f"no weights in {folder}: it must hold one of {', '.join(names)}")
    if found.suffix != ".json":
        return (found,)
    parts = sorted(set(json.loads(found.read_text(encoding="utf-8"))["weight_map"].values()))
    missing = [part for part in parts if not (folder / part).is_file()]
    if missing:
        raise ModelNotFound(f"{found} names parts that are missing: {', '.join(missing)}; copy them to {folder}")
    return tuple(folder / part for part in parts)


def digest(files: Sequence[Path]) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the files' bytes, one file after the other."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            while block := stream.read(1 << 22):
                total.update(block)
    return total.hexdigest()[:16]


def revision_of(file: Path) -> str:
    """The commit that a file in the hub's cache belongs to (.../snapshots/COMMIT/NAME), else the file's digest."""
    commit = file.parent.name
    return commit if COMMIT.fullmatch(commit) else digest([file])


def read_state(files: Sequence[Path]) -> dict[str, torch.Tensor]:
    """All tensors of the weight files, on the CPU. Pickles are read with `weights_only`: no code of theirs runs.

    Raises ModelError naming the file where it is not readable as weights.
    """
    state: dict[str, torch.Tensor] = {}
    for path in files:
        try:
            state.update(load_file(path) if path.suffix == ".safetensors" else _read_pickle(path))
        except Exception as error:  # safetensors, zip and pickle readers each have errors of their own
            raise ModelError(
                f"{path} cannot be read as weights ({type(error).__name__}: {error}); fetch it again"
            ) from error
    return state


def _read_pickle(path: Path) -> dict[str, torch.Tensor]:
    # Files older than PyTorch 1.6 are no zip and cannot be mapped into memory.
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def _fetch(hub_id: str, revision: str | None) -> Path:
    if not HUB_ID.fullmatch(hub_id):
        raise ModelNotFound(f"text_model {hub_id!r} is neither a folder here nor a hub id such as 'M-CLIP/NAME'")
    try:
        folder = Path(snapshot_download(hub_id, revision=revision, allow_patterns=SMALL_FILES))
        for patterns in (["model*.safetensors"], ["pytorch_model*.bin"]):  # not both, and never other frameworks'
            if not any((folder / name).is_file() for name in TEXT_WEIGHTS if not name.endswith(".json")):
                folder = Path(snapshot_download(hub_id, revision=revision, allow_patterns=SMALL_FILES + patterns))
    except (OSError, ValueError) as error:  # the hub's own errors derive from these two
        raise ModelNotFound(
            f"text model {hub_id!r} (revision {revision or 'main'}) is not a folder here and could not be fetched from "
            f"the hub: {error}\nFetch it where the hub can be reached (hf download {hub_id}), or set text_model to a "
            f"local folder with config.json, tokenizer files and one of {', '.join(TEXT_WEIGHTS)}"
        ) from error
    return folder
