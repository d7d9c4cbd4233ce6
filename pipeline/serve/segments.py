"""Where the rows of a run's pairs lie: files of shards, most of them in key order, and how each is searched."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.inspect.funnel import lost_rows
from pipeline.run.folder import Manifest
from pipeline.run.outcomes import WAITING
from pipeline.serve.search import Search
from pipeline.serve.watched import Watch, WatchedRun
from pipeline.stages.publish.stage import shards_of_pieces
from pipeline.stages.registry import OUTCOMES, STAGES


@dataclass(frozen=True)
class Segment:
    """Files with a row for each of some pairs: key, source, url, caption, and more."""

    name: str
    stage: str  # whose manifests name its shards
    ledger: bool  # whether its rows are ledger entries
    scored: bool = False  # whether its rows have a score
    first_look: int = 4  # shards searched at first: they are small, but for those of the rules

    def path(self, run: WatchedRun, shard: str) -> str:
        """Its file of one shard."""
        return str(run.ledger_path(self.stage, shard) if self.ledger else run.path(self.stage, f"{shard}.parquet"))

    def rows(self, manifest: Manifest) -> int:
        """How many rows a shard has in it."""
        if not self.ledger:
            return int(manifest.counts["out"])
        return sum(sum(lost_rows(self.stage, counts).values()) for counts in manifest.counts["sources"].values())


def _ledger_segments() -> dict[str, Segment]:
    """Outcome key → the ledger of the stage that decides it; but for `read`, whose ledger rows are no pairs."""
    stages, scored = list(STAGES), list(STAGES).index("score")
    return {
        key: Segment(
            key,
            stage,
            True,
            scored=stages.index(stage) > scored,
            first_look=4 if STAGES[stage].per_plan_shard else 1,
        )
        for key, (stage, outcome) in OUTCOMES.items()
        if outcome.ledger and stage != "read"
    }


PLAN = Segment("plan", "plan", False)
PUBLISHED = Segment("published", "publish", False, scored=True)
LEDGERS = _ledger_segments()
RULES = LEDGERS["rejected_by_rules"]
LOST_ON_THE_WAY = tuple(segment for segment in LEDGERS.values() if STAGES[segment.stage].per_plan_shard)
"""Their shards have the names of plan's, and a part of its pairs."""
DECISIONS = Segment("decisions", "select", False, scored=True)  # of all scored pairs
SEGMENTS = {segment.name: segment for segment in (PLAN, PUBLISHED, *LEDGERS.values())}
SEGMENTS_OF_OUTCOME = {
    "all": (PLAN, RULES),
    "dropped": (RULES, *LOST_ON_THE_WAY),
    "published": (PUBLISHED,),
    WAITING.key: (PLAN,),
    **{key: (segment,) for key, segment in LEDGERS.items()},
}


def segments_of(watch: Watch, search: Search) -> list[Segment]:
    """The segments that can hold what is looked for, in the order in which they are shown."""
    found = SEGMENTS_OF_OUTCOME["dropped" if search.reason and search.where == "all" else search.where]
    if search.reason:
        counted = watch.reasons(wait=False)
        stages = {row["stage"] for row in counted or () if row["reason"] == search.reason}
        found = tuple(one for one in found if one.ledger and (counted is None or one.stage in stages))
    if search.low is not None or search.high is not None:
        found = tuple(one for one in found if one.scored or one is PLAN)
    return list(found)


def published_shards(watch: Watch, plan_shard: str) -> list[str]:
    """The published shards, as far as they are there, that hold kept pairs of a plan shard."""
    done = watch.run.committed("publish")
    return [one for one in _pieces(watch).get(plan_shard, []) if one in done]


def wholly_published(watch: Watch, plan_shard: str) -> bool:
    """Whether all kept pairs of a plan shard are published."""
    selected = plan_shard in watch.run.committed("select")
    return selected and len(published_shards(watch, plan_shard)) == len(_pieces(watch).get(plan_shard, []))


def _pieces(watch: Watch) -> dict[str, list[str]]:
    """Plan shard → published shards."""

    def make() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for published, pieces in shards_of_pieces(watch.run).items():
            for shard, _, _ in pieces:
                found.setdefault(shard, []).append(published)
        return found

    return watch.once("pieces", make)
