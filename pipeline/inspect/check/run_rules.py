"""Rules on the run: it is complete, no row is missing, no published image is one of a test set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foundation.config import value
from pipeline.inspect.check.rule import Gate, Measured, Rule, measured, where_subject
from pipeline.stages.dedup_images.data import EvalImageTable
from pipeline.stages.dedup_images.matching import Fingerprints, nearest
from pipeline.stages.dedup_images.tables import how_near
from pipeline.stages.score import embeddings
from pipeline.stages.score.embeddings import Confirmation
from pipeline.stages.score.fingerprint import COLUMNS

PAIRS_AT_ONCE = 1 << 17


class Complete(Rule):
    """Every stage has committed all of its shards."""

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
                   coalesce('not complete: ' || string_agg(stage, ', ') filter (shards is distinct from expected),
                            format('{:,} shards in {} stages', sum(shards)::bigint, count(*)))
            from stages""")
        )

    def evidence(self, worst: Measured) -> str:  # noqa: ARG002
        return "from stages where shards is distinct from expected"


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

    def beyond(self, figure: Measured) -> float:
        return abs(figure.value or 0)

    def evidence(self, worst: Measured) -> str:
        return f"from funnel{where_subject(worst)}"


class Contamination(Rule):
    """No published image is equal or near to an image of a test set, and there are test sets to compare with.

    The published images are compared again, by the very search and limits of the dedup_images stage (`images.test_distance`,
    `test_colours` and `test_min_cosine` of the recipe): what the run's own results say is not taken for granted.
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
        tests = gate.connection.sql("from eval_images where error is null").to_arrow_table()
        if not tests.num_rows:
            return [Measured(None, None, "no image of a test set has a fingerprint yet")]
        return [_published_test_images(gate, tests, sets)]

    def evidence(self, worst: Measured) -> str:
        if worst.value is None:
            return "from stages where stage = 'eval_images'"
        key = worst.note.partition("such as ")[2].partition(" ")[0]
        return f"select key, source, caption, url, tar from pairs where key = '{key}'"


def _published_test_images(gate: Gate, tests: pa.Table, sets: list[str]) -> Measured:
    confirmed = gate.recipe.images.test_min_cosine is not None
    known = EvalImageTable.of(tests, pc.cast(tests["shard"], pa.int64()).to_numpy(), confirmed)
    near, compared = _near_by_hash(gate, known)
    rows, bits, cosines = _nearest(gate, near, known, _confirmation(gate, near["key"].to_pylist(), known))
    hits, example = np.flatnonzero(rows >= 0), ""
    if len(hits):
        first, test = int(hits[0]), int(rows[hits[0]])
        shown = f"{sets[known.sets[test]]} image {known.names[test]}, {how_near(bits[first], cosines[first])}"
        example = f", such as {near['key'][first]} ({shown})"
    note = f"{len(hits):,} of {compared:,} published pairs show one of {', '.join(sets)}{example}"
    return Measured(None, len(hits), note)


def _near_by_hash(gate: Gate, known: EvalImageTable) -> tuple[pa.Table, int]:
    """Key and fingerprint of the published pairs whose hash is near a test image's, in key order; how many were compared."""
    reader = gate.connection.sql(
        f"select key, {', '.join(f'scores.{name}' for name in COLUMNS)} from scores semi join pairs using (key)"
    ).to_arrow_reader(PAIRS_AT_ONCE)
    near, compared = [], 0
    for batch in reader:
        near.append(batch.filter(pa.array(_nearest(gate, batch, known, None)[0] >= 0)))
        compared += batch.num_rows
    return pa.Table.from_batches(near, reader.schema).sort_by("key"), compared


def _nearest(
    gate: Gate, pairs: pa.Table | pa.RecordBatch, known: EvalImageTable, confirm: Confirmation | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    recipe = gate.recipe.images
    images = Fingerprints.decode(*(pairs[name].to_pylist() for name in COLUMNS))
    return nearest(images, known.images, recipe.test_distance, recipe.test_colours, confirm)


def _confirmation(gate: Gate, keys: list[str], known: EvalImageTable) -> Confirmation | None:
    """What the recipe asks for beside hashes, of the pairs with these `keys`, in key order."""
    min_cosine, vectors = gate.recipe.images.test_min_cosine, known.embeddings
    if min_cosine is None or vectors is None or not keys:
        return None
    columns = [name for name in embeddings.COLUMNS if name in gate.connection.table("scores").columns]
    sql = f"select {', '.join(columns)} from scores join (select unnest($keys) as key) using (key) order by key"
    stored = gate.connection.sql(sql, params={"keys": keys}).to_arrow_table()
    published = embeddings.decode([stored[name] for name in columns])
    return Confirmation(
        min_cosine, lambda rows, tests: embeddings.cosines(published, rows, vectors, known.image_row[tests])
    )
