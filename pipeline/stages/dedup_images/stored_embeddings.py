"""Embeddings of a run's pairs, read for the rows that are asked for: at ten million pairs, all of them do not fit into memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipeline.run.folder import Run
from pipeline.run.manifest import RunError
from pipeline.stages.score import embeddings


def read_embeddings(run: Run, shard: str, rows: np.ndarray) -> np.ndarray:
    """float16 (len(rows), views, dim) of the pairs in score/SHARD.parquet; int64 `rows` are positions in it.

    Raises:
        RunError: the shard was scored without embeddings.
    """
    with run.open("score", shard) as file:
        columns = [name for name in embeddings.COLUMNS if name in pq.read_schema(file).names]
        if not columns:
            raise RunError(
                f"{run.file('score', shard)} has no column {embeddings.COLUMNS[0]}: it was scored without embeddings. Start a "
                "new run with --run and score.embeddings: true, or take min_cosine and test_min_cosine out of the recipe"
            )
        file.seek(0)
        table = pq.read_table(file, columns=columns).take(rows)
    return embeddings.decode([table[name] for name in columns])


class PairEmbeddings:
    """Embeddings of all pairs of a run by their row in it. Those that were asked for once lie in a file of `folder`."""

    def __init__(self, run: Run, shards: Mapping[str, int], folder: Path) -> None:
        """`shards`, in key order, and how many scored pairs each has."""
        self._run, self._shards = run, list(shards)
        self._starts = np.cumsum([0, *shards.values()])
        self._place = np.full(self._starts[-1], -1, dtype=np.int64)  # of a row in the file
        self._file, self._count, self._shape = folder / "embeddings.f16", 0, (1, 1)

    def cosine(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """float32 (m,): cosines of pairs of rows."""
        if not len(first):
            return np.zeros(0, dtype=np.float32)
        self._load(np.union1d(first, second))
        stored = np.memmap(self._file, np.float16, "r", shape=(self._count, *self._shape))
        return embeddings.cosines(stored, self._place[first], stored, self._place[second])

    def _load(self, rows: np.ndarray) -> None:
        """Appends what is not there yet, shard by shard; `rows` ascend."""
        rows = rows[self._place[rows] < 0]
        ends = np.searchsorted(rows, self._starts)
        with self._file.open("ab") as file:
            for shard, start, low, high in zip(self._shards, self._starts, ends[:-1], ends[1:], strict=False):
                if low < high:
                    wanted = rows[low:high]
                    vectors = read_embeddings(self._run, shard, wanted - start)
                    file.write(vectors.tobytes())
                    self._place[wanted] = np.arange(self._count, self._count + len(wanted))
                    self._count, self._shape = self._count + len(wanted), vectors.shape[1:]
