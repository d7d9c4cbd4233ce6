"""What a threshold means for a run's own scorer: scores of its pairs beside scores of the same images with other captions.

`zhclip calibrate RUN` re-scores a sample from the raw tars; the stored scores of all pairs are counted, not computed anew.

How precision is estimated. The scored pairs of a source are a mixture: a share m of them has a caption that belongs to another
image, the rest is well matched. Assumed is that mismatched pairs score as shuffled ones do. With K(t) the share of pairs, and
S(t) the share of shuffled pairs, that score at least t:

    precision(t) = 1 - m · S(t) / K(t)

m is given, or estimated from below the scores of good pairs: whatever the good pairs are, 1 - K(t) ≥ m · (1 - S(t)), so m is at
most the smallest ratio (1 - K(t)) / (1 - S(t)). That is the usual bound on the proportion in a mixture (Blanchard, Lee and
Scott 2010, "Semi-supervised novelty detection"); it is near m where good pairs rarely score as low as shuffled ones.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foundation.errors import ZhclipError
from pipeline.run.folder import Run
from pipeline.run.manifest import RunError
from pipeline.stages.score import load_scorer
from pipeline.stages.score.stage import downloaded, stored_images

if TYPE_CHECKING:
    from pipeline.stages.score.scorer import Scorer

STEP = 0.001  # between thresholds; scores lie from -1 to 1
PER_STEP = 100  # scores have five decimals, so a step holds 100 different ones and counting loses nothing
BINS = 2001
LOWER_TAIL = 0.2  # share of shuffled pairs that must lie below t before m is read off there; less is noise


@dataclass(frozen=True)
class Calibration:
    """One source. The arrays have BINS numbers, for `thresholds`."""

    source: str
    min_score: float | None  # of the recipe
    pairs: int  # scored pairs of the run
    shuffled: int  # images scored with another's caption
    kept: np.ndarray  # float64: share of the run's pairs that score at least the threshold, K
    shuffled_kept: np.ndarray  # float64: the same of shuffled pairs, S
    mismatched: float  # share of pairs whose caption is another image's, m: given, or the estimate
    mismatched_given: bool
    rescored_difference: float  # largest difference between a stored score and the sample's: noise of batching

    @property
    def precision(self) -> np.ndarray:
        """float64 (BINS,): estimated share of well matched pairs among those kept, 0 to 1; NaN where nothing is kept."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.clip(1 - self.mismatched * self.shuffled_kept / self.kept, 0, 1)

    def keeping(self, share: float) -> float:
        """The highest threshold that keeps at least `share` of the run's pairs."""
        return float(thresholds()[np.flatnonzero(self.kept >= share)[-1]])

    def reaching(self, precision: float) -> float | None:
        """The lowest threshold whose estimated precision is at least `precision`; None where none is."""
        positions = np.flatnonzero(self.precision >= precision)
        return float(thresholds()[positions[0]]) if len(positions) else None


def thresholds() -> np.ndarray:
    """float64 (BINS,): -1, -0.999 … 1."""
    return np.round(np.arange(BINS) * STEP - 1, 3)


def calibrate(
    run: Run, source: str | None = None, sample: int = 2000, mismatched: float | None = None, seed: int = 0
) -> list[Calibration]:
    """Calibrates one source, or every source of the recipe that has scored pairs.

    Args:
        sample: images of each source that are scored again, at most. Taken in key order from shards in an order that `seed`
            decides; keys are hashes, so that is a uniform choice.
        mismatched: share of a source's pairs with a wrong caption; None estimates it.

    Raises:
        RunError: the run has no scores, no such source, or lacks what is needed to score again.
    """
    shards = [manifest.shard for manifest in run.manifests("score")]
    if not shards:
        raise RunError(
            f"{run.address} has no scores for its recipe as it is; `zhclip score --run {run.address}` makes them"
        )
    if source is not None and source not in run.recipe.sources:
        raise RunError(f"{run.address} has no source {source!r}; its sources are {', '.join(run.recipe.sources)}")
    counts = _count_scores(run, shards)
    wanted = [name for name in ([source] if source else run.recipe.sources) if counts[name].any()]
    if not wanted:
        raise RunError(
            f"{run.address}: {f'source {source} has' if source else 'there are'} no scored pairs to calibrate"
        )
    shuffled, differences = _rescore(run, _scorer(run), shards, wanted, sample, seed)
    unshuffled = [name for name in wanted if not shuffled[name].any()]
    if unshuffled:
        raise RunError(
            f"{run.address}: {', '.join(unshuffled)}: no two pairs of one shard differ in caption; nothing to shuffle"
        )
    return [_calibration(run, name, counts[name], shuffled[name], differences[name], mismatched) for name in wanted]


def _calibration(
    run: Run, name: str, counts: np.ndarray, shuffled: np.ndarray, difference: float, mismatched: float | None
) -> Calibration:
    kept, shuffled_kept = at_least(counts), at_least(shuffled)
    share = estimate_mismatched(kept, shuffled_kept) if mismatched is None else mismatched
    return Calibration(
        name,
        run.recipe.sources[name].min_score,
        int(counts.sum()),
        int(shuffled.sum()),
        kept,
        shuffled_kept,
        share,
        mismatched is not None,
        difference,
    )


def at_least(counts: np.ndarray) -> np.ndarray:
    """float64 (BINS,): share of scores at or above each threshold, from int64 counts per bin."""
    return np.cumsum(counts[::-1])[::-1] / counts.sum()


def estimate_mismatched(kept: np.ndarray, shuffled_kept: np.ndarray) -> float:
    """The bound on m that the module's description explains, 0 to 1."""
    tail = 1 - shuffled_kept >= LOWER_TAIL
    return float(min(1.0, ((1 - kept[tail]) / (1 - shuffled_kept[tail])).min()))


def histogram(scores: np.ndarray) -> np.ndarray:
    """int64 (BINS,): how many scores (rounded to five decimals) lie in each step, whose lower edge belongs to it."""
    bins = np.rint(scores.astype(np.float64) / STEP * PER_STEP).astype(np.int64) // PER_STEP + BINS // 2
    return np.bincount(np.clip(bins, 0, BINS - 1), minlength=BINS)


def other_captions(captions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """int64 (n,): for each caption the position of a different one, each position at most once; -1 where there is none.

    Positions are drawn at random, equal captions next to one another; every place then takes what stands as many places
    further as the most frequent caption has copies, which is never an equal one.
    """
    _, group, copies = np.unique(captions, return_inverse=True, return_counts=True)
    others = np.full(len(captions), -1)
    shuffled = rng.permutation(len(captions))
    order = shuffled[np.argsort(rng.permutation(len(copies))[group[shuffled]], kind="stable")]
    taken = np.roll(order, -int(copies.max())) if len(copies) else order
    different = group[order] != group[taken]  # one that fills more than half of the places meets itself
    others[order[different]] = taken[different]
    return others


def _count_scores(run: Run, shards: list[str]) -> dict[str, np.ndarray]:
    """A histogram of the stored scores of each source."""
    counts = {name: np.zeros(BINS, np.int64) for name in run.recipe.sources}
    for shard in shards:
        scores = run.table("score", shard, columns=["key", "score"])
        plan = run.table("plan", shard, columns=["key", "source"])
        sources = plan["source"].filter(pc.is_in(plan["key"], scores["key"]))  # both are in key order
        for name in counts:
            counts[name] += histogram(scores["score"].filter(pc.equal(sources, name)).to_numpy())
    return counts


def _scorer(run: Run) -> Scorer:
    try:
        return load_scorer(run.recipe.score)
    except (ZhclipError, ModuleNotFoundError) as error:
        raise RunError(f"{run.address}: the scorer of this run cannot be loaded: {error}") from error


def _rescore(
    run: Run, scorer: Scorer, shards: list[str], wanted: list[str], sample: int, seed: int
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Histograms of shuffled scores, and the largest difference between stored and new scores, of each source."""
    shuffled = {name: np.zeros(BINS, np.int64) for name in wanted}
    differences, left = dict.fromkeys(wanted, 0.0), dict.fromkeys(wanted, sample)
    rng = np.random.default_rng(seed)
    for shard in rng.permutation(shards).tolist():
        if not any(left.values()):
            break
        pairs = _scored_pairs(run, shard)
        for name in wanted:
            sampled = pairs.filter(pc.equal(pairs["source"], name)).slice(0, left[name])
            if sampled.num_rows:
                left[name] -= sampled.num_rows
                true_scores, shuffled_scores = _score_both(run, scorer, shard, sampled, _generator(seed, shard, name))
                shuffled[name] += histogram(shuffled_scores)
                difference = np.abs(true_scores - sampled["score"].to_numpy().astype(np.float64)).max()
                differences[name] = max(differences[name], round(float(difference), 5))
    return shuffled, differences


def _generator(seed: int, shard: str, source: str) -> np.random.Generator:
    """Random numbers that do not depend on which sources are asked for."""
    digest = hashlib.sha256(f"{seed}\n{shard}\n{source}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _scored_pairs(run: Run, shard: str) -> pa.Table:
    """Downloaded pairs of a shard that have a score, with it, in key order."""
    tar = run.file("download", shard, ".tar")
    if not run.holds(tar):
        raise RunError(f"{run.address} lacks {tar}; calibration scores images of it again, so download/ must be there")
    scores = run.table("score", shard, columns=["key", "score"])
    pairs = downloaded(run, shard)
    return pairs.filter(pc.is_in(pairs["key"], scores["key"])).append_column("score", scores["score"])


def _score_both(
    run: Run, scorer: Scorer, shard: str, pairs: pa.Table, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of pairs (n,), and of their images with other captions (n or fewer), from the same embeddings."""
    from pipeline.stages.score.scorer import cosines  # brings torch

    captions = pairs["caption"].to_pylist()
    views = scorer.embed_views(list(stored_images(run, shard, pairs)))
    texts = scorer.embed_text(captions)
    others = other_captions(np.array(captions, dtype=object), rng)
    rows = np.flatnonzero(others >= 0)
    return cosines(views, texts), cosines([view[rows] for view in views], texts[others[rows]])
