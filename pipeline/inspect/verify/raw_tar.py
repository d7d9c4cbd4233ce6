"""The tar of a downloaded shard, read once: its hash, its members, and the hash of each image."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.inspect.verify.context import Context, Opened, listed
from pipeline.inspect.verify.members import are_keys, headers, padding
from pipeline.inspect.verify.reading import file_of
from pipeline.inspect.verify.scan import Scan, pieces
from pipeline.run.manifest import Manifest
from pipeline.run.tar import BLOCK, END_OF_TAR
from pipeline.stages.download.content import content_of
from pipeline.stages.publish.root import CONTENT


def check_images(context: Context, manifest: Manifest, outcomes: pa.Table) -> Iterator[str]:
    """The images of a shard: as the table says, in the tar, and the same bytes as those that are published of them."""
    name = file_of(context.run, manifest, ".tar")
    if name is None:
        return  # named as a problem of the manifest
    opened = Opened(context)
    sound = opened.sound_size(manifest, name)
    yield from opened.problems
    if not sound or not context.reads_tar(manifest.stage, manifest.shard):
        return
    images = outcomes.filter(pc.equal(outcomes["status"], "ok"))
    order = pc.sort_indices(images["offset"])
    hashes: list[str] = []
    digest = hashlib.sha256()
    yield from _scan(context, name, images.take(order), hashes, digest)
    if digest.hexdigest() != manifest.files[name]["sha256"]:
        yield f"{name}: damaged: its SHA-256 is not the manifest's"
    if len(hashes) != images.num_rows:
        return
    in_order = np.empty(len(hashes), dtype=object)
    in_order[order.to_numpy()] = hashes
    rows = pc.index_in(outcomes["key"], images["key"].combine_chunks()).to_pylist()
    stored = [None if row is None else in_order[row] for row in rows]
    if CONTENT in manifest.counts and manifest.counts[CONTENT] != content_of(outcomes, stored):  # 0.1 had none
        yield f"{context.name_of(manifest)}: `{CONTENT}` is not the hash of what the shard's table and tar hold"
    yield from _published(context, manifest, images["key"].combine_chunks(), pa.array(list(in_order), pa.string()))


def _scan(context: Context, name: str, images: pa.Table, hashes: list[str], digest: hashlib._Hash) -> Iterator[str]:
    """Reads the tar from its beginning to its end; fills `hashes`, one for each image in the order of the tar."""
    keys, lengths, offsets = images["key"].combine_chunks(), images["length"].to_numpy(), images["offset"].to_numpy()
    size = context.files.size(name) or 0
    nulls = images["length"].null_count or images["offset"].null_count
    if nulls or not are_keys(keys) or ((lengths < 0) | (lengths > size)).any():
        yield f"{name}: the table gives no usable key, offset and length for every image"
        _hash_all(context, name, digest)
        return
    steps = BLOCK + lengths + padding(lengths)
    starts = np.cumsum(steps) - steps
    wrong = np.flatnonzero(starts + BLOCK != offsets)
    if len(wrong):
        yield f"{name}: pair {keys[int(wrong[0])]} does not lie where the table says, behind the image before it"
        _hash_all(context, name, digest)
        return
    heads, zeros = headers(keys, ".jpg", lengths).tobytes(), bytes(BLOCK)
    damaged: list[int] = []
    with context.files.stream(name) as stream:
        scan = Scan(stream, digest)
        for first, end in pieces(steps):
            content, start = scan.read(int(steps[first:end].sum())), 0
            view = memoryview(content)
            for row, length, step in zip(
                range(first, end), lengths[first:end].tolist(), steps[first:end].tolist(), strict=True
            ):
                image, after = start + BLOCK, start + step
                stop = image + length
                hashes.append(hashlib.sha256(view[image:stop]).hexdigest())
                head = content[start:image] == heads[row * BLOCK : (row + 1) * BLOCK]
                if not head or content[stop:after] != zeros[: after - stop]:
                    damaged.append(row)
                start = after
        rest = scan.zeros_to_end()
    yield from listed(
        [str(keys[row]) for row in damaged],
        lambda names: f"{name}: the member of pair {names} is not headed and padded as its row says",
    )
    if rest is None or rest < len(END_OF_TAR):
        yield f"{name}: does not end after its last image with blocks of zeros"


def _hash_all(context: Context, name: str, digest: hashlib._Hash) -> None:
    for piece in context.files.chunks(name):
        digest.update(piece)


def _published(context: Context, manifest: Manifest, keys: pa.Array, hashes: pa.Array) -> Iterator[str]:
    """The images of this shard that are published: the same bytes."""
    for index in context.indexes_of(manifest.shard):
        try:
            table = context.files.table(index, ["key", "image_sha256"])
        except Exception:  # its own check names it
            continue
        rows = pc.index_in(table["key"], keys)
        there = pc.is_valid(rows)
        ours = hashes.take(rows.filter(there).combine_chunks())
        stated = table["image_sha256"].filter(there).combine_chunks()
        wrong = table["key"].filter(there).filter(pc.fill_null(pc.not_equal(ours, stated), True)).to_pylist()
        yield from listed(
            wrong,
            lambda names, index=index: f"{index}: the published image of pair {names} is not the downloaded one",  # type: ignore[misc]
        )
