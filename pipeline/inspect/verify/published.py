"""One published shard: its index against what the run knows of its pairs, its tar against the index, byte by byte."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foundation.text import counted
from pipeline.inspect.verify.context import Context, Opened, first_difference, listed, table_of
from pipeline.inspect.verify.ledger import schema_fault
from pipeline.inspect.verify.members import are_keys, headers, tails
from pipeline.inspect.verify.plan_shard import kept_pairs
from pipeline.inspect.verify.reading import file_of
from pipeline.inspect.verify.scan import ROWS, Scan, pieces
from pipeline.run.ledger import tally
from pipeline.run.manifest import Manifest
from pipeline.run.tar import BLOCK, END_OF_TAR
from pipeline.stages.download.writer import OUTCOME_SCHEMA
from pipeline.stages.publish.stage import INDEX, PUBLISHED_OF_IMAGE, Piece
from pipeline.stages.score.stage import MODEL_COLUMNS

OF_SCORES = ("score", "image_hash", *MODEL_COLUMNS)
OF_TAR = ("image_sha256", "tar", "offset", "length")  # what the index alone knows


def check_published(context: Context, shard: str, sources: Sequence[Piece] | None) -> list[str]:
    """Everything of one published shard.

    Args:
        sources: the pieces of plan shards that it is made of; None where that cannot be told.
    """
    manifest = context.run.manifest("publish", shard)
    assert manifest is not None  # the caller looked
    opened = Opened(context)
    index = opened.tables(manifest).get(".parquet")
    problems = opened.problems
    tar, name = file_of(context.run, manifest, ".tar"), file_of(context.run, manifest, ".parquet") or ""
    if index is not None and (fault := schema_fault(index.schema, INDEX)) is not None:
        problems.append(f"{name}: {fault}")
        index = None
    if index is not None:
        problems += _index(context, manifest, name, index)
        if sources is not None:
            problems += _against_run(context, name, index, sources)
    if tar is not None:
        sound = opened.sound_size(manifest, tar)
        if context.reads_tar("publish", shard) and context.files.size(tar) is not None:
            problems += check_tar(context, manifest, tar, index, sound)
    return problems


def _index(context: Context, manifest: Manifest, name: str, index: pa.Table) -> Iterator[str]:
    if index.num_rows != manifest.counts["out"]:
        yield f"{name}: {index.num_rows:,} rows; {context.name_of(manifest)} counts {manifest.counts['out']:,}"
    elif tally(index) != manifest.counts:
        yield f"{context.name_of(manifest)}: its counts are not those of the rows of {name}"
    if set(pc.unique(index["tar"]).to_pylist()) - {f"{manifest.shard}.tar"}:
        yield f"{name}: names a tar that is not {manifest.shard}.tar"
    if extra := [each for each in index.column_names if each not in INDEX.names]:
        yield f"{name}: has a column `{extra[0]}`, which no published index has"


def _against_run(context: Context, name: str, index: pa.Table, sources: Sequence[Piece]) -> Iterator[str]:
    """The pairs of the index are those that the run kept, in key order, with all that it knows of them."""
    try:
        expected = pa.concat_tables([_known(context, *piece) for piece in sources])
    except Exception:  # a file of the run is damaged, or its tables do not fit: other checks name it
        return
    keys = expected["key"]
    if not index["key"].equals(keys):
        there, wanted = index["key"].to_pylist(), keys.to_pylist()
        lacking = [key for key in wanted if key not in set(there)]
        extra = [str(key) for key in there if key not in set(wanted)]
        yield from listed(
            lacking, lambda keys: f"{name}: pair {keys} is missing: the run kept it, and it belongs into this shard"
        )
        yield from listed(
            extra,
            lambda keys: f"{name}: pair {keys} is published here, and is none of those that belong into this shard",
        )
        if not lacking and not extra:
            yield f"{name}: its pairs are not in key order, or a pair stands there twice"
        return
    for column in expected.column_names:
        if (key := first_difference(keys, index[column], expected[column])) is not None:
            yield f"{name}: {column} of pair {key} is not what the run knows of it"


def _known(context: Context, shard: str, start: int, end: int) -> pa.Table:
    """Columns of INDEX but OF_TAR, of a piece of a plan shard's kept pairs."""
    plan, download, score = (context.run.manifest(stage, shard) for stage in ("plan", "download", "score"))
    assert plan and download and score  # raised, and taken for a run that cannot be told
    pairs = kept_pairs(context, shard, table_of(context, plan, ".parquet")).slice(start, end - start)
    images, scores = (
        _rows_of(table_of(context, each, ".parquet"), pairs["key"].combine_chunks()) for each in (download, score)
    )
    assert pairs.num_rows == end - start
    columns = {}
    for column in INDEX.names:
        if column in OF_SCORES:
            columns[column] = scores[column]
        elif column in PUBLISHED_OF_IMAGE and column in OUTCOME_SCHEMA.names:
            columns[column] = images[column]
        elif column not in OF_TAR:
            columns[column] = pairs[column.removeprefix("declared_")]
    return pa.table({**columns, "length": images["length"]})


def _rows_of(table: pa.Table, keys: pa.Array) -> pa.Table:
    rows = pc.index_in(keys, table["key"].combine_chunks())
    if rows.null_count:
        raise KeyError(keys.filter(pc.is_null(rows))[0].as_py())
    return table.take(rows)


def check_tar(context: Context, manifest: Manifest, name: str, index: pa.Table | None, sound: bool) -> Iterator[str]:
    """The tar's hash and, where the index is sound, each of its bytes: a difference is traced to its key."""
    digest = hashlib.sha256()
    usable = index is not None and _is_usable(index, context.files.size(name) or 0, sound)
    if index is not None and not usable:
        yield f"{name}: the index gives no usable key, caption and length for every pair"
    if index is not None and usable:
        yield from _scan(context, name, index, digest)
    else:
        for piece in context.files.chunks(name):
            digest.update(piece)
    if sound and digest.hexdigest() != manifest.files[name]["sha256"]:
        yield f"{name}: damaged: its SHA-256 is not the manifest's"


def _is_usable(index: pa.Table, size: int, sound: bool) -> bool:
    """Whether the members of a tar can be told from its index."""
    if any(index[column].null_count for column in ("length", "offset", "caption", "image_sha256")):
        return False
    lengths = index["length"].to_numpy()
    in_tar = not ((lengths < 0) | (sound & (lengths > size))).any()
    return bool(in_tar) and are_keys(index["key"].combine_chunks())


def _scan(context: Context, name: str, index: pa.Table, digest: hashlib._Hash) -> Iterator[str]:
    """Reads the tar from its beginning to its end, ROWS pairs at a time."""
    faults: dict[str, list[str]] = {"cut off": [], "image": [], "members": [], "place": []}
    position = 0
    with context.files.stream(name) as stream:
        scan = Scan(stream, digest)
        for start in range(0, index.num_rows, ROWS):
            rows = index.slice(start, ROWS).combine_chunks()
            members = Members.of(rows)
            starts = position + np.cumsum(members.steps) - members.steps
            wrong = np.flatnonzero(rows["offset"].to_numpy() != starts + BLOCK).tolist()
            faults["place"] += [rows["key"][row].as_py() for row in wrong]
            for first, end in pieces(members.steps):
                content = scan.read(int(members.steps[first:end].sum()))
                for fault, row in members.compare(content, first, end):
                    faults[fault].append(rows["key"][row].as_py())
            position += int(members.steps.sum())
        rest = scan.zeros_to_end()
    yield from listed(faults["place"], lambda keys: f"{name}: pair {keys} does not begin where the one before ends")
    if lost := faults["cut off"]:
        yield f"{name}: ends before pair {lost[0]}; {counted(len(lost), 'pair')} cut off, the last is {lost[-1]}"
    yield from listed(faults["image"], lambda keys: f"{name}: the image of pair {keys} is damaged")
    yield from listed(
        faults["members"], lambda keys: f"{name}: the members of pair {keys} do not say what the index says"
    )
    if not lost and rest != len(END_OF_TAR):
        yield f"{name}: does not end after its last pair (byte {position:,})"


@dataclass(frozen=True)
class Members:
    """What the tar must hold of some pairs, one behind the other."""

    lengths: list[int]  # of images
    hashes: list[str]  # of images, SHA-256 in hex
    heads: bytes  # BLOCK bytes a pair, in front of each image
    tails: bytes  # what follows each image, one behind the other
    ends: list[int]  # n + 1 positions in `tails`
    steps: np.ndarray  # int64 (n,), bytes of each pair

    @staticmethod
    def of(index: pa.Table) -> Members:
        """Those of rows of an index."""
        lengths, following = index["length"].to_numpy(), tails(index)
        ends = np.frombuffer(following.buffers()[1], dtype=np.int32)[following.offset :][: len(lengths) + 1]
        heads = headers(index["key"].combine_chunks(), ".jpg", lengths).tobytes()
        steps = BLOCK + lengths + np.diff(ends)
        tail_bytes = following.buffers()[2].to_pybytes()
        return Members(lengths.tolist(), index["image_sha256"].to_pylist(), heads, tail_bytes, ends.tolist(), steps)

    def compare(self, content: bytes, first: int, end: int) -> Iterator[tuple[str, int]]:
        """(fault, row) of those rows of [first, end) whose bytes are not the expected ones; `content` begins with the first."""
        view, start = memoryview(content), 0
        for row in range(first, end):
            image, after = start + BLOCK, start + int(self.steps[row])
            stop = image + self.lengths[row]
            if after > len(content):
                yield "cut off", row
            elif hashlib.sha256(view[image:stop]).hexdigest() != self.hashes[row]:
                yield "image", row
            elif (
                content[start:image] != self.heads[row * BLOCK : (row + 1) * BLOCK]
                or content[stop:after] != self.tails[self.ends[row] : self.ends[row + 1]]
            ):
                yield "members", row
            start = after
