"""Copies of images: how many are found, how many others are taken for copies, and what the search costs.

    python -m benchmarks.image_duplicates curve [--photos FOLDER …]     # recall and false positives by distance
    python -m benchmarks.image_duplicates confirm [--photos FOLDER …]   # the same where embeddings must agree as well
    python -m benchmarks.image_duplicates search --millions 1 10         # time and peak memory, in a process of its own
    python -m benchmarks.image_duplicates agree                          # with all against all, at 20,000 hashes

The images are those of `benchmarks.image_copies`.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.image_copies import CHANGES, DEFAULT_COLOURS, Hashed, drawings, middle, photos, table_row
from pipeline.stages.dedup_images.search import near_pairs
from pipeline.stages.eval_images.stage import CROPS
from pipeline.stages.score.fingerprint import differing_bits

THRESHOLDS = (4, 8, 12, 16, 20, 24, 28, 32)
COLOURS = (16, 24, 32, 48)


def curve(folders: list[Path]) -> None:
    """Prints, for each collection, the share found and the false pairs at each distance.

    "+ crops" is the same with the test images cropped as well, as `pipeline.stages.eval_images.stage` does it.
    """
    collections = {"drawings": drawings(600, 480), **{folder.name: photos(folder) for folder in folders}}
    for name, images in collections.items():
        hashed = Hashed(images if name != "drawings" else drawings(3000, 300))
        first, second = np.triu_indices(len(hashed.hashes), 1)
        bits, colours = hashed.compare(hashed, first, second)
        print(f"\n{name}: {len(hashed.hashes):,} images, {len(first):,} pairs, {hashed.plain.mean():.1%} plain")
        table_row("distance", THRESHOLDS)
        table_row("false pairs, any colours", [(bits <= limit).sum() for limit in THRESHOLDS])
        for max_difference in COLOURS:
            near = [((bits <= limit) & (colours <= max_difference)).sum() for limit in THRESHOLDS]
            table_row(f"  colours within {max_difference}", near)
        tests = [Hashed([middle(image, crop) for image in images]) for crop in CROPS]
        false = false_matches(tests, tests[0])
        table_row("  in all, + crops", [(false <= limit).sum() for limit in THRESHOLDS])
        shares(images, tests)


def shares(images: list[Image.Image], tests: list[Hashed]) -> None:
    """Recall of each change."""
    positions = np.arange(len(images))
    known = ~tests[0].plain
    for change, apply in CHANGES.items():
        rng = random.Random(5)
        copies = Hashed([apply(image, rng) for image in images])
        differences = np.stack([copies.compare(test, positions, positions) for test in tests])
        bits = np.where(differences[:, 1] <= DEFAULT_COLOURS, differences[:, 0], 999)[:, known]
        table_row(change, [f"{(bits[0] <= limit).mean():.3f}" for limit in THRESHOLDS])
        table_row("  + crops", [f"{(bits.min(axis=0) <= limit).mean():.3f}" for limit in THRESHOLDS])


def false_matches(tests: list[Hashed], candidates: Hashed) -> np.ndarray:
    """Differing bits of all pairs of a test image (the nearest of its crops) and another image as a candidate."""
    first, second = np.nonzero(~np.eye(len(candidates.hashes), dtype=bool))
    differences = np.stack([candidates.compare(test, first, second) for test in tests])
    return np.where(differences[:, 1] <= DEFAULT_COLOURS, differences[:, 0], 999).min(axis=0)


def planted(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random hashes and mirror hashes; a twentieth are copies of others, or of mirror images, with up to 23 bits changed."""
    rng = np.random.default_rng(seed)
    hashes, mirrors = (rng.integers(0, 2**64, (count, 3), dtype=np.uint64) for _ in range(2))
    source, target = rng.integers(0, count, (2, count // 20))
    changed = rng.integers(0, 24, len(source))
    bits = np.zeros((len(source), 192), dtype=np.uint8)
    for number in range(24):
        more = np.flatnonzero(changed > number)
        bits[more, rng.integers(0, 192, len(more))] ^= 1
    noise = np.ascontiguousarray(np.packbits(bits, axis=1)).view(">u8").astype(np.uint64)
    turned = (rng.random(len(source)) < 0.3)[:, None]
    new = np.where(turned, mirrors[source], hashes[source]), np.where(turned, hashes[source], mirrors[source])
    hashes[target], mirrors[target] = new[0] ^ noise, new[1] ^ noise
    return hashes, mirrors


def search(count: int, distance: int) -> None:
    """One search; prints time, and peak memory beyond the hashes themselves."""
    hashes, mirrors = planted(count)
    before = peak()
    begun = time.perf_counter()
    pairs = sum(len(first) for first, _, _ in near_pairs(hashes, distance, mirrors))
    seconds = time.perf_counter() - begun
    print(
        f"{count:>12,} images, distance {distance}, mirrors too: {pairs:,} pairs, {seconds:,.0f} s on one core, peak memory "
        f"{peak():,.2f} GiB ({before:,.2f} before the search)",
        flush=True,
    )


def agree(count: int, distance: int) -> None:
    """Compares with all against all; fails where they differ."""
    hashes, mirrors = planted(count)
    pairs = {
        (int(i), int(j), int(bits))
        for part in near_pairs(hashes, distance, mirrors)
        for i, j, bits in zip(*part, strict=True)
    }
    true = set()
    for i in range(count):
        ways = [
            differing_bits(a, b[i + 1 :]) for a, b in ((hashes[i], hashes), (hashes[i], mirrors), (mirrors[i], hashes))
        ]
        bits = np.minimum.reduce(ways)
        true |= {(i, i + 1 + int(j), int(bits[j])) for j in np.flatnonzero(bits <= distance)}
    print(f"{count:,} images, distance {distance}: {len(pairs):,} pairs found, {len(true):,} by all against all; "
          f"{'the same' if pairs == true else 'NOT the same'}")  # fmt: skip
    if pairs != true:
        sys.exit(1)


def peak() -> float:
    """Of this process, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.image_duplicates", description=__doc__)
    parser.add_argument("what", choices=("curve", "confirm", "search", "agree"))
    parser.add_argument("--photos", type=Path, nargs="*", default=[])
    parser.add_argument("--millions", type=float, nargs="*", default=[1])
    parser.add_argument("--distance", type=int, default=16)
    parser.add_argument("--text-model", default="demo/mclip-tiny/text", help="confirm: as score.text_model of a recipe")
    parser.add_argument("--image-model", default="demo/mclip-tiny/image", help="confirm: as score.image_model")
    given = parser.parse_args()
    if given.what == "curve":
        curve(given.photos)
    elif given.what == "confirm":
        from benchmarks.image_confirm import confirm

        confirm(given.photos, given.text_model, given.image_model)
    elif given.what == "agree":
        agree(20_000, given.distance)
    elif len(given.millions) == 1:
        search(round(given.millions[0] * 1_000_000), given.distance)
    else:
        for millions in given.millions:  # each in its own process, for the peak is of a process
            options = ["--millions", str(millions), "--distance", str(given.distance)]
            subprocess.run([sys.executable, "-m", __spec__.name, "search", *options], check=True)


if __name__ == "__main__":
    main()
