"""The root of a run: a SHA-256 over the hashes of its recipe, its layout and every manifest, so that no edit goes unseen.

It is a tree of two levels. A leaf is the hash of one manifest; a stage's hash is that of its leaves in shard order; the root is
the hash of those in the order of the stages, beside the recipe's, the layout's, the versions' and the data card's.

Two runs of equal input have equal roots. Nothing in it says where a run lies, when it ran, or how many workers did it. The one
thing that differs between such runs is the order in which images arrive, hence the bytes of `download/`: a manifest that
counts `content`, a hash of what its files hold whatever their order, enters with that and without its files. What no root
covers: the words in which a failed download's `detail` says why, values of the recipe that change only speed, `times/`,
the catalog and reports.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipeline.run.folder import Run
from pipeline.run.manifest import Manifest
from pipeline.stages.layout import read_layout

CONTENT = "content"  # in the counts of a manifest: what its files hold, whatever their order


def part_hashes(run: Run, versions: Mapping[str, str], card: str) -> dict[str, str]:
    """What the root is made of, by name: recipe, layout, each stage that has manifests, versions, card.

    Args:
        versions: those that `manifest.json` of the dataset names.
        card: the text of the data card.
    """
    stages = {stage: manifests for stage in run.stages if (manifests := run.manifests(stage))}
    return {
        "recipe": _hash({stage: run.digest(stage) for stage in run.stages}),
        "layout": _hash(asdict(read_layout(run))),
        **{stage: _hash([leaf(manifest) for manifest in manifests]) for stage, manifests in stages.items()},
        "versions": _hash(dict(versions)),
        "card": hashlib.sha256(card.encode()).hexdigest(),
    }


def root_of(hashes: Mapping[str, str]) -> str:
    """64 hex digits: the hash of the parts, in their order."""
    return _hash(list(hashes.items()))


def leaf(manifest: Manifest) -> str:
    """64 hex digits: the hash of one manifest."""
    content = {
        "stage": manifest.stage,
        "shard": manifest.shard,
        "digest": manifest.digest,
        "counts": manifest.counts,
        "versions": manifest.versions,
    }
    return _hash(content if CONTENT in manifest.counts else {**content, "files": manifest.files})


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
