"""python -m benchmarks.soak.limited BYTES WORDS: `zhclip WORDS` that can write no file beyond so many bytes."""

from __future__ import annotations

import resource
import runpy
import sys

if __name__ == "__main__":
    limit = int(sys.argv.pop(1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.argv[0] = "zhclip"
    runpy.run_module("zhclip", run_name="__main__", alter_sys=True)
