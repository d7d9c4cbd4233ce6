"""Scores of pairs: decode, embed both sides, take the cosine."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version

import numpy as np
import pyarrow as pa
import torch

from foundation.devices import pick_device, pick_dtype
from foundation.hub import ModelError, find_model
from foundation.text import counted
from pipeline.recipe.score import Score
from pipeline.stages.score import embeddings as stored
from pipeline.stages.score.fingerprint import COLUMNS as FINGERPRINT
from pipeline.stages.score.images import Decoded, Looks, decode_ahead
from pipeline.stages.score.models import TEXT_MODEL, ImageTower, TextTower, load_image_tower, load_text_tower

DECIMALS = 5  # of a score; noise of float32 kernels is near 1e-7, and a threshold is given with two or three digits
MAX_THREADS = 16  # decoding; one core decodes several hundred images a second
SCORES = pa.schema(
    [
        pa.field("score", pa.float32()),
        *(pa.field(name, pa.string()) for name in FINGERPRINT),
        pa.field("error", pa.string()),
    ]
)


class Scorer:
    """Two towers and how they are run. Calls from several threads are safe; they take turns in the model.

    The same input gives the same bytes on the same machine: batches are cut by position and length alone.
    """

    def __init__(self, config: Score, text: TextTower, image: ImageTower) -> None:
        """Raises ModelError where the towers' embeddings differ in length."""
        if text.dim != image.dim:
            raise ModelError(
                f"text model {text.source.name} gives {text.dim} numbers, image model {image.source.name} {image.dim}: "
                "they were not made for each other. Set image_model to the tower the text model was distilled from "
                "(null does so for the published ones)"
            )
        self.config, self.text, self.image = config, text, image
        self._decode = partial(image.preprocessor.decode, looks=_looks(config))
        self._turn = threading.Lock()

    @classmethod
    def load(cls, config: Score) -> Scorer:
        """Load both towers; see `pipeline.stages.score.load_scorer`, which keeps them, for what is raised."""
        device = pick_device(config.device)
        dtype = pick_dtype(config.dtype, device)
        image = load_image_tower(config.image_source, device, dtype)
        files = find_model(TEXT_MODEL, config.text_model, config.text_revision)
        text = load_text_tower(files, device, dtype, config.max_tokens)
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
            "mirror": str(self.config.mirror).lower(),
            "mask_text": self.config.mask_text or "none",
            **{name: version(package) for name, package in packages.items()},
        }

    def score(self, images: Sequence[bytes | memoryview], captions: Sequence[str]) -> pa.Table:
        """One row per pair, in order: score (float32 cosine, 5 decimals), a fingerprint, error.

        The fingerprint is three columns: image_hash, mirror_hash, pixels_sha256 (see `pipeline.stages.score.fingerprint`).

        With `nsfw` in the configuration there is also a column nsfw_score (float32, probability). With `mirror`, the
        score is the mean of two cosines, so that thresholds keep their meaning; with `mask_text`, text is hidden before.
        With `embeddings` there is a column embedding, and with `mirror_embeddings` one more, mirror_embedding (see
        `pipeline.stages.score.embeddings`).

        Where an image does not decode, its values are null and error says why; else error is null.
        Raises ValueError where `images` and `captions` differ in length.
        """
        if len(images) != len(captions):
            raise ValueError(f"{counted(len(images), 'image')} but {counted(len(captions), 'caption')}")
        with self._decoding(images) as batches:  # the first images decode while the captions are embedded
            texts = self.embed_text(captions)
            views, decoded = self._embed_batches(batches, self.config.mirror or self.config.mirror_embeddings)
        scores = cosines(views if self.config.mirror else views[:1], texts)
        errors = [image.error or (None if np.isfinite(score) else "score is not finite")
                  for image, score in zip(decoded, scores, strict=True)]  # fmt: skip
        columns = [
            pa.array(scores, pa.float32(), mask=~np.isfinite(scores)),
            *(
                pa.array([getattr(image.fingerprint, name, None) for image in decoded], pa.string())
                for name in FINGERPRINT
            ),
            pa.array(errors, pa.string()),
        ]
        table = pa.Table.from_arrays(columns, schema=SCORES)
        if self.config.nsfw:
            table = table.append_column("nsfw_score", pa.array([image.nsfw_score for image in decoded], pa.float32()))
        wanted = (self.config.embeddings, self.config.mirror_embeddings)
        for name, view, asked in zip(stored.COLUMNS, views, wanted, strict=False):
            table = table.append_column(name, stored.encode(view)) if asked else table
        return table

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
        """float32 (n, dim), not normalised; a row of NaN where an image does not decode. As it is, never mirrored."""
        with self._decoding(images) as batches:
            return self._embed_batches(batches, mirror=False)[0][0]

    def embed_views(self, images: Sequence[bytes | memoryview], mirror: bool | None = None) -> list[np.ndarray]:
        """`embed_images`, and with `mirror` that of the mirrored images; None: as `score` compares them with captions."""
        with self._decoding(images) as batches:
            return self._embed_batches(batches, self.config.mirror if mirror is None else mirror)[0]

    @contextmanager
    def _decoding(self, images: Sequence[bytes | memoryview]) -> Iterator[Iterator[list[Decoded]]]:
        # A pool per call: threads do not survive a fork, and starting them takes less than decoding one image.
        pool = ThreadPoolExecutor(min(torch.get_num_threads(), MAX_THREADS), "decode")
        try:
            yield decode_ahead(pool, self._decode, images, self.config.batch_size)
        finally:
            pool.shutdown(cancel_futures=True)

    def _embed_batches(self, batches: Iterable[list[Decoded]], mirror: bool) -> tuple[list[np.ndarray], list[Decoded]]:
        """One (n, dim) array of the images, and with `mirror` one of the mirrored images."""
        outputs: list[list[torch.Tensor]] = [[], []] if mirror else [[]]
        decoded: list[Decoded] = []
        for batch in batches:
            pixels = [image.pixels for image in batch if image.pixels is not None]
            if pixels:
                stacked = torch.from_numpy(np.stack(pixels))
                with self._turn, torch.inference_mode():
                    for view, output in enumerate(outputs):
                        output.append(self.image.encode(stacked.flip(2) if view else stacked))
            decoded += [replace(image, pixels=None) for image in batch]  # lets go of the pixels
        views = [np.full((len(decoded), self.image.dim), np.nan, dtype=np.float32) for _ in outputs]
        for embeddings, output in zip(views, outputs, strict=True):
            embeddings[[image.error is None for image in decoded]] = _to_numpy(output, self.image.dim)
        return views, decoded


def _to_numpy(outputs: Sequence[torch.Tensor], dim: int) -> np.ndarray:
    """All batches as one array: fetched from the device once, at the end, so that it never waits."""
    return torch.cat(list(outputs)).cpu().numpy() if outputs else np.empty((0, dim), dtype=np.float32)


def _looks(config: Score) -> Looks:
    """The optional models that look at images; each is loaded only where it is asked for."""
    hide = nsfw = None
    if config.mask_text:
        from pipeline.stages.score.text_mask import TextHider

        hide = TextHider(config.mask_text)
    if config.nsfw:
        from pipeline.stages.score.nsfw import NsfwClassifier

        nsfw = NsfwClassifier()
    return Looks(hide, nsfw)


def cosines(views: Sequence[np.ndarray], texts: np.ndarray) -> np.ndarray:
    """float64 (n,): cosine of the rows, the mean over `views`, rounded; NaN where a row holds NaN or has no length.

    Args:
        views: one or more arrays of image embeddings, (n, dim) each.
        texts: embeddings of captions, (n, dim).
    """
    right = texts.astype(np.float64)
    total = np.zeros(len(right))
    for left in (view.astype(np.float64) for view in views):
        with np.errstate(invalid="ignore", divide="ignore"):
            total += (left * right).sum(1) / np.sqrt((left * left).sum(1) * (right * right).sum(1))
    return np.round(total / len(views), DECIMALS)
