"""What all packages stand on: configuration, errors, logging, devices, weights, and readers of published formats."""

__version__ = "0.2.0"
"""The one place that names zhclip's version: setup.py, manifests and `zhclip --version` read it."""
