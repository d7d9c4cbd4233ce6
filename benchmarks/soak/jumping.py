"""python -m benchmarks.soak.jumping WORDS: `zhclip WORDS` while the clock jumps an hour ahead and back again, every second."""

from __future__ import annotations

import runpy
import sys
import time

HOUR = 3600.0
_time, _time_ns, _monotonic = time.time, time.time_ns, time.monotonic


def _jump() -> float:
    return (0.0, HOUR, -HOUR)[int(_monotonic()) % 3]


if __name__ == "__main__":
    time.time = lambda: _time() + _jump()
    time.time_ns = lambda: _time_ns() + int(_jump() * 1e9)
    sys.argv[0] = "zhclip"
    runpy.run_module("zhclip", run_name="__main__", alter_sys=True)
