"""The demo of the merge: LAION, Wukong, COCO, COCO-CN and Visual Genome in one curation, with test images and duplicates planted.

    python -m demo.merge

It builds a small world (demo.merge_world), curates it by demo/recipes/demo_merge.yaml, verifies the run, and shows what was caught.
"""

from __future__ import annotations

import argparse
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from demo.__main__ import published_pairs
from demo.cards import Images
from demo.contact_sheet import Card, contact_sheet
from demo.learn import zhclip
from demo.merge_report import NAMED, MergeReport, merge_report
from demo.merge_tables import render
from demo.merge_world import PORT, MergeWorld, build_merge_world
from demo.server import serving
from foundation.errors import ZhclipError
from foundation.text import counted
from pipeline.inspect.funnel import query_ledger
from pipeline.run.folder import Run
from pipeline.run.names import DATASET
from pipeline.stages.dedup_images.tables import CLUSTERS_ENDING, SHARD
from pipeline.stages.opening import read_run

RECIPE, WORLD = Path("demo/recipes/demo_merge.yaml"), Path("runs/demo-world/merge")
SHOWN = 24  # cards of either section of the contact sheet


def main() -> int:
    """Exit code 0 where every stage ran and the run verifies."""
    given = _arguments()
    console = Console()
    begun = time.monotonic()
    console.rule("[bold]zhclip: the merge of several sources")
    console.print("Rendering pictures, planting copies …")
    try:
        world = build_merge_world(WORLD)
        console.print(f"Metadata of five data sets in {world.metadata}, an evaluation set in {world.evaluation}.\n")
        with serving(world.web, PORT):
            zhclip("curate", RECIPE, "--run", given.run, "--workers", given.workers)
        zhclip("verify", given.run)
        zhclip("report", given.run)
    except (ZhclipError, RuntimeError) as failed:  # RuntimeError: no drawings
        console.print(f"[red]This step failed:[/] {failed}", highlight=False)
        return 1
    show(read_run(given.run), world, console)
    console.print(f"\nAll of it took {time.monotonic() - begun:.0f} s.")
    console.print(f"Look at every pair: .venv/bin/zhclip serve {given.run.parent}", highlight=False)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo.merge", description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/demo-merge"), help="the run's folder (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="shards at a time (default: %(default)s)")
    return parser.parse_args()


def show(run: Run, world: MergeWorld, console: Console) -> None:
    """The report on the terminal, the contact sheet as a PNG, and where everything lies."""
    report = report_of(run, world)
    console.print(render(report, query_ledger(run, "select * from ledger"), published_pairs(run)))
    sheet = run.folder / "contact_sheet.png"
    _contact_sheet(run, world, report, sheet)
    console.print(f"Kept pairs, and copies that were found: {sheet}")
    console.print(f"Curated shards:                         {run.folder / DATASET}")


def report_of(run: Run, world: MergeWorld) -> MergeReport:
    """What became of everything that was planted."""
    return merge_report(
        pq.read_table(world.truth),
        query_ledger(run, "select * from ledger"),
        published_pairs(run),
        run.table("dedup_images", SHARD, CLUSTERS_ENDING),
    )


def _contact_sheet(run: Run, world: MergeWorld, report: MergeReport, out: Path) -> None:
    """Published pairs of all sources, and rows of which the ledger says that they show a test image or a copy."""
    image_of = _image_reader(world)
    published = published_pairs(run)
    kept = [Card(image_of(row["url"]), row["caption"], row["score"]) for row in _spread(published)]
    lost = query_ledger(run, "select * from ledger where stage = 'select' and detail is not null order by key")
    dropped = [
        Card(image_of(row["url"]), row["caption"], row["score"], _reason(row["reasons"][-1], row["detail"]))
        for row in _spread(lost)
    ]
    test_images = counted(len(report.test_image_sources), "test image")
    title = f"{counted(published.num_rows, 'pair')} kept; {test_images} found in the sources"
    contact_sheet(kept, dropped, out, title)


def _spread(table: pa.Table) -> list[dict[str, Any]]:
    """SHOWN rows at even distances, which in key order is a fair choice."""
    step = max(1, table.num_rows // SHOWN)
    return table.take(pa.array(range(0, table.num_rows, step)[:SHOWN], pa.int64())).to_pylist()


def _reason(reason: str, detail: str) -> str:
    match = NAMED.match(detail)
    return f"test image {match[1]}" if match else reason


def _image_reader(world: MergeWorld) -> Callable[[str], bytes | None]:
    """Bytes of the image behind a url, whether it was fetched or lies in COCO's zip file."""
    web = Images(world.web)
    with zipfile.ZipFile(world.metadata / "coco" / "images.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return lambda url: members.get(url.partition("/")[2]) if url.startswith("local:") else web.of(url)


if __name__ == "__main__":
    sys.exit(main())
