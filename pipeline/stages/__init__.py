"""The stages of a run, each a package or module named as its folder in the run."""
