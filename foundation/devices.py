"""Where models run, and in which number type."""

from __future__ import annotations

import torch


def pick_device(name: str) -> torch.device:
    """The device of that name; 'auto' prefers CUDA, then Apple's GPU, then the processor."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype of that name; 'auto' is bfloat16 where the device multiplies matrices in it natively."""
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device.type == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    return torch.bfloat16 if native else torch.float32
