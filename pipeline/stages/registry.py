"""The steps of a run, in order, each as what it makes, what is still to do, and how one item is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.run.folder import Item, Run, Step
from pipeline.stages import filter as judge
from pipeline.stages import plan as cut
from pipeline.stages import select
from pipeline.stages.dedup_images import stage as compare
from pipeline.stages.download import stage as download_step
from pipeline.stages.eval_images import stage as test_images
from pipeline.stages.publish import stage as publish
from pipeline.stages.read import stage as read
from pipeline.stages.score import stage as score_step
from pipeline.stages.translate import stage as translate_step


@dataclass(frozen=True)
class StepCode:
    """One step. `pending` names the items to do: shards, unless the step says otherwise."""

    name: Step
    label: str
    expected: Callable[[Run], list[str]]  # shard names, known once the step before is complete
    work: Callable[[Run, Item], None]  # does one item and commits it; nothing where another attempt was first
    custom_pending: Callable[[Run], list[Item]] | None = None
    finish: Callable[[Run], None] | None = None
    applies: Callable[[Run], bool] = lambda run: True  # noqa: ARG005  whether a run has this step at all

    def pending(self, run: Run) -> list[Item]:
        """Items whose shards are not all committed."""
        if self.custom_pending:
            return self.custom_pending(run)
        done = run.done(self.name)
        return [Item(shard) for shard in self.expected(run) if shard not in done]


STEPS: dict[Step, StepCode] = {
    step.name: step
    for step in (
        StepCode(
            "translate", "translate", translate_step.expected, translate_step.work, applies=translate_step.applies
        ),
        StepCode("read", "read metadata", read.expected, read.work),
        StepCode("judge", "judge captions", judge.expected, judge.work),
        StepCode("plan", "cut shards", cut.expected, cut.work, cut.pending, cut.finish),
        StepCode("download", "download", cut.expected, download_step.work),
        StepCode("score", "score", cut.expected, score_step.work),
        StepCode("test_images", "test images", test_images.expected, test_images.work, applies=test_images.applies),
        StepCode("compare", "compare images", compare.expected, compare.work, applies=compare.applies),
        StepCode("select", "select", cut.expected, select.work),
        StepCode("publish", "publish", publish.expected, publish.work, publish.pending, finish=publish.finish),
    )
}
"""In the order of the run. The stages of the command line: plan is read, judge and plan."""

STEPS_OF_STAGE: dict[str, tuple[Step, ...]] = {
    "translate": ("translate",),
    "plan": ("read", "judge", "plan"),
    "download": ("download",),
    "score": ("score",),
    "select": ("test_images", "compare", "select"),
    "publish": ("publish",),
}
