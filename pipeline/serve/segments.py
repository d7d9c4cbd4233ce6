"""Segments: the files of a run that hold rows of pairs, most of them in key order, and how each is searched."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.inspect.funnel import FIRST, lost_rows
from pipeline.run.manifest import Manifest
from pipeline.run.outcomes import WAITING
from pipeline.serve.live_run import CachedRun, LiveRun
from pipeline.serve.search import Search
from pipeline.stages.publish.stage import shards_of_pieces
from pipeline.stages.registry import OUTCOMES, STAGES


@dataclass(frozen=True)
class Segment:
    """The Parquet files of one stage with a row per pair: key, source, url, caption, and more."""

    name: str
    stage: str  # whose manifests name its shards
    outcome: str = ""  # of the ledger entries that are its rows; empty where its rows are none
    scored: bool = False  # whether its rows have a score
    initial_shards: int = 4  # shards in the first block of a search; those of the rules are large

    def path(self, run: CachedRun, shard: str) -> str:
        """The path of its file of one shard."""
        return run.ledger_path(self.stage, shard) if self.outcome else run.path(self.stage, shard)

    def rows(self, manifest: Manifest) -> int:
        """The number of its rows in one shard."""
        if not self.outcome:
            return int(manifest.counts["out"])
        return sum(lost_rows(self.stage, counts)[self.outcome] for counts in manifest.counts["sources"].values())


def _ledger_segments() -> dict[str, Segment]:
    """Outcome key → its entries in the ledger of the stage that decides it; but for `read`, whose ledger rows are no pairs."""
    stages, scored = list(STAGES), list(STAGES).index("score")
    return {
        key: Segment(
            key,
            stage,
            outcome.ledger,
            scored=stages.index(stage) > scored,
            initial_shards=4 if STAGES[stage].per_plan_shard else 1,
        )
        for key, (stage, outcome) in OUTCOMES.items()
        if outcome.ledger and stage != FIRST
    }


PLAN = Segment("plan", "plan")
PUBLISHED = Segment("published", "publish", scored=True)
LEDGERS = _ledger_segments()
RULES = LEDGERS["rejected_by_rules"]
LOSS_SEGMENTS = tuple(segment for segment in LEDGERS.values() if STAGES[segment.stage].per_plan_shard)
"""Ledgers of the stages after plan. Their shards are named as plan's, and hold pairs of the shard of that name."""
DECISIONS = Segment("decisions", "select", scored=True)  # of all scored pairs
SEGMENTS = {segment.name: segment for segment in (PLAN, PUBLISHED, *LEDGERS.values())}
SEGMENTS_BY_OUTCOME = {
    "all": (PLAN, RULES),
    "dropped": (RULES, *LOSS_SEGMENTS),
    "published": (PUBLISHED,),
    WAITING.key: (PLAN,),
    **{key: (segment,) for key, segment in LEDGERS.items()},
}


def segments_of(live_run: LiveRun, search: Search) -> list[Segment]:
    """The segments that a search has to read, in the order in which the list shows them."""
    segments = SEGMENTS_BY_OUTCOME["dropped" if search.reason and search.where == "all" else search.where]
    if search.reason:
        counted = live_run.reasons(wait=False)
        stages = {row["stage"] for row in counted or () if row["reason"] == search.reason}
        segments = tuple(
            segment for segment in segments if segment.outcome and (counted is None or segment.stage in stages)
        )
    if search.low is not None or search.high is not None:
        segments = tuple(segment for segment in segments if segment.scored or segment is PLAN)
    return list(segments)


def published_shards(live_run: LiveRun, plan_shard: str) -> list[str]:
    """The committed published shards that hold kept pairs of a plan shard."""
    done = live_run.run.committed("publish")
    return [shard for shard in _pieces(live_run).get(plan_shard, []) if shard in done]


def wholly_published(live_run: LiveRun, plan_shard: str) -> bool:
    """Whether all kept pairs of a plan shard are published."""
    selected = plan_shard in live_run.run.committed("select")
    return selected and len(published_shards(live_run, plan_shard)) == len(_pieces(live_run).get(plan_shard, []))


def _pieces(live_run: LiveRun) -> dict[str, list[str]]:
    """Plan shard → published shards."""

    def make() -> dict[str, list[str]]:
        published_by_plan_shard: dict[str, list[str]] = {}
        for published, pieces in shards_of_pieces(live_run.run).items():
            for shard, _, _ in pieces:
                published_by_plan_shard.setdefault(shard, []).append(published)
        return published_by_plan_shard

    return live_run.once("pieces", make)
