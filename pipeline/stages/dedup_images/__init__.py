"""Dedup images: near-duplicates, images of evaluation sets, full sources."""
