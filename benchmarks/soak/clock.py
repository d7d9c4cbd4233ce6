"""A clock that jumps an hour both ways, while a run is taken over from another machine."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import asdict

from benchmarks.soak.ground import Ground, Line
from pipeline.run.lease import BEAT, Holder
from pipeline.run.names import DRIVER
from pipeline.stages.registry import STAGES
from tests.support import warm


def jumping_clock(ground: Ground, times: int) -> Line:
    """A driver elsewhere lives: the command is refused. It shows no sign of life any more: the run is taken over."""
    line = Line(f"the clock jumps an hour, {ground.name}")
    for number in range(times):
        address = f"{ground.at}/clock-{number}"
        storage = ground.copy(address, list(STAGES).index("score")).storage
        assert storage.create(f"{DRIVER}/000099.json", json.dumps(asdict(_elsewhere())).encode())
        stop = threading.Event()

        def live(stop: threading.Event = stop, put: object = storage.put) -> None:
            count = 0
            while not stop.wait(BEAT):
                put(f"{DRIVER}/000099.beat", str(count := count + 1).encode())  # type: ignore[operator]

        living = threading.Thread(target=live)
        living.start()
        code, said = _curate(ground, address)
        stop.set()
        living.join()
        if code != 2 or "process 7 on elsewhere" not in said:
            line.problem(f"{address}: exit code {code} where the driver elsewhere lives: {said[-500:]}")
        code, said = _curate(ground, address)
        if code or "took over" not in said:
            line.problem(f"{address}: exit code {code} where the driver elsewhere is dead: {said[-500:]}")
        line.times += 1
        ground.judge(address, line)
        ground.remove(address)
    return line


def _elsewhere() -> Holder:
    return Holder("elsewhere", 7, "another boot", "pid:[1]", "12")


def _curate(ground: Ground, address: str) -> tuple[int | None, str]:
    _, _, _, *words = ground.site.command(address, "--workers 2")  # type: ignore[arg-type]
    command = [sys.executable, "-m", "benchmarks.soak.jumping", *words]
    process = warm.Process(command, env=ground.environment())
    _, said = process.communicate()
    return process.returncode, said
