"""Where a model's files are: a folder of this machine, or a repository of the hub in its cache. Loads no weights."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download

from foundation.errors import InvalidInput

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
class ModelFiles:
    """A model's files on this machine."""

    name: str  # hub id, or name of the local folder: the same wherever the folder lies
    revision: str  # commit on the hub, or the digest of local weights (see `digest`)
    folder: Path
    weights: tuple[Path, ...]  # one file, or the parts of a split checkpoint in order


@dataclass(frozen=True, slots=True)
class ModelSetting:
    """A value of a recipe that names a transformers model, and what its repository has to hold."""

    name: str  # of the value, for messages
    revision_name: str  # of the value that holds the revision
    example: str  # a hub id
    small_files: tuple[str, ...]  # patterns of what is fetched beside the weights
    contents: str  # what a local folder must hold beside the weights, for messages


def find_model(setting: ModelSetting, model: str, revision: str | None) -> ModelFiles:
    """The local folder `model`, or that hub repository fetched into the hub's cache (at `revision`).

    Raises:
        ModelNotFound: folder, repository or weights are missing.
        ModelError: a local folder's weights are not the expected `revision`.
    """
    local = Path(model).expanduser()
    if not local.is_dir():
        folder = _fetch(setting, model, revision)
        return ModelFiles(model, folder.name, folder, find_weights(folder, TEXT_WEIGHTS))
    weights = find_weights(local, TEXT_WEIGHTS)
    actual = digest(weights)
    if revision and revision != actual:
        raise ModelError(
            f"{setting.revision_name} is {revision!r}, but the weights in {local} have the digest {actual!r}"
        )
    return ModelFiles(local.resolve().name, actual, local, weights)


def find_weights(folder: Path, names: Sequence[str]) -> tuple[Path, ...]:
    """The weight files of the first of `names` that `folder` has; an index stands for the parts that it names.

    Raises:
        ModelNotFound: the folder has none of them, or not all parts.
    """
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise ModelNotFound(f"no weights in {folder}: it must hold one of {', '.join(names)}")
    if path.suffix != ".json":
        return (path,)
    parts = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    missing = [part for part in parts if not (folder / part).is_file()]
    if missing:
        raise ModelNotFound(f"{path} names parts that are missing: {', '.join(missing)}; copy them to {folder}")
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


def _fetch(setting: ModelSetting, hub_id: str, revision: str | None) -> Path:
    if not HUB_ID.fullmatch(hub_id):
        raise ModelNotFound(
            f"{setting.name} {hub_id!r} is neither a folder here nor a hub id such as {setting.example!r}"
        )
    patterns = list(setting.small_files)
    try:
        folder = Path(snapshot_download(hub_id, revision=revision, allow_patterns=patterns))
        for weights in ("model*.safetensors", "pytorch_model*.bin"):  # not both, and never other frameworks'
            if not _has_weights(folder):
                folder = Path(snapshot_download(hub_id, revision=revision, allow_patterns=[*patterns, weights]))
    except (OSError, ValueError) as error:  # the hub's own errors derive from these two
        raise ModelNotFound(
            f"{setting.name} {hub_id!r} (revision {revision or 'main'}) is not a folder here and could not be fetched "
            f"from the hub: {error}\nFetch it where the hub can be reached (hf download {hub_id}), or set {setting.name} "
            f"to a local folder with {setting.contents} and one of {', '.join(TEXT_WEIGHTS)}"
        ) from error
    return folder


def _has_weights(folder: Path) -> bool:
    try:
        return bool(find_weights(folder, TEXT_WEIGHTS))
    except ModelNotFound:
        return False
