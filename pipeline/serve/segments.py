"""Where the rows of a run's pairs lie: files of shards, most of them in key order, and how each is searched."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.run.folder import Manifest, Step
from pipeline.serve.search import Search
from pipeline.serve.watched import Watch, WatchedRun
from pipeline.stages.publish.stage import shards_of_pieces


@dataclass(frozen=True)
class Segment:
    """Files with a row for each of some pairs: key, source, url, caption, and more."""

    name: str
    step: Step  # whose manifests name its shards
    ledger: bool  # whether its rows are ledger entries
    scored: bool = False  # whether its rows have a score
    first_look: int = 4  # shards searched at first: they are small, but for those of the rules

    @property
    def stage(self) -> str:
        """As its ledger entries name it."""
        return "plan" if self.step == "judge" else self.step

    def path(self, run: WatchedRun, shard: str) -> str:
        """Its file of one shard."""
        return str(run.ledger_path(self.step, shard) if self.ledger else run.path(self.step, f"{shard}.parquet"))

    def rows(self, manifest: Manifest) -> int:
        """How many rows a shard has in it."""
        if not self.ledger:
            return int(manifest.counts["out"])
        lost = "failed" if self.step in ("download", "score") else "rejected"
        return sum(int(one.get(lost, 0)) for one in manifest.counts["sources"].values())


PLAN = Segment("plan", "plan", False)
PUBLISHED = Segment("published", "publish", False, scored=True)
RULES = Segment("rules", "judge", True, first_look=1)
DOWNLOAD = Segment("download", "download", True)
SCORE = Segment("score", "score", True)
SELECT = Segment("select", "select", True, scored=True)
DECISIONS = Segment(
    "decisions", "select", False, scored=True
)  # of the pairs that LOST_ON_THE_WAY does not have, and more
SEGMENTS = {one.name: one for one in (PLAN, PUBLISHED, RULES, DOWNLOAD, SCORE, SELECT)}
LOST_ON_THE_WAY = (DOWNLOAD, SCORE, SELECT)  # their shards have the names of plan's, and a part of its pairs
OF_PLACE = {
    "all": (PLAN, RULES),
    "published": (PUBLISHED,),
    "dropped": (RULES, *LOST_ON_THE_WAY),
    "rules": (RULES,),
    "download": (DOWNLOAD,),
    "score": (SCORE,),
    "select": (SELECT,),
    "waiting": (PLAN,),
}


def segments_of(watch: Watch, search: Search) -> list[Segment]:
    """The segments that can hold what is looked for, in the order in which they are shown."""
    found = OF_PLACE["dropped" if search.reason and search.where == "all" else search.where]
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
