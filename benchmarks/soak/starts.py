"""Two drivers started at once: one works, the other is refused and changes nothing."""

from __future__ import annotations

import random
import re
import time

from benchmarks.soak.ground import Ground, Line
from pipeline.stages.registry import STAGES

REFUSAL = re.compile(r"zhclip: another process is working on \S+ \(.*\); `zhclip status` shows how far it is")


def double_starts(ground: Ground, times: int, chance: random.Random, fresh: bool = True) -> Line:
    """Each time two processes start one run, or continue one of which all is downloaded, within a moment; with `fresh`, each
    in turn."""
    line = Line(f"two drivers at once, {ground.name}")
    for number in range(times):
        address = f"{ground.at}/twice-{number}"
        if number % 2 or not fresh:
            ground.copy(address, list(STAGES).index("score"))
        first = ground.start(address)
        if chance.random() < 0.5:
            time.sleep(chance.uniform(0, 1))
        pair = [first, ground.start(address)]
        ended = [(*process.communicate(), process.returncode) for process in pair]
        line.times += 1
        print(f"{line.what}: {line.times} of {times}", flush=True)
        codes = [code for _, _, code in ended]
        line.notes["first" if codes[0] == 0 else "second"] += 1
        if sorted(codes) != [0, 2]:
            line.problem(f"{address}: exit codes {codes}: {[said[-300:] for _, said, _ in ended]}")
            continue
        worked, refused = ended[codes.index(0)], ended[codes.index(2)]
        if not REFUSAL.fullmatch(refused[1].strip()):
            line.problem(f"{address}: the one that was refused said {refused[1][-500:]!r}")
        if "took over" in worked[1] or "made again" in worked[1]:
            line.problem(f"{address}: the one that worked was disturbed: {worked[1][-500:]!r}")
        ground.judge(address, line)
        if line.holds:
            ground.remove(address)
    return line
