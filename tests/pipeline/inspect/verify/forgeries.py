"""Shards exchanged, added and removed, and forgeries: what was changed is rewritten wherever else it stands."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from itertools import combinations

import pyarrow as pa

from tests.pipeline.inspect.verify.cases import CASES, Manipulation, case
from tests.pipeline.inspect.verify.copies import Copy, Json, Pair
from tests.pipeline.inspect.verify.edited_manifests import read_more

# Shards exchanged, added, removed


def _swap_files(copy: Copy) -> None:
    for ending in (".tar", ".parquet"):
        first, second = (copy.file("publish", ending, shard) for shard in ("000000", "000001"))
        content, other = copy.read(first), copy.read(second)
        copy.write(first, other)
        copy.write(second, content)


CASES["two published shards exchanged"] = _swap_files


@case("two published shards exchanged, with their manifests")
def _(copy: Copy) -> None:
    names = {
        shard: [copy.file("publish", ending, shard) for ending in (".tar", ".parquet")]
        for shard in ("000000", "000001")
    }
    manifests = {shard: copy.json(copy.manifest("publish", shard)) for shard in names}
    _swap_files(copy)
    for shard, other in (("000000", "000001"), ("000001", "000000")):
        described = manifests[other]["files"]
        files = {name: described[its] for name, its in zip(names[shard], names[other], strict=True)}
        content = {**manifests[other], "shard": shard, "files": files, "scratch": []}
        copy.write(copy.manifest("publish", shard), json.dumps(content).encode())
    copy.seal()


@case("a published shard twice, with a manifest")
def _(copy: Copy) -> None:
    last = "000003"
    content = copy.json(copy.manifest("publish", last))
    files = {}
    for ending in (".tar", ".parquet"):
        name = copy.file("publish", ending, last)
        files[name.replace(last, "000004")] = content["files"][name]
        copy.write(name.replace(last, "000004"), copy.read(name))
    copy.write(
        copy.manifest("publish", "000004"),
        json.dumps({**content, "shard": "000004", "files": files, "scratch": []}).encode(),
    )
    copy.seal()


@case("foreign: a tar")
def _(copy: Copy) -> None:
    copy.write("dataset/000009.tar", copy.read(copy.file("publish", ".tar")))


@case("foreign: a tar and an index without rows")
def _(copy: Copy) -> None:
    copy.write("dataset/000009.tar", bytes(1024))
    copy.write("dataset/000009.parquet", copy.read(copy.file("publish", ".parquet"))[:0])


@case("foreign: a copied shard")
def _(copy: Copy) -> None:
    for ending in (".tar", ".parquet"):
        copy.write(f"dataset/000009{ending}", copy.read(copy.file("publish", ending)))


@case("foreign: in download, plan and ledger")
def _(copy: Copy) -> None:
    copy.write("download/000099.tar", b"x")
    copy.write("plan/000099.parquet", copy.read(copy.file("plan", ".parquet")))
    copy.write("ledger/download/000099.parquet", copy.read(copy.file("download", "ledger")))


@case("an extra manifest")
def _(copy: Copy) -> None:
    content = copy.json(copy.manifest("plan", "000001"))
    copy.write(copy.manifest("plan", "000099"), json.dumps({**content, "shard": "000099", "files": {}}).encode())


# Forgeries: what was changed is rewritten in every manifest, and the root with it


def _exchanged(pairs: list[Pair]) -> list[Pair]:
    return [(pairs[0][0], pairs[1][1]), *pairs[1:]]


def _with(pairs: list[Pair], **values: object) -> list[Pair]:
    return [({**pairs[0][0], **values}, pairs[0][1]), *pairs[1:]]


def _forged(change: Callable[[list[Pair]], list[Pair]], seal: bool = True) -> Manipulation:
    def manipulate(copy: Copy) -> None:
        copy.forge_tar(change)
        if seal:
            copy.seal()

    return manipulate


CASES |= {
    "forged: image replaced": _forged(_exchanged),
    "forged: image replaced, data set's manifest as it was": _forged(_exchanged, seal=False),
    "forged: caption": _forged(lambda pairs: _with(pairs, caption="换了的文字说明")),
    "forged: score and url": _forged(lambda pairs: _with(pairs, score=0.99, url="http://x/")),
    "forged: order in a shard": _forged(lambda pairs: pairs[::-1]),
}


def _one_published_less(counts: Json, source: str, rows: int = -1) -> None:
    for of in (counts, counts["sources"][source]):
        of.update({"in": of["in"] + rows, "out": of["out"] + rows})


@case("forged: a pair moved to another shard")
def _(copy: Copy) -> None:
    moved: list[Pair] = []

    def take(pairs: list[Pair]) -> list[Pair]:
        moved.append(pairs[0])
        return pairs[1:]

    copy.forge_tar(take)
    copy.forge_tar(lambda pairs: [*pairs, ({**moved[0][0], "tar": "000002.tar"}, moved[0][1])], "000002")
    source = moved[0][0]["source"]
    copy.edit_counts("publish", "000001", lambda counts: _one_published_less(counts, source))
    copy.edit_counts("publish", "000002", lambda counts: _one_published_less(counts, source, 1))
    copy.seal()


@case("forged: a rejected pair in the place of a kept one")
def _(copy: Copy) -> None:
    lost = copy.table(copy.file("select", "ledger")).to_pylist()

    def change(pairs: list[Pair]) -> list[Pair]:
        for number, (row, image) in enumerate(pairs):
            other = next((each for each in lost if each["source"] == row["source"]), None)
            if other is not None:
                named = {name: other[name] for name in ("key", "source", "file", "row", "url", "caption")}
                return [*pairs[:number], ({**row, **named}, image), *pairs[number + 1 :]]
        raise AssertionError("no pair of the source was rejected")

    copy.forge_tar(change)
    copy.seal()


@case("forged: a pair dropped everywhere")
def _(copy: Copy) -> None:
    sources: list[str] = []

    def drop(pairs: list[Pair]) -> list[Pair]:
        sources.append(pairs[0][0]["source"])
        return pairs[1:]

    copy.forge_tar(drop)
    copy.edit_counts("publish", "000001", lambda counts: _one_published_less(counts, sources[0]))
    read_more(copy, sources[0], -1)
    copy.seal()


@case("forged: ledger, reason and caption")
def _(copy: Copy) -> None:
    copy.forge_rows(
        "select", copy.file("select", "ledger"), lambda rows: rows[0].update(reasons=["made_up"], caption="x")
    )
    copy.seal()


@case("forged: ledger of the rules, reason")
def _(copy: Copy) -> None:
    copy.forge_rows("filter", copy.file("filter", "ledger"), lambda rows: rows[0].update(reasons=["made_up"]))
    copy.seal()


def _twice(rows: list[Json]) -> None:
    """A row takes the place of another of its source."""
    pairs = combinations(range(len(rows)), 2)  # which rows a shard lost depends on its keys, and they on a port
    first, other = next(pair for pair in pairs if rows[pair[0]]["source"] == rows[pair[1]]["source"])
    rows[other] = rows[first]


@case("forged: ledger, a row twice instead of another")
def _(copy: Copy) -> None:
    copy.forge_rows("download", copy.file("download", "ledger"), _twice)
    copy.seal()


@case("forged: ledger of the rules, a row twice instead of another")
def _(copy: Copy) -> None:
    copy.forge_rows("filter", copy.file("filter", "ledger"), _twice)
    copy.seal()


@case("forged: ledger, a published pair")
def _(copy: Copy) -> None:
    published = copy.table(copy.file("publish", ".parquet")).to_pylist()

    def change(rows: list[Json]) -> None:
        row = next(row for row in published if row["source"] == rows[0]["source"])
        rows[0].update({name: row[name] for name in ("key", "url", "caption", "file", "row")})

    copy.forge_rows("select", copy.file("select", "ledger"), change)
    copy.seal()


def _without_last_rows(stage: str) -> Manipulation:
    def manipulate(copy: Copy) -> None:
        name = copy.file(stage, ".parquet")
        table = copy.table(name)
        copy.forge_table(stage, name, table.slice(0, table.num_rows - 5))
        copy.seal()

    return manipulate


CASES["forged: plan, five rows less"] = _without_last_rows("plan")
CASES["forged: download, five rows less"] = _without_last_rows("download")


@case("forged: a downloaded image that is published, all zeros")
def _(copy: Copy) -> None:
    _blank(copy, {row["key"] for row in copy.table(copy.file("publish", ".parquet", "000000")).to_pylist()}, True)


@case("forged: a downloaded image that is not published, all zeros")
def _(copy: Copy) -> None:
    indexes = [copy.file("publish", ".parquet", f"{number:06d}") for number in range(4)]
    _blank(copy, {key for name in indexes for key in copy.table(name)["key"].to_pylist()}, False)


def _blank(copy: Copy, published: set[str], wanted: bool) -> None:
    table, tar = (
        copy.table(copy.file("download", ".parquet", "000000")).to_pylist(),
        copy.file("download", ".tar", "000000"),
    )
    row = next(row for row in table if row["status"] == "ok" and (row["key"] in published) == wanted)
    content = bytearray(copy.read(tar))
    content[row["offset"] : row["offset"] + row["length"]] = bytes(row["length"])
    copy.write(tar, bytes(content))
    copy.rehash("download", "000000", tar)
    copy.seal()


def _column(stage: str, name: str, values: Callable[[int], pa.Array]) -> Manipulation:
    def manipulate(copy: Copy) -> None:
        file = copy.file(stage, ".parquet")
        table = copy.table(file)
        position = table.schema.get_field_index(name)
        copy.forge_table(stage, file, table.set_column(position, table.schema.field(position), values(table.num_rows)))
        copy.seal()

    return manipulate


CASES["forged: all scores"] = _column("score", "score", lambda rows: pa.array([0.1] * rows, pa.float32()))
CASES["forged: nothing is kept"] = _column("select", "keep", lambda rows: pa.array([False] * rows))


@case("tar behind a link")
def _(copy: Copy) -> None:
    name = copy.file("publish", ".tar")
    elsewhere = copy.folder.parent / f"{copy.folder.name}.tar"
    shutil.copy(copy.folder / name, elsewhere)
    copy.remove(name)
    (copy.folder / name).symlink_to(elsewhere)


@case("forged: a tar that the manifest no longer names")
def _(copy: Copy) -> None:
    name = copy.file("publish", ".tar")
    copy.edit_manifest("publish", "000001", lambda manifest: manifest["files"].pop(name))
    copy.remove(name)
    copy.seal()


@case("forged: the last published shard removed")
def _(copy: Copy) -> None:
    names = [copy.file("publish", ending, "000003") for ending in (".tar", ".parquet")]
    for name in (*names, copy.manifest("publish", "000003")):
        copy.remove(name)
    copy.seal()


@case("forged: a name outside of the run")
def _(copy: Copy) -> None:
    outside = copy.folder.parent / f"{copy.folder.name}.outside"
    outside.write_bytes(b"x")
    described = {"bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    copy.edit_manifest("plan", "000001", lambda manifest: manifest["files"].update({f"../{outside.name}": described}))


@case("forged: a name in another stage's folder")
def _(copy: Copy) -> None:
    name = copy.file("plan", ".parquet")
    copy.edit_manifest("select", "000001", lambda manifest: manifest["scratch"].append(name))
