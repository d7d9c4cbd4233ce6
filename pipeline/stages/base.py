"""What a stage is: one object that says where it stands, what it makes, what can become of a row in it, and how it works.

A new stage is a subclass in a module of its own and one line in `pipeline.stages.registry`. The command line, digests, status,
progress, catalog, report, web service, DAGs and `verify` are loops over that registry.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from foundation.errors import WorkFailed
from pipeline.recipe import Recipe
from pipeline.run.attempt import Attempt, begin_attempt
from pipeline.run.folder import Item, Run
from pipeline.run.outcomes import Outcome


@dataclass(frozen=True)
class View:
    """A view of the SQL catalog over the Parquet files of one stage."""

    name: str
    schema: pa.Schema  # of the view while there is no file
    description: str
    ending: str = ".parquet"  # of the files: SHARD and this
    with_shard: bool = True  # whether the view has a column `shard`


class Stage(ABC):
    """One stage of a run. Instances hold no state: they are made once, when the registry is imported."""

    name: ClassVar[str]  # of its module, of its ledger, and of its folder in the run
    command: ClassVar[str]  # of the command line: the stages of one command run together
    label: ClassVar[str]  # for people, in progress and status
    summary: ClassVar[str]  # one sentence, for the help of its command
    folder: ClassVar[str] = ""  # in the run; by default the stage's name
    published: ClassVar[str] = ""  # folder in which `finish` hands on its files under plain names
    extra: ClassVar[str] = "plan"  # the list of setup.py with the packages that it needs; this one brings Beam
    cheap: ClassVar[bool] = False  # done again where the recipe changed, while a costly stage refuses the change
    covers_earlier: ClassVar[bool] = True  # whether its digest changes with the stages before it
    per_plan_shard: ClassVar[bool] = False  # whether its shards are the plan's, one for one
    endings: ClassVar[tuple[str, ...]] = ()  # of the files that each shard has, beside its ledger; (): not said
    outcomes: ClassVar[tuple[Outcome, ...]] = ()  # what can become of a row here, beside being handed on
    reasons: ClassVar[Mapping[str, str]] = {}  # reason codes that it writes into its ledger itself → one sentence each
    views: ClassVar[tuple[View, ...]] = ()

    def inputs(self, recipe: Recipe) -> dict[str, Any]:  # noqa: ARG002
        """The part of the recipe that decides what this stage itself does, as plain JSON types; {} where none does."""
        return {}

    def enabled(self, recipe: Recipe) -> bool:  # noqa: ARG002
        """Whether a run of this recipe has this stage at all."""
        return True

    def prepare(self, run: Run) -> None:  # noqa: B027
        """Look at what the stage will need, before any stage begins that stands before it.

        Called whenever this stage or an earlier one is asked for, so what is looked at is what is not done yet.

        Raises:
            RunError: something that it needs cannot be used; said now, not after hours of work.
        """

    @abstractmethod
    def shards(self, run: Run) -> list[str]:
        """Names of the shards that a complete run has, known once the stage before is complete."""

    def pending(self, run: Run) -> list[Item]:
        """Items whose shards are not all committed; one item a shard, unless the stage says otherwise."""
        done = run.done(self.name)
        return [Item(shard) for shard in self.shards(run) if shard not in done]

    def process(self, run: Run, item: Item) -> None:
        """Do one item and commit it, unless that is done: an engine may hand out an item twice."""
        if run.manifest(self.name, item.name) is None:
            with begin_attempt(run, self.name, item.name) as attempt:
                self.make(attempt, item)

    def make(self, attempt: Attempt, item: Item) -> None:
        """Write the files of one shard into the attempt and commit them."""
        raise NotImplementedError(f"{type(self).__name__} has neither `make` nor `process`")

    def check(self, run: Run) -> None:  # noqa: B027
        """Look at the complete stage before the next one begins.

        Raises:
            TooMuchFailed: more failed than the recipe's limits allow.
        """

    def finish(self, run: Run) -> None:  # noqa: B027
        """Once, when all shards are committed and `check` passed."""


def without(values: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    """The values but those of some names."""
    return {name: value for name, value in values.items() if name not in names}


class TooMuchFailed(WorkFailed):
    """More failed than the recipe's limits allow."""


def lost_keys(run: Run, shard: str, after: str, before: str) -> pa.Array:
    """Keys of the plan shard's pairs that stages after `after` and before `before` did not hand on."""
    stages = [stage for stage in run.between(after, before) if run.manifest(stage, shard)]  # a file alone says nothing
    tables = [run.ledger(stage, shard, columns=["key"]) for stage in stages]
    return pa.concat_tables(tables)["key"].combine_chunks() if tables else pa.array([], pa.string())


def handed_on(run: Run, shard: str, pairs: pa.Table, after: str, before: str) -> pa.Table:
    """`pairs` (with a column `key`), which are those that stage `after` handed on, without what later stages lost."""
    lost = lost_keys(run, shard, after, before)
    return pairs.filter(pc.invert(pc.is_in(pairs["key"], lost))) if len(lost) else pairs
