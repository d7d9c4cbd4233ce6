"""python -m benchmarks.soak.jumping WORDS: `zhclip WORDS` while the clock jumps an hour ahead and back again, every second.

Beam alone is spared: a thread of its data plane waits until a time of the wall clock (apache_beam 2.7x, PeriodicThread), and where the
clock was put back an hour, it waits for an hour.
"""

from __future__ import annotations

import runpy
import sys
import time

HOUR = 3600.0
_time, _time_ns, _monotonic = time.time, time.time_ns, time.monotonic


def _jump() -> float:
    if str(sys._getframe(2).f_globals.get("__name__")).startswith("apache_beam"):
        return 0.0
    return (0.0, HOUR, -HOUR)[int(_monotonic()) % 3]


if __name__ == "__main__":
    time.time = lambda: _time() + _jump()
    time.time_ns = lambda: _time_ns() + int(_jump() * 1e9)
    sys.argv[0] = "zhclip"
    runpy.run_module("zhclip", run_name="__main__", alter_sys=True)
