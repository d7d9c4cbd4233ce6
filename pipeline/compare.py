"""Compare: what only all pairs of a run together can tell: copies of test images, copies of each other, full sources.

One item. It reads fingerprints and scores, no image; about 110 bytes a pair are in memory, and the search's own arrays.
`select` reads the verdicts of its shard.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters.images.duplicates import Copies, find_copies
from filters.images.fingerprint import COLUMNS
from filters.images.matching import Fingerprints, nearest
from pipeline.ledger import write_parquet
from pipeline.plan import cut
from pipeline.runfolder import Attempt, Item, Run, RunError

SHARD = "000000"
VERDICTS = pa.schema(
    [
        pa.field("key", pa.string(), False),
        pa.field("reasons", pa.list_(pa.string()), False),
        pa.field("detail", pa.string()),  # key of the winner, or test set, image and distance
    ]
)
CLUSTERS = pa.schema(
    [
        pa.field("cluster", pa.string(), False),  # key of its winner
        pa.field("key", pa.string(), False),
        pa.field("source", pa.string(), False),
        pa.field("kind", pa.string(), False),  # winner, same_pixels, near
        pa.field("distance", pa.int16(), False),  # differing bits of 192 from the winner's hash
    ]
)
ROWS_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class Scored:
    """All scored pairs of a run, in key order."""

    keys: np.ndarray  # S32 (n,)
    source: np.ndarray  # int16 (n,): position in the recipe
    score: np.ndarray  # float32 (n,)
    passes: np.ndarray  # bool (n,): within its source's limits on scores
    area: np.ndarray  # int64 (n,): pixels of the original image
    url: np.ndarray  # uint64 (n,): hash of source and url
    test: np.ndarray  # int64 (n,): row of the nearest test image, or -1
    test_bits: np.ndarray  # int64 (n,)
    images: Fingerprints | None  # where images are compared


@dataclass(frozen=True)
class TestImageTable:
    """All test sets of a run: fingerprints, and what each row is called."""

    __test__ = False
    images: Fingerprints
    sets: np.ndarray  # int64 (m,): position in the recipe
    names: pa.ChunkedArray  # (m,)


def applies(run: Run) -> bool:
    """Whether the recipe asks for anything that needs all pairs."""
    capped = any(source.max_pairs is not None for source in run.recipe.sources.values())
    return _looks_at_images(run) or capped


def expected(run: Run) -> list[str]:
    """One shard; none where there is nothing to compare."""
    return [SHARD] if applies(run) and cut.expected(run) else []


def work(run: Run, item: Item) -> None:
    """Commits the verdicts on pairs (those that fall out, in key order) and the clusters of copies."""
    tests = _test_images(run)
    pairs = _read(run, tests)
    eligible = pairs.passes & (pairs.test < 0)
    rank = np.empty(len(eligible), dtype=np.int64)
    rank[np.lexsort((np.arange(len(rank)), -pairs.area, -pairs.score))] = np.arange(len(rank))
    copies = _copies(run, pairs, rank, eligible)
    over = _over_caps(run, pairs, rank, eligible & (copies.winner < 0))
    with run.attempt("compare", item.name) as attempt:
        _commit(run, attempt, pairs, tests, copies, over)


def verdicts(run: Run, keys: pa.ChunkedArray) -> pa.Table:
    """The verdicts on a shard's pairs: its `keys` are in key order."""
    if not applies(run) or not len(keys):
        return VERDICTS.empty_table()
    between = [("key", ">=", keys[0].as_py()), ("key", "<=", keys[-1].as_py())]
    return pq.read_table(run.path("compare", f"{SHARD}.verdicts.parquet"), filters=between, schema=VERDICTS)


def _looks_at_images(run: Run) -> bool:
    return bool(run.recipe.images.test_sets) or run.recipe.images.duplicates is not None


def _test_images(run: Run) -> TestImageTable | None:
    if not run.recipe.images.test_sets:
        return None
    shards = [
        pq.read_table(run.path("test_images", f"{found.shard}.parquet")) for found in run.manifests("test_images")
    ]
    whole = [table.filter(pc.is_null(table["error"])) for table in shards]
    together = pa.concat_tables(whole)
    return TestImageTable(
        Fingerprints.decode(*(together[name].to_pylist() for name in COLUMNS)),
        np.repeat(np.arange(len(whole)), [table.num_rows for table in whole]),
        together["image"],
    )


def _read(run: Run, tests: TestImageTable | None) -> Scored:
    """All shards, several at a time."""
    shards = [found.shard for found in run.manifests("score")]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(lambda shard: _read_shard(run, shard, tests), shards))
    images = [part.images for part in parts if part.images is not None]
    names = ("keys", "source", "score", "passes", "area", "url", "test", "test_bits")
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Scored(**columns, images=Fingerprints.concatenate(images) if images else None)


def _read_shard(run: Run, shard: str, tests: TestImageTable | None) -> Scored:
    scores = pq.read_table(run.path("score", f"{shard}.parquet"))
    plan = pq.read_table(run.path("plan", f"{shard}.parquet"), columns=["key", "source", "url"])
    raw = pq.read_table(run.path("download", f"{shard}.parquet"), columns=["key", "original_width", "original_height"])
    pairs, sizes = (table.filter(pc.is_in(table["key"], scores["key"])) for table in (plan, raw))
    if not (pairs["key"].equals(scores["key"]) and sizes["key"].equals(scores["key"])):
        raise ValueError(f"shard {shard}: plan/, raw/ and scores/ do not hold the same keys; run `zhclip verify`")
    images = _fingerprints(run, shard, scores)
    recipe, count = run.recipe.images, scores.num_rows
    test, bits = np.full(count, -1, dtype=np.int64), np.zeros(count, dtype=np.int64)
    if images is not None and tests is not None:
        test, bits = nearest(images, tests.images, recipe.test_distance, recipe.test_colours)
    area = pc.multiply(pc.cast(sizes["original_width"], pa.int64()), pc.cast(sizes["original_height"], pa.int64()))
    source = pc.index_in(pairs["source"], pa.array(list(run.recipe.sources))).to_numpy().astype(np.int16)
    return Scored(
        np.array(scores["key"].to_pylist(), dtype="S32"),
        source,
        scores["score"].to_numpy(),
        _passes(limits(run), source, with_nsfw(scores)),
        area.to_numpy(),
        pl.DataFrame(pairs.select(["source", "url"])).hash_rows().to_numpy(),
        test,
        bits,
        images,
    )


def limits(run: Run) -> pa.Table:
    """Per source, in the recipe's order: source, min_score and max_nsfw (float64, null where there is none)."""
    sources = run.recipe.sources
    columns = {name: [getattr(source, name) for source in sources.values()] for name in ("min_score", "max_nsfw")}
    return pa.table(
        {"source": list(sources)} | {name: pa.array(found, pa.float64()) for name, found in columns.items()}
    )


def with_nsfw(scores: pa.Table) -> pa.Table:
    """The scores, with a column nsfw_score of nulls where none was stored."""
    if "nsfw_score" in scores.column_names:
        return scores
    return scores.append_column("nsfw_score", pa.nulls(scores.num_rows, pa.float32()))


def _passes(limits: pa.Table, source: np.ndarray, scores: pa.Table) -> np.ndarray:
    """bool (n,). Compared as float32, as scores are stored: a score written as 0.26 is not below 0.26."""
    lowest = pc.cast(pc.fill_null(limits["min_score"], -np.inf), pa.float32()).to_numpy()[source]
    highest = pc.cast(pc.fill_null(limits["max_nsfw"], np.inf), pa.float32()).to_numpy()[source]
    nsfw = pc.fill_null(scores["nsfw_score"], 0.0).to_numpy()
    return np.asarray((scores["score"].to_numpy() >= lowest) & (nsfw <= highest))


def _fingerprints(run: Run, shard: str, scores: pa.Table) -> Fingerprints | None:
    if not _looks_at_images(run):
        return None
    missing = [name for name in COLUMNS if name not in scores.column_names]
    if missing:
        raise RunError(
            f"scores/{shard}.parquet has no column {', '.join(missing)}: an older version scored it. Start a new run with "
            "--run to compare images"
        )
    return Fingerprints.decode(*(scores[name].to_pylist() for name in COLUMNS))


def _copies(run: Run, pairs: Scored, rank: np.ndarray, eligible: np.ndarray) -> Copies:
    config = run.recipe.images.duplicates
    if config is None or pairs.images is None:
        nobody = np.full(len(rank), -1, dtype=np.int64)
        return Copies(nobody, np.zeros_like(nobody), np.zeros(len(rank), dtype=bool))
    found = find_copies(pairs.images, rank, eligible, config)
    if config.several_captions:
        same_image = (found.winner >= 0) & (pairs.url == pairs.url[found.winner])
        found.winner[same_image] = -1
    return found


def _over_caps(run: Run, pairs: Scored, rank: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """bool (n,): kept pairs beyond their source's `max_pairs`. The first by key stay, which is a uniform choice, or the best."""
    over = np.zeros(len(kept), dtype=bool)
    for number, source in enumerate(run.recipe.sources.values()):
        if source.max_pairs is None:
            continue
        rows = np.flatnonzero(kept & (pairs.source == number))
        if source.cap_keeps == "best":
            rows = rows[np.argsort(rank[rows])]
        over[rows[source.max_pairs :]] = True
    return over


def _commit(
    run: Run, attempt: Attempt, pairs: Scored, tests: TestImageTable | None, copies: Copies, over: np.ndarray
) -> None:
    verdict, cluster = attempt.folder / "verdicts.parquet", attempt.folder / "clusters.parquet"
    out = np.flatnonzero((pairs.test >= 0) | (copies.winner >= 0) | over)
    with pq.ParquetWriter(verdict, VERDICTS, compression="zstd") as writer:
        for start in range(0, len(out), ROWS_AT_ONCE):
            writer.write_table(_verdicts(run, pairs, tests, copies, over, out[start : start + ROWS_AT_ONCE]))
    write_parquet(_clusters(run, pairs, copies), cluster)
    counts = {
        "in": len(over),
        "test_images": int((pairs.test >= 0).sum()),
        "duplicates": int((copies.winner >= 0).sum()),
        "over_cap": int(over.sum()),
        "out": len(over) - len(out),
    }
    attempt.commit(
        {
            verdict: run.path("compare", f"{SHARD}.verdicts.parquet"),
            cluster: run.path("compare", f"{SHARD}.clusters.parquet"),
        },
        counts,
    )


def _verdicts(
    run: Run, pairs: Scored, tests: TestImageTable | None, copies: Copies, over: np.ndarray, rows: np.ndarray
) -> pa.Table:
    """Reasons and details of `rows`, all of which fall out."""
    sets = list(run.recipe.images.test_sets)
    reasons, details = [], []
    for row in rows:
        found = list(_reasons(sets, pairs, tests, copies, over, row))
        reasons.append([reason for reason, _ in found])
        details.append("; ".join(detail for _, detail in found if detail) or None)
    return pa.table([pa.array(pairs.keys[rows].astype(str)), reasons, details], schema=VERDICTS)


def _reasons(
    sets: list[str], pairs: Scored, tests: TestImageTable | None, copies: Copies, over: np.ndarray, row: int
) -> Iterator[tuple[str, str]]:
    if tests is not None and (test := pairs.test[row]) >= 0:
        name, image = sets[tests.sets[test]], tests.names[int(test)].as_py()
        bits = pairs.test_bits[row]
        yield f"test_image_{name}", f"{name} image {image}, " + ("same pixels" if bits < 0 else f"distance {bits}")
    if (winner := copies.winner[row]) >= 0:
        yield "duplicate_image" if copies.exact[row] else "near_duplicate_image", pairs.keys[winner].decode()
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
    return pa.table(
        [
            pa.array(pairs.keys[head].astype(str)),
            pa.array(pairs.keys[rows].astype(str)),
            pa.array(sources[pairs.source[rows]]),
            pa.array(np.array(["winner", "same_pixels", "near"])[kind]),
            pa.array(np.where(kind > 0, copies.bits[rows], 0).astype(np.int16)),
        ],
        schema=CLUSTERS,
    )
