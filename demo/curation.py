"""The demo's curation on a world of any size and address: what tests and benchmarks run, stop and continue."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demo.world import World

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Site:
    """The world and how to curate it."""

    world: World

    def command(
        self, run: Path, *options: str, verb: str = "curate", recipe: str = "demo/recipes/demo.yaml"
    ) -> list[str]:
        """`zhclip curate` on a recipe of the demo's, with this world's files and small shards."""
        allow = f'["{self.world.allow_host}"]'
        values = {
            "sources.laion.files": f'["{self.world.laion}"]',
            **(
                {"sources.laion.removal_lists": f'["{self.world.removal_list}"]'}
                if recipe == "demo/recipes/demo.yaml"
                else {}
            ),
            "sources.wukong.files": f'["{self.world.wukong}"]',
            "sources.laion.rules.url.allow_hosts": allow,
            "sources.wukong.rules.url.allow_hosts": allow,
            "download.allow_hosts": allow,
            "download.timeout": "1.5",
            "download.deadline": "2.5",
            "plan.shard_size": "60",
            "plan.bucket_rows": "150",
            "publish.pairs_per_shard": "50",
        }
        sets = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
        before, _, after = " ".join(options).partition("-- ")
        beam = ["--", *after.split()] if after else []
        return [sys.executable, "-m", "zhclip", verb, recipe, "--run", str(run), *sets, *before.split(), *beam]

    def curate(
        self, run: Path, *options: str, verb: str = "curate", recipe: str = "demo/recipes/demo.yaml"
    ) -> subprocess.CompletedProcess[str]:
        """Runs it to its end."""
        command = self.command(run, *options, verb=verb, recipe=recipe)
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300)
