"""Rules on a run as a whole: it is finished, no row is missing, no published image is one of a test set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from filters.base import value
from filters.images.fingerprint import COLUMNS
from filters.images.matching import Fingerprints, nearest
from pipeline.policy.rule import Gate, Measured, Rule, measured

PAIRS_AT_ONCE = 1 << 17


class Complete(Rule):
    """Every step has committed all of its shards."""

    unit: ClassVar = "count"
    advice: ClassVar = "The run is not finished: `zhclip curate` continues it, `zhclip status` shows where it stands."
    rule: Literal["complete"]

    @property
    def limits(self) -> tuple[float | None, float | None]:
        return None, 0

    def measure(self, gate: Gate) -> Sequence[Measured]:
        return measured(
            gate.rows("""
            select null, count(*) filter (shards is distinct from expected),
                   coalesce('not complete: ' || string_agg(step, ', ') filter (shards is distinct from expected),
                            format('{:,} shards in {} steps', sum(shards)::bigint, count(*)))
            from steps""")
        )

    def look(self, worst: Measured) -> str:  # noqa: ARG002
        return "from steps where shards is distinct from expected"


class Conservation(Rule):
    """Every row that was read is published or stands in the ledger; rows read are the manifests', all others the files'."""

    unit: ClassVar = "count"
    advice: ClassVar = (
        "Rows are on their way while a run is not complete; in a complete one they are lost, or the files are not what the "
        "manifests say: `zhclip verify` names the shard."
    )
    rule: Literal["conservation"]

    @property
    def limits(self) -> tuple[float | None, float | None]:
        return 0, 0

    def measure(self, gate: Gate) -> Sequence[Measured]:
        return measured(
            gate.rows("""
            with counted as (
                select source, rows_in as read, 0 as dropped, 0 as published from funnel where stage = 'read'
                union all select source, 0, sum(rows), 0 from ledger group by all
                union all select source, 0, 0, count(*) from pairs group by all)
            select source, sum(read) - sum(dropped) - sum(published),
                   format('{:,} rows = {:,} in the ledger + {:,} published + {:,} missing', sum(read)::bigint,
                          sum(dropped)::bigint, sum(published)::bigint, (sum(read) - sum(dropped) - sum(published))::bigint)
            from counted group by all""")
        )

    def beyond(self, found: Measured) -> float:
        return abs(found.value or 0)

    def look(self, worst: Measured) -> str:
        source = (worst.subject or "").replace("'", "''")
        return f"from funnel where source = '{source}'"


class Contamination(Rule):
    """No published image is equal or near to an image of a test set, and there are test sets to compare with.

    The published images are compared again, by the very search and limits of the select stage (`images.test_distance` and
    `images.test_colours` of the recipe): what the run's own verdicts say is not taken for granted.
    """

    unit: ClassVar = "count"
    advice: ClassVar = (
        "Evaluation would look better than it is: name the test sets in the recipe (images.test_sets), and do not train on "
        "pairs that show their images."
    )
    rule: Literal["contamination"]
    max: int = value(0, "most published pairs that show an image of a test set", "pairs", ge=0)
    require_test_sets: bool = value(True, "fails where the recipe names no images.test_sets")

    def measure(self, gate: Gate) -> Sequence[Measured]:
        sets = list(gate.recipe.images.test_sets)
        if not sets:
            note = "the recipe names no test sets by image (images.test_sets)"
            return [Measured(None, None, note)] if self.require_test_sets else []
        tests = gate.connection.sql("from test_images where error is null").to_arrow_table()
        if not tests.num_rows:
            return [Measured(None, None, "no image of a test set has a fingerprint yet")]
        return [_published_test_images(gate, tests, sets)]

    def look(self, worst: Measured) -> str:
        if worst.value is None:
            return "from steps where step = 'test_images'"
        key = worst.note.partition("such as ")[2].partition(" ")[0]
        return f"select key, source, caption, url, tar from pairs where key = '{key}'"


def _published_test_images(gate: Gate, tests: pa.Table, sets: list[str]) -> Measured:
    images = Fingerprints.decode(*(tests[name].to_pylist() for name in COLUMNS))
    found, compared, example = 0, 0, ""
    reader = gate.connection.sql(
        f"select key, {', '.join(f'scores.{name}' for name in COLUMNS)} from scores semi join pairs using (key)"
    ).to_arrow_reader(PAIRS_AT_ONCE)
    for batch in reader:
        pairs = Fingerprints.decode(*(batch[name].to_pylist() for name in COLUMNS))
        rows, bits = nearest(pairs, images, gate.recipe.images.test_distance, gate.recipe.images.test_colours)
        hits = np.flatnonzero(rows >= 0)
        if len(hits) and not example:
            test = int(rows[hits[0]])
            near = "same pixels" if bits[hits[0]] < 0 else f"distance {bits[hits[0]]}"
            name = sets[int(tests["shard"][test].as_py())]
            example = f", such as {batch['key'][int(hits[0])]} ({name} image {tests['image'][test]}, {near})"
        found, compared = found + len(hits), compared + batch.num_rows
    return Measured(None, found, f"{found:,} of {compared:,} published pairs show one of {', '.join(sets)}{example}")
