"""What weight files hold."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from foundation.hub import ModelError
from foundation.text import kind_of

STATE_KEYS = ("state_dict", "model")  # where a training checkpoint keeps the weights


def read_state(files: Sequence[Path]) -> dict[str, Tensor]:
    """All tensors of weight files by name, on the CPU: safetensors, TorchScript, or a pickle, plain or of a training.

    Runs no code of a pickle (`weights_only`). The prefix `module.`, which data-parallel training adds, is dropped.

    Raises:
        ModelError: a file cannot be read, or holds no named weights.
    """
    state: dict[str, Tensor] = {}
    for path in files:
        content = _read(path)
        for key in STATE_KEYS:
            if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
                content = content[key]
        if not isinstance(content, Mapping):
            raise ModelError(f"{path} holds {kind_of(content)}, not named weights")
        tensors = {str(name): tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
        state.update({name.removeprefix("module."): tensor for name, tensor in tensors.items()})
    return state


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if _is_torchscript(path):  # the form in which OpenAI published its models
            return torch.jit.load(path, map_location="cpu").state_dict()
        # Files older than PyTorch 1.6 are no zip and cannot be mapped into memory.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # safetensors, zip and pickle readers each have errors of their own
        raise ModelError(
            f"{path} cannot be read as weights ({type(error).__name__}: {error}); fetch it again"
        ) from error


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
