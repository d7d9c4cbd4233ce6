"""The demo: builds a small world with planted faults, curates it through the real stages, and shows what was caught."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from demo.cards import cards
from demo.contact_sheet import contact_sheet
from demo.scoreboard import scoreboard
from demo.server import serving
from demo.world import World, build_world
from pipeline.funnel import query_ledger
from pipeline.runfolder import Run, read_run

RECIPE = Path("recipes/demo.yaml")
WORLD = Path("runs/demo-world")


def main() -> int:
    """Exit code 0 where every stage ran, the run verifies, and (with --compare) both runs published the same bytes."""
    given = _arguments()
    console = Console()
    begun = time.monotonic()
    console.rule("[bold]zhclip demo")
    console.print("Rendering drawings, planting faults …")
    world = build_world(WORLD)
    console.print(f"{world.rows:,} rows of metadata in {WORLD}/metadata, in the formats of LAION and Wukong.\n")
    with serving(world.web):
        code = _curate(given)
    code = (
        code or subprocess.run([sys.executable, "-m", "pipeline.cli", "verify", str(given.run)], check=False).returncode
    )
    if code:
        return code
    run = read_run(given.run)
    show(run, world, console)
    console.print(f"\nAll of it took {time.monotonic() - begun:.0f} s.")
    return compare(run, read_run(given.compare), console) if given.compare else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), help="the run's folder (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="shards at a time (default: %(default)s)")
    parser.add_argument("--flink", action="store_true", help="on Beam's Flink runner, with as many workers")
    parser.add_argument("--compare", type=Path, help="another run, which must have published the same bytes")
    return parser.parse_args()


def _curate(given: argparse.Namespace) -> int:
    command = [sys.executable, "-m", "pipeline.cli", "curate", str(RECIPE), "--run", str(given.run)]
    command += ["--workers", str(given.workers)]
    if given.flink:
        flink = [sys.executable, "-m", "pipeline.flink", "run", "--parallelism", str(given.workers), "--"]
        return subprocess.run([*flink, *command], check=False).returncode
    return subprocess.run(command, check=False).returncode


def show(run: Run, world: World, console: Console) -> None:
    """The scoreboard on the terminal, the contact sheet as a PNG, and where everything lies."""
    truth, ledger, published = (
        pq.read_table(world.truth),
        query_ledger(run, "select * from ledger"),
        published_pairs(run),
    )
    board = scoreboard(truth, ledger, published)
    console.print(board.render())
    pq.write_table(board.to_table(), run.folder / "scoreboard.parquet")
    sheet = run.folder / "contact_sheet.png"
    kept, dropped = cards(truth, ledger, published, world.web)
    contact_sheet(kept, dropped, sheet, f"{published.num_rows:,} pairs kept of {world.rows:,}")
    console.print(f"Kept and dropped pairs to look at: {sheet}")
    console.print(f"Curated shards:                    {run.path('publish', '')}")


def published_pairs(run: Run) -> pa.Table:
    """The index of all published shards."""
    return pa.concat_tables(
        [pq.read_table(run.path("publish", f"{found.shard}.parquet")) for found in run.manifests("publish")]
    )


def compare(one: Run, other: Run, console: Console) -> int:
    """0 where both runs published the same files, byte for byte."""
    files: Sequence[dict[str, str]] = [hashes(run) for run in (one, other)]
    different = sorted(name for name in {*files[0], *files[1]} if files[0].get(name) != files[1].get(name))
    if different:
        console.print(f"[red]{one.folder.name} and {other.folder.name} differ:[/] {', '.join(different)}")
        return 1
    console.print(
        f"[green]{one.folder.name} and {other.folder.name} published the same {len(files[0])} files, byte for byte.[/]"
    )
    return 0


def hashes(run: Run) -> dict[str, str]:
    """SHA-256 of every published tar and index, from a manifest that `zhclip verify` has proved."""
    manifest = json.loads(run.path("publish", "manifest.json").read_text(encoding="utf-8"))
    return {name: found["sha256"] for shard in manifest["shards"] for name, found in shard["files"].items()}


if __name__ == "__main__":
    sys.exit(main())
