"""SIGKILL at random moments, of a driver's whole process group and of the server that its run lies on."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from contextlib import suppress

from benchmarks.soak.ground import Ground, Line, kill, stage_of
from pipeline.stages.registry import STAGES
from tests.support.warm import Process

SERVER_AWAY = 3.0  # s for which a server is gone at most; programs wait for about a minute


def kills(
    ground: Ground, times: int, chance: random.Random, stages: int | None = None, say: Callable[[str], None] = print
) -> Line:
    """Run after run is killed and continued until so many kills have met a process at work; on a server, that one is killed half
    as often as well, while a driver goes on.

    Args:
        stages: that are done before; by default none in one run, and all up to the download in the next, which takes the
            most time: so that all stages are met.
    """
    line = Line(f"SIGKILL of the driver, {ground.name}")
    runs = servers = 0
    address = _begin(ground, runs, stages)
    while line.times < times or (ground.server and servers < times // 2):
        process = ground.start(address)
        if ground.server and servers < times // 2 and chance.random() < 0.6:
            servers += _kill_server(ground, process, chance)
        # Short enough that not every process comes to the end, spread over start-up and all stages.
        with suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0, _longest(ground, runs)))
        if kill(process):
            line.times += 1
            line.notes[f"in {(stage := stage_of(address))}"] += 1
            say(f"{ground.name}: kill {line.times} of {times} in {stage}")
            continue
        if process.returncode:
            line.problem(f"{address}: exit code {process.returncode}: {process.communicate()[1][-500:]}")
        runs += 1
        ground.judge(address, line)
        if line.holds:
            ground.remove(address)
        address = _begin(ground, runs, stages)
    ground.finish(address, line)
    line.notes["runs"] = runs + 1
    if servers:
        line.notes["the server too"] = servers
    return line


def _begin(ground: Ground, number: int, stages: int | None) -> str:
    address = f"{ground.at}/killed-{number}"
    if stages is None and number % 2:
        stages = list(STAGES).index("score")
    if stages is not None:
        ground.copy(address, stages)
    return address


def _longest(ground: Ground, number: int) -> float:
    """Seconds until a kill, at most."""
    return ground.seconds / (5 if number % 2 else 2)


def _kill_server(ground: Ground, process: Process, chance: random.Random) -> int:
    """1 where the driver was at work when its server went."""
    assert ground.server
    with suppress(subprocess.TimeoutExpired):
        process.wait(chance.uniform(0, ground.seconds / 2))
    at_work = process.poll() is None
    ground.server.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(chance.uniform(0.1, SERVER_AWAY))
    ground.server.start()
    return int(at_work)
