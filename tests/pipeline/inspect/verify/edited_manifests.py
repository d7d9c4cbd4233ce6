"""Manifests that are damaged, or say something else than the files."""

from __future__ import annotations

from collections.abc import Callable

from tests.pipeline.inspect.verify.cases import CASES, STAGES, Manipulation, case
from tests.pipeline.inspect.verify.copies import Copy, Json

# Manifests


def _of_manifest(stage: str, change: Callable[[Json], object]) -> Manipulation:
    return lambda copy: copy.edit_manifest(stage, "000000", change)


def _other_versions(manifest: Json) -> None:
    manifest["versions"].update(zhclip="9.9", torch="0")


def _one_more_out(manifest: Json) -> None:
    manifest["counts"]["out"] += 1


for _stage in STAGES:
    CASES |= {
        f"manifest of {_stage}: brace": lambda copy, stage=_stage: copy.flip(copy.manifest(stage, "000000"), 0),  # type: ignore[misc]
        f"manifest of {_stage}: truncated": lambda copy, stage=_stage: copy.cut(copy.manifest(stage, "000000"), 50),  # type: ignore[misc]
        f"manifest of {_stage}: empty": lambda copy, stage=_stage: copy.write(copy.manifest(stage, "000000"), b""),  # type: ignore[misc]
        f"manifest of {_stage}: deleted": lambda copy, stage=_stage: copy.remove(copy.manifest(stage, "000000")),  # type: ignore[misc]
        f"manifest of {_stage}: versions": _of_manifest(_stage, _other_versions),
        f"manifest of {_stage}: shard": _of_manifest(_stage, lambda manifest: manifest.update(shard="000099")),
        f"manifest of {_stage}: unknown name": _of_manifest(_stage, lambda manifest: manifest.update(extra=1)),
        f"manifest of {_stage}: no files": _of_manifest(_stage, lambda manifest: manifest.update(files={})),
        f"manifest of {_stage}: one more out": _of_manifest(_stage, _one_more_out),
        f"manifest of {_stage}: other kinds": _of_manifest(
            _stage, lambda manifest: manifest.update(counts=[], files=3)
        ),
    }


@case("read: rows in and out, in all and of the source")
def _(copy: Copy) -> None:
    def more(counts: Json) -> None:
        for rows in (counts, *counts["sources"].values()):
            rows.update({"in": rows["in"] + 5, "out": rows["out"] + 5})

    copy.edit_counts("read", "000000", more)


@case("filter: in of a source alone")
def _(copy: Copy) -> None:
    copy.edit_counts("filter", "000000", lambda counts: counts["sources"]["laion"].update({"in": 1, "out": 1}))


@case("filter: ranges, one less")
def _(copy: Copy) -> None:
    copy.edit_counts("filter", "000000", lambda counts: counts["ranges"].__setitem__(0, counts["ranges"][0] - 1))


@case("filter: ranges, many more")
def _(copy: Copy) -> None:
    copy.edit_counts("filter", "000000", lambda counts: counts["ranges"].__setitem__(0, counts["ranges"][0] + 4000))


@case("filter: ranges, shifted")
def _(copy: Copy) -> None:
    def shift(counts: Json) -> None:
        counts["ranges"][0] -= 1
        counts["ranges"][1] += 1

    copy.edit_counts("filter", "000000", shift)


@case("download: in and out")
def _(copy: Copy) -> None:
    copy.edit_counts("download", "000000", lambda counts: counts.update({"in": 1, "out": 1, "failed": 0}))


@case("download: reasons")
def _(copy: Copy) -> None:
    copy.edit_counts("download", "000000", lambda counts: counts.update(reasons={"timeout": 9999}))


@case("download: reasons that add up")
def _(copy: Copy) -> None:
    copy.edit_counts("download", "000000", lambda counts: counts.update(reasons={"timeout": counts["failed"]}))
    copy.seal()


@case("download: content")
def _(copy: Copy) -> None:
    copy.edit_counts("download", "000000", lambda counts: counts.update(content="0" * 64))
    copy.seal()


@case("score: in and out")
def _(copy: Copy) -> None:
    copy.edit_counts("score", "000000", lambda counts: counts.update({"in": 1, "out": 1}))


@case("select: out and sources")
def _(copy: Copy) -> None:
    def change(counts: Json) -> None:
        for rows in (counts, *counts["sources"].values()):
            rows.update({"in": 1, "out": 1})

    copy.edit_counts("select", "000000", change)


def _first_read(copy: Copy, source: str) -> str:
    names = sorted(path.stem for path in (copy.folder / "read").glob("*.json"))
    return next(name for name in names if source in copy.json(copy.manifest("read", name))["counts"]["sources"])


def read_more(copy: Copy, source: str, rows: int) -> None:
    def change(counts: Json) -> None:
        for of in (counts, counts["sources"][source]):
            of.update({"in": of["in"] + rows, "out": of["out"] + rows})

    copy.edit_counts("read", _first_read(copy, source), change)


@case("publish: a shift between sources, balanced in read")
def _(copy: Copy) -> None:
    def shift(counts: Json) -> None:
        for source, rows in (("laion", 3), ("wukong", -3)):
            for name in ("in", "out"):
                counts["sources"][source][name] += rows

    copy.edit_counts("publish", "000000", shift)
    read_more(copy, "laion", 3)
    read_more(copy, "wukong", -3)
    copy.seal()


# manifest.json of the data set


@case("data set: pairs, digest, name, versions")
def _(copy: Copy) -> None:
    change = {"pairs": 1, "recipe_digest": "0" * 16, "name": "x", "versions": {}}
    copy.edit("dataset/manifest.json", lambda manifest: manifest.update(change))


@case("data set: versions")
def _(copy: Copy) -> None:
    copy.edit("dataset/manifest.json", lambda manifest: manifest["versions"].update(polars="0"))


@case("data set: root")
def _(copy: Copy) -> None:
    copy.edit("dataset/manifest.json", lambda manifest: manifest.update(root="0" * 64))


@case("data set: counts of a shard")
def _(copy: Copy) -> None:
    copy.edit("dataset/manifest.json", lambda manifest: manifest["shards"][0].update(pairs=1, sources={"x": 1}))


@case("data set: deleted")
def _(copy: Copy) -> None:
    copy.remove("dataset/manifest.json")


@case("data set: truncated")
def _(copy: Copy) -> None:
    copy.cut("dataset/manifest.json", 100)


@case("data set: a shard twice")
def _(copy: Copy) -> None:
    copy.edit("dataset/manifest.json", lambda manifest: manifest["shards"].append(manifest["shards"][0]))
