"""Proof that a run holds what it says: every hash, key, count and pair, from the files alone.

`docs/verify.md` says what each problem means, what is proved, and what rests on manifests.
"""

from pipeline.inspect.verify.report import Report
from pipeline.inspect.verify.verify import verify_folder, verify_run

__all__ = ["Report", "verify_folder", "verify_run"]
