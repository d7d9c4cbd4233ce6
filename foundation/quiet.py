"""Keeps the libraries' own chatter off the terminal; their errors still come through."""

from __future__ import annotations

import logging
import os
import warnings

NOISY = ("apache_beam", "root", "transformers", "huggingface_hub", "img2dataset", "open_clip", "jieba", "aiohttp")


def quiet_libraries() -> None:
    """Call before the libraries are imported."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore")
    for name in NOISY:
        logging.getLogger(None if name == "root" else name).setLevel(logging.ERROR)
