"""The share of a training step spent waiting for data, as `zhclip train` logs it: a ViT-B/16 on published shards.

python -m benchmarks.waiting
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks.loader import publish
from trainer.log import read_log

MANIFEST = '{"shards": [{"files": {"000000.tar": {}, "000000.parquet": {}}}]}'


def main() -> None:
    """Trains a few steps of each stage and prints the median share, the first step of a stage left out."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waiting", description=__doc__)
    parser.add_argument("--preset", default="vit-b-16")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8, help="of each stage")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="zhclip-bench-") as name:
        data, out = Path(name) / "dataset", Path(name) / "out"
        data.mkdir()
        publish(data, 1, given.batch * given.steps)
        (data / "manifest.json").write_text(MANIFEST, encoding="utf-8")
        subprocess.run(command(given, data, out), check=True, stderr=subprocess.DEVNULL)
        lines = [line for line in read_log(out / "log.jsonl") if "data_wait" in line]
    for stage in dict.fromkeys(line["stage"] for line in lines):
        stage_lines = [line for line in lines if line["stage"] == stage][1:]
        wait = statistics.median(line["data_wait"] for line in stage_lines)
        speed = statistics.median(line["pairs_per_second"] for line in stage_lines)
        Console().print(
            f"{given.preset} {stage}: {wait:.1%} of a step waits for data, {speed:.1f} pairs/s "
            f"(batch {given.batch}, {given.workers} worker, median of {len(stage_lines)} steps)",
            highlight=False,
        )


def command(given: argparse.Namespace, data: Path, out: Path) -> list[str]:
    """Both stages of the preset from random weights, a few steps each, every step logged, nothing saved in between."""
    values = {
        "init": "{}",
        "log_every": 1,
        "checkpoint_every": 10**9,
        "data.workers": given.workers,
        "precision": "auto",
    }
    for stage in (0, 1):
        values |= {f"stages.{stage}.steps": given.steps, f"stages.{stage}.batch_size": given.batch}
    sets = [part for key, setting in values.items() for part in ("--set", f"{key}={setting}")]
    return [sys.executable, "-m", "trainer", given.preset, "--data", str(data), "--out", str(out), *sets]


if __name__ == "__main__":
    main()
