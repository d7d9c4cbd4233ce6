"""The demo: builds a small world with planted faults, curates it through the real stages, shows what was caught, and trains
a small Chinese CLIP on what was kept."""

from __future__ import annotations

import argparse
import json
import shutil
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
from demo.corpora import build_corpora
from demo.learn import Learning, StageFailed, zhclip
from demo.scoreboard import scoreboard
from demo.server import serving
from demo.world import World, build_world
from foundation.text import counted
from pipeline.inspect.funnel import query_ledger
from pipeline.run.folder import Run
from pipeline.run.names import DATASET, DATASET_MANIFEST
from pipeline.stages.opening import read_run
from trainer.checkpoint import checkpoints

RECIPE, UNCURATED = Path("demo/recipes/demo.yaml"), Path("demo/recipes/demo_uncurated.yaml")
WORLD = Path("runs/demo-world")


def main() -> int:
    """Exit code 0 where every stage ran, the run verifies, and (with --compare) both runs published the same bytes."""
    given = _arguments()
    console = Console()
    begun = time.monotonic()
    console.rule("[bold]zhclip demo")
    console.print("Rendering drawings, planting faults …")
    world = build_world(WORLD)
    console.print(
        f"{counted(world.rows, 'row')} of metadata in {WORLD}/metadata, in the formats of LAION and Wukong.\n"
    )
    try:
        with serving(world.web):
            _curate(given)
        zhclip("verify", given.run)
        run = read_run(given.run)
        show(run, world, console)
        zhclip("report", given.run)
        console.print(f"\nCurating took {time.monotonic() - begun:.0f} s.")
        if not given.curate_only:
            learn(given.run, world, console)
            console.print(f"\nAll of it took {time.monotonic() - begun:.0f} s.")
        console.print(f"Look at every pair: .venv/bin/zhclip serve {given.run.parent}", highlight=False)
    except StageFailed as failed:
        console.print(f"[red]This command failed:[/] {failed}", highlight=False)
        return 1
    return compare(run, read_run(given.compare), console) if given.compare else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), help="the run's folder (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="shards at a time (default: %(default)s)")
    parser.add_argument(
        "--curate-only", action="store_true", help="leave out the training, which takes most of the time"
    )
    parser.add_argument("--flink", action="store_true", help="on Beam's Flink runner, with as many workers")
    parser.add_argument("--compare", type=Path, help="another run, which must have published the same bytes")
    return parser.parse_args()


def _curate(given: argparse.Namespace) -> None:
    command = ["curate", RECIPE, "--run", given.run, "--workers", given.workers]
    if not given.flink:
        zhclip(*command)
        return
    flink = [sys.executable, "-m", "pipeline.runners.flink", "run", "--parallelism", str(given.workers), "--"]
    done = subprocess.run([*flink, sys.executable, "-m", "zhclip", *map(str, command)], check=False)
    if done.returncode:
        raise StageFailed("curate, on Flink")


def learn(run: Path, world: World, console: Console) -> None:
    """Trains on what was curated, and on what was not: see demo.learn. Folders: RUN-training, RUN-uncurated."""
    uncurated, out = run.with_name(f"{run.name}-uncurated"), run.with_name(f"{run.name}-training")
    console.rule("[bold]The same metadata, not curated")
    with serving(world.web):
        zhclip("curate", UNCURATED, "--run", uncurated)
    shutil.rmtree(WORLD / "training", ignore_errors=True)
    corpora = build_corpora(WORLD / "training", world.truth)
    Learning(corpora, run / "dataset", uncurated / "dataset", out).run(console)
    console.print(f"Trained checkpoint: {checkpoints(out / 'chinese')[-1]}")
    console.print(f"Recall by pairs seen: {out / 'chinese' / 'curve.png'}")
    console.print(f"Curated against uncurated: {out / 'ablation' / 'ablation.png'}")


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
    contact_sheet(kept, dropped, sheet, f"{counted(published.num_rows, 'pair')} kept of {world.rows:,}")
    console.print(f"Kept and dropped pairs to look at: {sheet}")
    console.print(f"Curated shards:                    {run.folder / DATASET}")


def published_pairs(run: Run) -> pa.Table:
    """The index of all published shards."""
    return pa.concat_tables([run.table("publish", manifest.shard) for manifest in run.manifests("publish")])


def compare(first: Run, second: Run, console: Console) -> int:
    """0 where both runs published the same files, byte for byte."""
    files: Sequence[dict[str, str]] = [hashes(run) for run in (first, second)]
    different = sorted(name for name in {*files[0], *files[1]} if files[0].get(name) != files[1].get(name))
    if different:
        console.print(f"[red]{first.name} and {second.name} differ:[/] {', '.join(different)}")
        return 1
    same = counted(len(files[0]), "file")
    console.print(f"[green]{first.name} and {second.name} published the same {same}, byte for byte.[/]")
    return 0


def hashes(run: Run) -> dict[str, str]:
    """SHA-256 of every published tar and index, from a manifest that `zhclip verify` has proved."""
    manifest = json.loads(run.storage.read(f"{DATASET}/{DATASET_MANIFEST}"))
    return {name: described["sha256"] for shard in manifest["shards"] for name, described in shard["files"].items()}


if __name__ == "__main__":
    sys.exit(main())
