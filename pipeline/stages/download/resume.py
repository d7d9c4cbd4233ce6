"""What a shard that is fetched again keeps of the try before: its images and the outcomes that stand.

The files of that try stay where they are; `.kept/SHARD.json` in the stage's folder names them, and the reasons that are asked for
again. The stage then asks for those pairs alone and puts the new images behind the old ones.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.run.folder import Run
from pipeline.run.names import KEPT
from pipeline.run.tar import BLOCK


@dataclass(frozen=True)
class Kept:
    """Files of a try before, by name in the run."""

    tar: str
    outcomes: str
    ledger: str
    reasons: list[str]  # for which a pair is asked for once more

    @property
    def files(self) -> list[str]:
        """All that it names."""
        return [self.tar, self.outcomes, self.ledger]


def keep(run: Run, shard: str, reasons: set[str]) -> None:
    """Take a committed shard back, but keep its images, and its outcomes but those that failed for one of `reasons`."""
    manifest = run.manifest("download", shard)
    if manifest is None:
        return  # it was taken back before
    kept = Kept(manifest.file(".tar"), manifest.file(".parquet"), manifest.ledger or "", sorted(reasons))
    run.storage.put(_name(run, shard), json.dumps(asdict(kept)).encode())
    run.forget(manifest)


def kept(run: Run, shard: str) -> Kept | None:
    """What a shard keeps; None where it is fetched for the first time."""
    try:
        return Kept(**json.loads(run.storage.read(_name(run, shard))))
    except FileNotFoundError:
        return None


def outcomes(run: Run, kept: Kept) -> pa.Table:
    """The outcomes that stay, with OUTCOME_SCHEMA."""
    with run.storage.open(kept.outcomes) as file:
        table = pq.read_table(file)
    return table.filter(pc.invert(pc.is_in(table["reason"], pa.array(kept.reasons, pa.string()))))


def join(run: Run, kept: Kept, before: pa.Table, now: pa.Table, images: Path) -> pa.Table:
    """Puts the images of the try before in front of those in the tar `images`; returns the outcomes of both, `now` last."""
    ends = pc.max(pc.add(before["offset"], before["length"])).as_py() or 0
    ends += -ends % BLOCK
    joined = images.with_suffix(".joined")
    run.storage.fetch(kept.tar, joined)
    with joined.open("r+b") as file, images.open("rb") as new:
        file.truncate(ends)
        file.seek(ends)
        shutil.copyfileobj(new, file)
    joined.replace(images)
    moved = now.set_column(
        now.schema.get_field_index("offset"), now.schema.field("offset"), pc.add(now["offset"], ends)
    )
    return pa.concat_tables([before, moved])


def forget(run: Run, shard: str) -> None:
    """Removes what was kept, when the shard is done, but for what the new try shares with it."""
    before, manifest = kept(run, shard), run.manifest("download", shard)
    if before is None or manifest is None:
        return
    run.storage.remove(_name(run, shard))
    for name in before.files:
        if name and name not in manifest.files:
            run.storage.remove(name)


def _name(run: Run, shard: str) -> str:
    return f"{run.stages['download'].folder}/{KEPT}/{shard}.json"
