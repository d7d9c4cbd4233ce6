"""How the threads of a process wait for one another; to be settled before torch is loaded.

OpenMP's threads meet at the end of every operation. By default they wait there in a loop, which on a busy machine burns the
core that the thread waited for would need: two threads on two busy cores then train up to 30 times slower than one.
`python -m benchmarks.busy` measures it. The number of threads is left as it is (the cores that the process may use, by its
affinity; one a rank under torchrun): it decides how sums are rounded, so to choose it by the machine's load would
break the promise that a killed training continues bit for bit.
"""

from __future__ import annotations

import os

SLEEPING = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
"""Environment variables by which OpenMP's threads (GNU's, and Intel's or LLVM's) sleep while they wait."""


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def sleep_while_waiting() -> None:
    """Lets OpenMP's threads sleep while they wait, unless the environment says how they shall wait.

    Holds for this process, if it has not loaded torch so far, and for those that it starts.
    """
    if not any(name in os.environ for name in (*SLEEPING, "GOMP_SPINCOUNT")):
        os.environ.update(SLEEPING)
