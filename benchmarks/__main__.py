"""All speed measurements, one after the other, each against what others do on the same input in the same run."""

from __future__ import annotations

import argparse
import subprocess
import sys

QUICK = (
    ["benchmarks.metadata", "--memory", "1", "5"],
    ["benchmarks.filters"],
    ["benchmarks.download"],
    ["benchmarks.scoring"],
    ["benchmarks.loss"],
    ["benchmarks.loader"],
    ["benchmarks.training"],
    ["benchmarks.waiting"],
    ["benchmarks.commits"],
    ["benchmarks.verify"],
    ["benchmarks.translation"],
    ["benchmarks.image_duplicates", "search", "--millions", "1"],
)
LONG = {
    "benchmarks.metadata": ["--memory", "1", "5", "20"],
    "benchmarks.loss": ["--full"],
    "benchmarks.image_duplicates": ["search", "--millions", "1", "10"],
}
"""Options that the whole of `make bench` gives instead."""
FULL = tuple([module, *LONG.get(module, options)] for module, *options in QUICK)


def main() -> int:
    """The exit code of the first measurement that failed, or 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="without what takes long or much memory: 20 million rows, a batch of 32,768, 10 million hashes",
    )
    given = parser.parse_args()
    for module, *options in QUICK if given.quick else FULL:
        print(f"== python -m {module} {' '.join(options)}", flush=True)
        code = subprocess.run([sys.executable, "-m", module, *options], check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
