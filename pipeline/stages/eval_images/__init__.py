"""Eval images: what images of evaluation sets look like."""
