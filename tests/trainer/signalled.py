"""`python -m tests.trainer.signalled NUMBER STEP MODULE WORDS...`: runs MODULE, which gets a signal as it has logged a step.

Sent from outside, a signal may come late on a busy machine: such a small training is over by then.
"""

import os
import runpy
import signal
import sys
from typing import Any

from trainer.log import TrainingLog

if __name__ == "__main__":
    number, step = int(sys.argv[1]), int(sys.argv[2])
    if number == signal.SIGHUP:
        signal.signal(number, signal.SIG_DFL)  # below nohup a training ignores it, as it should
    sys.argv = sys.argv[3:]
    log_step = TrainingLog.step

    def log_and_signal(self: TrainingLog, line: dict[str, Any], write: bool) -> None:
        log_step(self, line, write)
        if line["step"] == step:
            os.kill(os.getpid(), number)

    TrainingLog.step = log_and_signal  # type: ignore[method-assign]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
