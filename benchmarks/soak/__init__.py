"""Everything that a run has to outlive, tried: `python -m benchmarks.soak` (make soak)."""
