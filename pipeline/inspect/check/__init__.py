"""The quality gate: rules on the figures of a run, for schedulers and CI."""
