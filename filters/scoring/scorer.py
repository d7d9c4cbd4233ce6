"""Scores of pairs: decode, embed both sides, take the cosine."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version

import numpy as np
import pyarrow as pa
import torch

from filters.scoring.config import Score
from filters.scoring.images import Decoded, decode_ahead
from filters.scoring.models import ImageTower, TextTower, load_image_tower, load_text_tower, pick_device, pick_dtype
from filters.scoring.weights import text_source

DECIMALS = 5  # of a score; noise of float32 kernels is near 1e-7, and a threshold is given with two or three digits
MAX_THREADS = 16  # decoding; one core decodes several hundred images a second
SCORES = pa.schema(
    [pa.field("score", pa.float32()), pa.field("image_hash", pa.string()), pa.field("error", pa.string())]
)


class Scorer:
    """Two towers and how they are run. Calls from several threads are safe; they take turns in the model.

    The same input gives the same bytes on the same machine: batches are cut by position and length alone.
    """

    def __init__(self, config: Score, text: TextTower, image: ImageTower) -> None:
        """Raises ValueError where the towers' embeddings differ in length."""
        if text.dim != image.dim:
            raise ValueError(
                f"text model {text.source.name} gives {text.dim} numbers, image model {image.source.name} {image.dim}: "
                "they were not made for each other. Set image_model to the tower the text model was distilled from "
                "(null does so for the published ones)"
            )
        self.config, self.text, self.image = config, text, image
        self._turn = threading.Lock()

    @classmethod
    def load(cls, config: Score) -> Scorer:
        """Load both towers; see `filters.scoring.load_scorer`, which keeps them, for what is raised."""
        device = pick_device(config.device)
        dtype = pick_dtype(config.dtype, device)
        image = load_image_tower(config.image_source, device, dtype)
        text = load_text_tower(text_source(config.text_model, config.text_revision), device, dtype, config.max_tokens)
        return cls(config, text, image)

    @property
    def identity(self) -> dict[str, str]:
        """What a score depends on, for provenance: models, their revisions, precision, lengths, versions."""
        packages = {
            "torch": "torch",
            "transformers": "transformers",
            "open_clip": "open_clip_torch",
            "pillow": "pillow",
        }
        return {
            "text_model": self.text.source.name,
            "text_revision": self.text.source.revision,
            "image_model": self.image.source.name,
            "image_revision": self.image.source.revision,
            "dtype": str(self.image.dtype).removeprefix("torch."),
            "max_tokens": str(self.config.max_tokens),
            **{name: version(package) for name, package in packages.items()},
        }

    def score(self, images: Sequence[bytes | memoryview], captions: Sequence[str]) -> pa.Table:
        """One row per pair, in order: score (float32 cosine, 5 decimals), image_hash (16 hex digits), error.

        Where an image does not decode, score and image_hash are null and error says why; else error is null.
        Raises ValueError where `images` and `captions` differ in length.
        """
        if len(images) != len(captions):
            raise ValueError(f"{len(images)} images but {len(captions)} captions")
        with self._decoding(images) as batches:  # the first images decode while the captions are embedded
            texts = self.embed_text(captions)
            embeddings, decoded = self._embed_batches(batches)
        scores = _cosines(embeddings, texts)
        errors = [one.error or (None if np.isfinite(score) else "score is not finite")
                  for one, score in zip(decoded, scores, strict=True)]  # fmt: skip
        columns = [
            pa.array(scores, pa.float32(), mask=~np.isfinite(scores)),
            pa.array([one.image_hash for one in decoded], pa.string()),
            pa.array(errors, pa.string()),
        ]
        return pa.Table.from_arrays(columns, schema=SCORES)

    def embed_text(self, captions: Sequence[str]) -> np.ndarray:
        """float32 (n, dim), not normalised. Captions run in order of their length, so that little is padding."""
        tokens = self.text.tokenize(captions, self.config.max_tokens)
        order = np.argsort([len(row) for row in tokens], kind="stable")
        size = self.config.batch_size
        chunks = ([tokens[i] for i in order[start : start + size]] for start in range(0, len(tokens), size))
        with self._turn, torch.inference_mode():
            outputs = [self.text.encode(chunk) for chunk in chunks]
        embeddings = np.empty((len(tokens), self.text.dim), dtype=np.float32)
        embeddings[order] = _to_numpy(outputs, self.text.dim)
        return embeddings

    def embed_images(self, images: Sequence[bytes | memoryview]) -> np.ndarray:
        """float32 (n, dim), not normalised; a row of NaN where an image does not decode."""
        with self._decoding(images) as batches:
            return self._embed_batches(batches)[0]

    @contextmanager
    def _decoding(self, images: Sequence[bytes | memoryview]) -> Iterator[Iterator[list[Decoded]]]:
        # A pool per call: threads do not survive a fork, and starting them takes less than decoding one image.
        pool = ThreadPoolExecutor(min(torch.get_num_threads(), MAX_THREADS), "decode")
        try:
            yield decode_ahead(pool, self.image.preprocessor.decode, images, self.config.batch_size)
        finally:
            pool.shutdown(cancel_futures=True)

    def _embed_batches(self, batches: Iterable[list[Decoded]]) -> tuple[np.ndarray, list[Decoded]]:
        outputs, decoded = [], []
        for batch in batches:
            pixels = [one.pixels for one in batch if one.pixels is not None]
            if pixels:
                with self._turn, torch.inference_mode():
                    outputs.append(self.image.encode(torch.from_numpy(np.stack(pixels))))
            decoded += [Decoded(None, one.image_hash, one.error) for one in batch]  # lets go of the pixels
        embeddings = np.full((len(decoded), self.image.dim), np.nan, dtype=np.float32)
        embeddings[[one.error is None for one in decoded]] = _to_numpy(outputs, self.image.dim)
        return embeddings, decoded


def _to_numpy(outputs: Sequence[torch.Tensor], dim: int) -> np.ndarray:
    """All batches as one array: fetched from the device once, at the end, so that it never waits."""
    return torch.cat(list(outputs)).cpu().numpy() if outputs else np.empty((0, dim), dtype=np.float32)


def _cosines(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """float64 (n,): cosine of the rows, rounded; NaN where a row holds NaN or has no length."""
    left, right = images.astype(np.float64), texts.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        lengths = np.sqrt((left * left).sum(1) * (right * right).sum(1))
        return np.round((left * right).sum(1) / lengths, DECIMALS)
