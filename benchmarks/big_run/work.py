"""Download, score and publish as the steps' own items do them, but with made-up outcomes, scores and fingerprints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.big_run import failures, pictures
from benchmarks.big_run.draws import Draws
from benchmarks.big_run.metadata import SOURCES
from benchmarks.big_run.urls import CONTENT_TYPES, from_hexadecimal, hexadecimal, parse
from pipeline.run.attempt import Attempt, begin_attempt
from pipeline.run.folder import Item, Run
from pipeline.run.ledger import as_lists, entries, tally
from pipeline.run.outcomes import FAILED
from pipeline.run.parquet import write_parquet
from pipeline.run.tar import TarWriter
from pipeline.stages.download.content import content_of, stored_hashes
from pipeline.stages.download.writer import OUTCOME_SCHEMA
from pipeline.stages.plan import plan_shards
from pipeline.stages.publish import stage as publish
from pipeline.stages.registry import STAGES
from pipeline.stages.score.stage import downloaded

BLOCK = 512  # of a tar, bytes
TRUE_PAIRS = {"laion": (0.63, 0.298, 0.034), "wukong": (0.74, 0.305, 0.031), "danqing": (0.86, 0.312, 0.036)}
"""Source → share of captions that belong to their image, and mean and deviation of their scores."""
MISMATCHED = (0.172, 0.043)
UNDECODABLE = 0.0004
DECODER_ERROR = "OSError: broken data stream when reading image file"


@dataclass(frozen=True)
class Work:
    """The work functions of the generated steps of one run."""

    run: Run
    seed: int
    images: int  # plan shards that have a raw tar
    drawings: pictures.Drawings

    @cached_property
    def shards(self) -> int:
        """All plan shards."""
        return len(plan_shards(self.run))

    def download(self, run: Run, item: Item) -> None:
        """Commits download/ and its ledger, with a tar only where the shard is one of those with images."""
        pairs = run.table("plan", item.name)
        with begin_attempt(run, "download", item.name) as attempt:
            results = self._outcomes(pairs, int(item.name), attempt)
            failed = pc.not_equal(results["status"], "ok")
            lost, why = pairs.filter(failed), results.filter(failed)
            write_parquet(results, attempt.output(".parquet"))
            attempt.ledger(entries(lost, "download", FAILED, as_lists(why["reason"]), why["detail"]))
            reasons = dict(sorted(Counter(why["reason"].to_pylist()).items()))
            stored = [None] * len(results)
            if int(item.name) < self.images:
                stored = stored_hashes(results, attempt.output(".tar"))
            attempt.commit({**tally(pairs, lost, FAILED), "reasons": reasons, "content": content_of(results, stored)})

    def score(self, run: Run, item: Item) -> None:
        """Commits score/ and its ledger."""
        pairs = downloaded(run, item.name)
        key = from_hexadecimal(pairs["key"], 16)
        broken = Draws(key, self.seed).uniform("undecodable") < UNDECODABLE
        lost, scored = pairs.filter(pa.array(broken)), pairs.filter(pa.array(~broken))
        with begin_attempt(run, "score", item.name) as attempt:
            write_parquet(self._scores(scored, Draws(key[~broken], self.seed)), attempt.output(".parquet"))
            reasons = as_lists(pa.chunked_array([pa.repeat(pa.scalar("image_undecodable"), lost.num_rows)]))
            detail = pa.repeat(pa.scalar(DECODER_ERROR), lost.num_rows)
            attempt.ledger(entries(lost, "score", FAILED, reasons, detail))
            attempt.commit(tally(pairs, lost, FAILED))

    def publish(self, run: Run, item: Item) -> None:
        """Publishes for real where all raw tars are there; elsewhere the index alone, as if its tar had been removed."""
        if all(int(shard) < self.images for shard, _, _ in item.detail):
            with begin_attempt(run, "publish", item.name) as attempt:
                STAGES["publish"].make(attempt, item)
            return
        pieces = [publish._kept(run, shard).slice(start, end - start) for shard, start, end in item.detail]
        table = _index(pa.concat_tables(pieces), item.name, self.seed)
        with begin_attempt(run, "publish", item.name) as attempt:
            write_parquet(table, attempt.output(".parquet"))
            attempt.commit(tally(table))

    def _outcomes(self, pairs: pa.Table, shard: int, attempt: Attempt) -> pa.Table:
        """A table with OUTCOME_SCHEMA, one row per pair."""
        host, picture, version, ending = parse(pairs["url"])
        fetch = Draws(
            (picture << np.uint64(16)) + (version << 12).astype(np.uint64) + host.astype(np.uint64), self.seed
        )
        outcomes = failures.outcomes(fetch, host, shard / max(1, self.shards))
        ok, sent = ~outcomes.failed, failures.with_body(outcomes)
        reason, detail = failures.reason_columns(outcomes)
        width, height = pictures.sizes(Draws(picture, self.seed))
        size = (900 + width.astype(np.int64) * height * np.exp(-1.9 + 0.35 * fetch.normal("bytes"))).astype(np.int64)
        ranges = (
            self._store(pairs["key"], picture, ok, attempt.output(".tar"))
            if shard < self.images
            else _places(fetch, ok)
        )
        side = self.run.recipe.download.image_size
        columns = {
            "key": pairs["key"],
            "status": pa.array(["failed", "ok"]).take(pa.array(ok.astype(np.int8))),
            "reason": reason,
            "detail": detail,
            **{name: pa.array(values, mask=~ok) for name, values in zip(("offset", "length"), ranges, strict=True)},
            **{name: pa.array(np.full(len(ok), side, dtype=np.int32), mask=~ok) for name in ("width", "height")},
            "original_width": pa.array(width, mask=~ok),
            "original_height": pa.array(height, mask=~ok),
            "original_bytes": pa.array(size, mask=~sent),
            "original_sha256": pc.if_else(pa.array(sent), pictures.file_sha256(picture, version, self.seed), None),
            "content_type": pa.array(CONTENT_TYPES).take(pa.array(ending, mask=~sent)),
        }
        return pa.table(columns, schema=OUTCOME_SCHEMA)

    def _store(
        self, keys: pa.ChunkedArray, picture: np.ndarray, ok: np.ndarray, path: Path
    ) -> tuple[np.ndarray, np.ndarray]:
        """A raw tar of drawings, and offset and length of each image in it: int64 (n,)."""
        jpegs = self.drawings.stored(self.run.recipe.download)
        test = pc.index_in(pa.array(picture), pictures.test_pictures()).to_numpy(zero_copy_only=False)
        others = pictures.TEST_IMAGES + picture % np.uint64(pictures.DRAWINGS - pictures.TEST_IMAGES)
        shown = np.where(np.isnan(test), others, test).astype(np.int64)
        offset, length = np.zeros(len(ok), dtype=np.int64), np.zeros(len(ok), dtype=np.int64)
        tar, names = TarWriter(path), keys.to_pylist()
        for row in np.flatnonzero(ok):
            jpeg = jpegs[shown[row]]
            offset[row], length[row] = tar.add(f"{names[row]}.jpg", jpeg), len(jpeg)
        tar.close()
        return offset, length

    def _scores(self, pairs: pa.Table, rows: Draws) -> pa.Table:
        """Scores and fingerprints of pairs that decode, with the columns of score/."""
        _, picture, version, _ = parse(pairs["url"])
        source = pc.index_in(pairs["source"], pa.array(SOURCES)).to_numpy()
        share, mean, deviation = np.array(list(TRUE_PAIRS.values()))[source].T
        normal = rows.normal("score")
        true = rows.uniform("true pair") < share
        score = np.where(true, mean + deviation * normal, MISMATCHED[0] + MISMATCHED[1] * normal)
        models = self._models()
        return pa.table(
            {
                "key": pairs["key"],
                "score": pa.array(np.round(score, 5).astype(np.float32)),
                **self._fingerprints(picture, version),
                **{name: pa.repeat(pa.scalar(value), pairs.num_rows) for name, value in models.items()},
            }
        )

    def _fingerprints(self, picture: np.ndarray, version: np.ndarray) -> dict[str, pa.Array]:
        """Of test images those that their drawings really have."""
        made = pictures.fingerprints(picture, version, self.seed)
        test = pc.index_in(pa.array(picture), pictures.test_pictures())
        if test.null_count == len(test):
            return made
        real = self.drawings.test_fingerprints(self.run.recipe.download)
        return {name: pc.coalesce(real[name].take(test), column) for name, column in made.items()}

    def _models(self) -> Mapping[str, str]:
        score = self.run.recipe.score
        return {
            "text_model": score.text_model,
            "text_revision": "generated",
            "image_model": score.image_source,
            "image_revision": "generated",
            "dtype": "bfloat16",
        }


def _places(fetch: Draws, ok: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offset and length (int64 (n,)) that images of plausible sizes would have in a tar."""
    length = np.where(ok, np.exp(9.1 + 0.38 * fetch.normal("stored bytes")), 0).astype(np.int64)
    return _offsets(np.where(ok, BLOCK + _padded(length), 0)), length


def _index(pairs: pa.Table, shard: str, seed: int) -> pa.Table:
    """The index of a published shard, with the columns that the publish step gives it."""
    lengths = pairs["length"].to_numpy()
    public = pairs.drop_columns(list(publish.NOT_PUBLISHED))
    text = pc.binary_length(pairs["caption"]).to_numpy().astype(np.int64)
    described = 1100 + 2 * text  # bytes of KEY.json, about
    steps = 3 * BLOCK + _padded(lengths) + _padded(described) + _padded(text)
    image = Draws(from_hexadecimal(pairs["key"], 16), seed)
    hashes = hexadecimal(np.stack([image.bits(f"stored {word}") for word in range(4)], axis=1), 64).to_pylist()
    return publish._index(public.append_column("length", pairs["length"]), shard, _offsets(steps).tolist(), hashes)


def _offsets(steps: np.ndarray) -> np.ndarray:
    """Where the first byte of each image lies, behind its header; `steps` are bytes that each row takes."""
    return np.cumsum(steps) - steps + BLOCK


def _padded(sizes: np.ndarray) -> np.ndarray:
    return -(-sizes // BLOCK) * BLOCK
