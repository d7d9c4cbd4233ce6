"""Hands the published shards on: from names that hold their content, in `publish/`, to plain ones in `dataset/`.

Only the driver of a run does it, once every shard is there, so that no worker that was given up can ever write to `dataset/`.
Killed anywhere, it is done again.
"""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

from pipeline.run.folder import Run
from pipeline.run.manifest import Manifest, RunError, ending_of
from pipeline.run.names import CARD, DATASET, DATASET_MANIFEST

AT_A_TIME = 16  # shards: an object store copies on its own side


def hand_on(run: Run) -> None:
    """Every file that the manifests of `publish` name stands in `dataset/`, SHARD.json beside it, and nothing of another
    publication does.

    Raises:
        RunError: a file is gone; the same command makes its shard again.
        Superseded: another process drives the run by now; what that one publishes stays.
    """
    manifests = run.manifests("publish")
    listed = {entry.name: entry.bytes for entry in run.storage.list(f"{run.stages['publish'].folder}/")}
    if any(name in listed for manifest in manifests for name in manifest.scratch):
        run.check_lease()
        run.storage.remove(f"{DATASET}/{DATASET_MANIFEST}")  # until all are handed on, nothing is published
    sizes = {entry.name: entry.bytes for entry in run.storage.list(f"{DATASET}/")}
    own = {f"{DATASET}/{DATASET_MANIFEST}", f"{DATASET}/{CARD}"}
    named = own.union(name for manifest in manifests for name in [*manifest.files, _described(manifest)])
    for name in sizes.keys() - named:
        run.check_lease()
        run.storage.remove(name)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        list(pool.map(lambda manifest: _hand_on(run, manifest, listed, sizes), manifests))


def _hand_on(run: Run, manifest: Manifest, staged: Collection[str], sizes: dict[str, int]) -> None:
    run.check_lease()  # for every shard: a driver may freeze for longer than it counts as alive
    sources = {ending_of(name): name for name in manifest.scratch if name in staged}
    for name, described in manifest.files.items():
        if source := sources.get(ending_of(name)):
            run.storage.copy(source, name)
        elif sizes.get(name) != described["bytes"]:
            run.forget(manifest)
            raise RunError(
                f"{run.address}/{name} is gone or damaged; the same command makes shard {manifest.shard} again"
            )
    if sources or _described(manifest) not in sizes:
        run.storage.put(_described(manifest), manifest.to_json().encode())
    for name in sources.values():
        run.storage.remove(name)


def _described(manifest: Manifest) -> str:
    return f"{DATASET}/{manifest.shard}.json"
