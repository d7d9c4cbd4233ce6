"""Images compared as images: fingerprints, near-duplicate search, winners of clusters, and copies of test-set images.

from filters.images.fingerprint import fingerprint
from filters.images.search import near_pairs

one = fingerprint(pixels)  # uint8 (height, width, 3), RGB
"""
