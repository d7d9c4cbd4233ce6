"""What the stage writes: decisions on pairs that are not kept, and clusters of near-duplicates."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipeline.run.attempt import Attempt
from pipeline.run.folder import Run
from pipeline.run.parquet import ROWS_OF_GROUP, parquet_writer, write_parquet
from pipeline.stages.dedup_images.data import EvalImageTable, Scored
from pipeline.stages.dedup_images.duplicates import Copies

SHARD = "000000"
DECISIONS_ENDING = ".decisions.parquet"
CLUSTERS_ENDING = ".clusters.parquet"
DECISIONS = pa.schema(
    [
        pa.field("key", pa.string(), False),
        pa.field("reasons", pa.list_(pa.string()), False),
        pa.field("detail", pa.string()),  # test set and image, or key of the winner; distance and cosine
    ]
)
CLUSTERS = pa.schema(
    [
        pa.field("cluster", pa.string(), False),  # key of its winner
        pa.field("key", pa.string(), False),
        pa.field("source", pa.string(), False),
        pa.field("kind", pa.string(), False),  # winner, same_pixels, near
        pa.field("distance", pa.int16(), False),  # differing bits of 192 from the winner's hash
        pa.field("cosine", pa.float32()),  # of its embedding and the winner's; null where that was not asked for
    ]
)


def commit(
    run: Run, attempt: Attempt, pairs: Scored, tests: EvalImageTable | None, copies: Copies, over: np.ndarray
) -> None:
    """Writes and commits both tables; `over` is bool (n,): pairs beyond their source's cap."""
    out = np.flatnonzero((pairs.test >= 0) | (copies.winner >= 0) | over)
    with parquet_writer(attempt.output(DECISIONS_ENDING), DECISIONS) as writer:
        for start in range(0, len(out), ROWS_OF_GROUP):
            writer.write_table(_decisions(run, pairs, tests, copies, over, out[start : start + ROWS_OF_GROUP]))
    write_parquet(_clusters(run, pairs, copies), attempt.output(CLUSTERS_ENDING))
    counts = {
        "in": len(over),
        "test_images": int((pairs.test >= 0).sum()),
        "duplicates": int((copies.winner >= 0).sum()),
        "over_cap": int(over.sum()),
        "out": len(over) - len(out),
    }
    attempt.commit(counts)


def _decisions(
    run: Run, pairs: Scored, tests: EvalImageTable | None, copies: Copies, over: np.ndarray, rows: np.ndarray
) -> pa.Table:
    """Reasons and details of `rows`, all of which fall out."""
    sets = list(run.recipe.images.test_sets)
    reasons, details = [], []
    for row in rows:
        reasons_of_row = list(_reasons(sets, pairs, tests, copies, over, row))
        reasons.append([reason for reason, _ in reasons_of_row])
        details.append("; ".join(detail for _, detail in reasons_of_row if detail) or None)
    return pa.table([pa.array(pairs.keys[rows].astype(str)), reasons, details], schema=DECISIONS)


def _reasons(
    sets: list[str], pairs: Scored, tests: EvalImageTable | None, copies: Copies, over: np.ndarray, row: int
) -> Iterator[tuple[str, str]]:
    if tests is not None and (test := pairs.test[row]) >= 0:
        name, image = sets[tests.sets[test]], tests.names[int(test)].as_py()
        bits = pairs.test_bits[row]
        yield f"test_image_{name}", f"{name} image {image}, {how_near(bits, pairs.test_cosine[row])}"
    if (winner := copies.winner[row]) >= 0:
        key, cosine = pairs.keys[winner].decode(), copies.cosine[row]
        near = "" if np.isnan(cosine) else f", {how_near(copies.bits[row], cosine)}"
        yield "duplicate_image" if copies.exact[row] else "near_duplicate_image", key + near
    if over[row]:
        yield "over_source_cap", ""


def _clusters(run: Run, pairs: Scored, copies: Copies) -> pa.Table:
    """One row per member of each cluster of two or more, the winner first, then in key order."""
    lost = np.flatnonzero(copies.winner >= 0)
    heads = np.unique(copies.winner[lost])
    rows, head = np.concatenate([heads, lost]), np.concatenate([heads, copies.winner[lost]])
    kind = np.concatenate([np.zeros(len(heads), dtype=np.int64), np.where(copies.exact[lost], 1, 2)])
    order = np.lexsort((rows, kind > 0, head))
    rows, head, kind = rows[order], head[order], kind[order]
    sources = np.array(list(run.recipe.sources))
    cosine = np.where(kind > 0, copies.cosine[rows], np.float32(np.nan))
    return pa.table(
        [
            pa.array(pairs.keys[head].astype(str)),
            pa.array(pairs.keys[rows].astype(str)),
            pa.array(sources[pairs.source[rows]]),
            pa.array(np.array(["winner", "same_pixels", "near"])[kind]),
            pa.array(np.where(kind > 0, copies.bits[rows], 0).astype(np.int16)),
            pa.array(cosine, mask=np.isnan(cosine)),
        ],
        schema=CLUSTERS,
    )


def how_near(bits: int, cosine: float) -> str:
    """How a verdict says it: -1 bits are equal pixels, a cosine of NaN was not asked for."""
    if bits < 0:
        return "same pixels"
    return f"distance {bits}" if np.isnan(cosine) else f"distance {bits}, cosine {cosine:.3f}"
