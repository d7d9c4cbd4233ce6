"""Times of the generated steps, as if machines had worked for hours; real steps keep their durations."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from pipeline.run.folder import Run, Step, write_atomically

BEFORE: tuple[Step, ...] = ("read", "judge", "plan")
PAUSE = 90.0  # seconds between stages
SPEEDS: dict[Step, dict[str, float]] = {  # host → pairs a second
    "download": {"fetch-01": 260, "fetch-02": 260, "fetch-03": 210, "fetch-04": 240},
    "score": {"gpu-01": 780, "gpu-02": 810},
}


def rewrite_times(run: Run, seed: int) -> None:
    """Writes times/download and times/score anew, and moves those of the plan before them. Doing it again changes nothing."""
    end = min(line["began"] for line in _last(run, "test_images")) - PAUSE
    for step in ("score", "download"):
        end = _write(run, step, _worked(run, step, seed), end) - PAUSE
    planned = {step: _last(run, step) for step in BEFORE}
    shift = end - max(line["ended"] for lines in planned.values() for line in lines)
    for step, lines in planned.items():
        _store(run, step, ({**line, "began": line["began"] + shift, "ended": line["ended"] + shift} for line in lines))


def _worked(run: Run, step: Step, seed: int) -> list[dict[str, Any]]:
    """A line per shard, from second 0: each host takes the next shard when it is done with one."""
    rng = np.random.default_rng([seed, len(step)])
    free = [(0.0, host) for host in SPEEDS[step]]
    lines = []
    manifests = run.manifests(step)
    for position, found in enumerate(manifests):
        began, host = heapq.heappop(free)
        speed = SPEEDS[step][host] * rng.lognormal(0, 0.08) * _slower(step, found.counts, position / len(manifests))
        ended = began + 4 + found.counts["in"] / speed
        lines.append({"shard": found.shard, "began": began, "ended": ended, "host": host})
        heapq.heappush(free, (ended, host))
    return lines


def _slower(step: Step, counts: dict[str, Any], progress: float) -> float:
    """Waiting for servers that do not answer, and the network in the evening, slow downloads."""
    if step != "download":
        return 1.0
    waiting = sum(counts["reasons"].get(reason, 0) for reason in ("timeout", "dns_failed", "connect_failed"))
    return (1.15 + 0.15 * np.cos(2 * np.pi * 2 * progress)) / (1 + 3 * waiting / max(1, counts["in"]))


def _write(run: Run, step: Step, lines: list[dict[str, Any]], end: float) -> float:
    """Moves lines so that the last ends at `end`; returns when the first began."""
    shift = end - max(line["ended"] for line in lines)
    moved = [{**line, "began": line["began"] + shift, "ended": line["ended"] + shift} for line in lines]
    _store(run, step, moved)
    return float(min(line["began"] for line in moved))


def _last(run: Run, step: Step) -> list[dict[str, Any]]:
    return list({line["shard"]: line for line in run.times(step)}.values())


def _store(run: Run, step: Step, lines: Iterable[dict[str, Any]]) -> None:
    write_atomically(run.times_path(step), "".join("\n" + json.dumps(line) for line in lines))
