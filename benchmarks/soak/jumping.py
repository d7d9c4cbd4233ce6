"""python -m benchmarks.soak.jumping WORDS: `zhclip WORDS` while the clock jumps an hour ahead and back again, every second, until
the lease of the run is taken.

Not longer: Beam's threads wait by the wall clock (`apache_beam.runners.worker.data_plane.PeriodicThread` is one), and a pipeline does not
go on where the clock was put back.
"""

from __future__ import annotations

import runpy
import sys
import time

from foundation.storage import Storage
from pipeline.run import lease

HOUR = 3600.0
_time, _time_ns, _monotonic, _take = time.time, time.time_ns, time.monotonic, lease._take
taken = False


def _jump() -> float:
    return 0.0 if taken else (0.0, HOUR, -HOUR)[int(_monotonic()) % 3]


def _take_and_stand_still(storage: Storage, epoch: int) -> None:
    global taken
    _take(storage, epoch)
    taken = True


if __name__ == "__main__":
    time.time = lambda: _time() + _jump()
    time.time_ns = lambda: _time_ns() + int(_jump() * 1e9)
    lease._take = _take_and_stand_still
    sys.argv[0] = "zhclip"
    runpy.run_module("zhclip", run_name="__main__", alter_sys=True)
