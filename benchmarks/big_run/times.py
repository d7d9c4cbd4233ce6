"""Times of the generated stages, as if machines had worked for hours; real stages keep their durations."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Any

import numpy as np

from pipeline.run.folder import Run
from pipeline.run.names import TIMES

BEFORE: tuple[str, ...] = ("read", "filter", "plan")
PAUSE = 90.0  # seconds between stages
SPEEDS: dict[str, dict[str, float]] = {  # host → pairs a second
    "download": {"fetch-01": 260, "fetch-02": 260, "fetch-03": 210, "fetch-04": 240},
    "score": {"gpu-01": 780, "gpu-02": 810},
}


def rewrite_times(run: Run, seed: int) -> None:
    """Writes times/download and times/score anew, and moves those of the plan before them. Doing it again changes nothing."""
    end = min(line["began"] for line in _last(run, "eval_images")) - PAUSE
    for stage in ("score", "download"):
        end = _write(run, stage, _worked(run, stage, seed), end) - PAUSE
    planned = {stage: _last(run, stage) for stage in BEFORE}
    shift = end - max(line["ended"] for lines in planned.values() for line in lines)
    for stage, lines in planned.items():
        _store(run, stage, ({**line, "began": line["began"] + shift, "ended": line["ended"] + shift} for line in lines))


def _worked(run: Run, stage: str, seed: int) -> list[dict[str, Any]]:
    """A line per shard, from second 0: each host takes the next shard when it is done with one."""
    rng = np.random.default_rng([seed, len(stage)])
    free = [(0.0, host) for host in SPEEDS[stage]]
    lines = []
    manifests = run.manifests(stage)
    for position, manifest in enumerate(manifests):
        began, host = heapq.heappop(free)
        speed = (
            SPEEDS[stage][host] * rng.lognormal(0, 0.08) * _slower(stage, manifest.counts, position / len(manifests))
        )
        ended = began + 4 + manifest.counts["in"] / speed
        lines.append({"shard": manifest.shard, "began": began, "ended": ended, "host": host})
        heapq.heappush(free, (ended, host))
    return lines


def _slower(stage: str, counts: dict[str, Any], progress: float) -> float:
    """Waiting for servers that do not answer, and the network in the evening, slow downloads."""
    if stage != "download":
        return 1.0
    waiting = sum(counts["reasons"].get(reason, 0) for reason in ("timeout", "dns_failed", "connect_failed"))
    return (1.15 + 0.15 * np.cos(2 * np.pi * 2 * progress)) / (1 + 3 * waiting / max(1, counts["in"]))


def _write(run: Run, stage: str, lines: list[dict[str, Any]], end: float) -> float:
    """Moves lines so that the last ends at `end`; returns when the first began."""
    shift = end - max(line["ended"] for line in lines)
    moved = [{**line, "began": line["began"] + shift, "ended": line["ended"] + shift} for line in lines]
    _store(run, stage, moved)
    return float(min(line["began"] for line in moved))


def _last(run: Run, stage: str) -> list[dict[str, Any]]:
    return list({line["shard"]: line for line in run.times(stage)}.values())


def _store(run: Run, stage: str, lines: Iterable[dict[str, Any]]) -> None:
    for entry in list(run.storage.list(f"{TIMES}/{stage}/")):
        run.storage.remove(entry.name)
    for line in lines:
        run.note_time(stage, **line)
