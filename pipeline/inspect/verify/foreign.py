"""Files that lie where a run keeps its own, and that nothing names: a reader that takes `*.tar` would take them too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.inspect.verify.context import Context
from pipeline.inspect.verify.manifests import Manifests
from pipeline.inspect.verify.presence import Presence
from pipeline.run.names import CARD, DATASET, DATASET_MANIFEST, LEDGER


def foreign_files(
    context: Context, manifests: Manifests, presence: Presence, listing: Mapping[str, int]
) -> Iterator[str]:
    """Problems of files in the folders of stages and in the ledger. Elsewhere in the run's folder people may keep what they
    like. A shard that is still to be done may have files already: a process was killed, or works right now."""
    run, open_shards = context.run, _open_shards(context, presence)
    folders = {folder: stage for stage, layout in run.stages.items() for folder in layout.folders}
    named = {name for of in manifests.names.values() for name in of.values()}
    for manifest in (manifest for of in manifests.loaded.values() for manifest in of.values()):
        named.update(manifest.files, manifest.scratch)
        if manifest.stage == "publish":
            named.add(f"{DATASET}/{manifest.shard}.json")
    named |= {f"{DATASET}/{DATASET_MANIFEST}", f"{DATASET}/{CARD}"}
    for name in listing:
        top = name.partition("/")[0]
        if name in named or (top not in folders and top != LEDGER) or "/" not in name:
            continue
        folder, _, base = name.rpartition("/")
        stage = folders.get(folder, "")
        shard = base.partition(".")[0].partition("-")[0]
        if (stage, shard) in open_shards or (
            shard in manifests.names.get(stage, {}) and shard not in manifests.loaded[stage]
        ):
            continue  # of a manifest that is damaged, which is named
        yield f"{name}: foreign file: no manifest names it; `zhclip gc` removes what a killed process left, keep others elsewhere"


def _open_shards(context: Context, presence: Presence) -> set[tuple[str, str]]:
    return {
        (stage, shard)
        for stage, shards in presence.expected.items()
        for shard in shards
        if context.run.manifest(stage, shard) is None
    }
