"""Damage to files, and to what a run begins with."""

from __future__ import annotations

from functools import partial

from pipeline.inspect.catalog import write_catalog
from pipeline.stages.opening import read_run
from tests.pipeline.inspect.verify.cases import CASES, case
from tests.pipeline.inspect.verify.copies import Copy

TARS = (("publish", ".tar"), ("publish", ".parquet"), ("download", ".tar"), ("download", ".parquet"))
TABLES = (
    ("plan", ".parquet"),
    ("score", ".parquet"),
    ("select", ".parquet"),
    ("download", "ledger"),
    ("read", "ledger"),
)


def _flip(copy: Copy, stage: str, ending: str, position: int) -> None:
    copy.flip(copy.file(stage, ending), position)


def _delete(copy: Copy, stage: str, ending: str) -> None:
    copy.remove(copy.file(stage, ending))


def _cut(copy: Copy, stage: str, ending: str) -> None:
    copy.cut(copy.file(stage, ending), -100)


for _stage, _ending, _position, _what in (
    ("publish", ".tar", 5000, "image"),
    ("publish", ".tar", 10, "header"),
    ("publish", ".tar", -5, "end"),
    ("publish", ".parquet", 2000, "middle"),
    ("download", ".tar", -3, "end"),
    ("download", ".parquet", 300, "middle"),
    ("score", ".parquet", 300, "middle"),
    ("select", ".parquet", 300, "middle"),
    ("plan", ".parquet", 300, "middle"),
    ("filter", "ledger", 300, "middle"),
    ("read", "ledger", 300, "middle"),
):
    CASES[f"flip: {_stage} {_ending}, {_what}"] = partial(_flip, stage=_stage, ending=_ending, position=_position)
for _stage, _ending in (*TARS, *TABLES):
    CASES[f"delete: {_stage} {_ending}"] = partial(_delete, stage=_stage, ending=_ending)
    CASES[f"truncate: {_stage} {_ending}"] = partial(_cut, stage=_stage, ending=_ending)


# What a run begins with


@case("layout: broken")
def _(copy: Copy) -> None:
    copy.flip("layout.json", 0)


@case("layout: file name")
def _(copy: Copy) -> None:
    copy.flip("layout.json", copy.read("layout.json").index(b".parquet"))


@case("layout: digest of a list")
def _(copy: Copy) -> None:
    copy.edit("layout.json", lambda layout: layout["lists"].update(dict.fromkeys(layout["lists"], "0" * 64)))


@case("layout: first row")
def _(copy: Copy) -> None:
    copy.edit("layout.json", lambda layout: layout["splits"][1].update(first_row=12345))


@case("layout: a split less")
def _(copy: Copy) -> None:
    copy.edit("layout.json", lambda layout: layout["splits"].pop())


@case("layout: other buckets")
def _(copy: Copy) -> None:
    copy.edit("layout.json", lambda layout: layout.update(buckets=2))


@case("layout: deleted")
def _(copy: Copy) -> None:
    copy.remove("layout.json")


@case("layout: a list")
def _(copy: Copy) -> None:
    copy.write("layout.json", b"[]")


@case("run.json: broken")
def _(copy: Copy) -> None:
    copy.write("run.json", b"{")


@case("run.json: deleted")
def _(copy: Copy) -> None:
    copy.remove("run.json")


@case("recipe: comment")
def _(copy: Copy) -> None:
    copy.write("recipe.yaml", copy.read("recipe.yaml") + b"# x\n")


@case("recipe: value of speed")
def _(copy: Copy) -> None:
    copy.replace("recipe.yaml", "threads: ", "threads: 1")


@case("recipe: threshold")
def _(copy: Copy) -> None:
    copy.replace("recipe.yaml", "min_score: 0.", "min_score: 0.0")


@case("recipe: licence")
def _(copy: Copy) -> None:
    copy.replace("recipe.yaml", "license: ", "license: not-")


@case("recipe: no YAML")
def _(copy: Copy) -> None:
    copy.flip("recipe.yaml", copy.read("recipe.yaml").index(b"sources:"), 0x40)


@case("recipe: truncated")
def _(copy: Copy) -> None:
    copy.cut("recipe.yaml", 800)


@case("recipe: deleted")
def _(copy: Copy) -> None:
    copy.remove("recipe.yaml")


@case("recipe: not UTF-8")
def _(copy: Copy) -> None:
    copy.write("recipe.yaml", b"\xff" + copy.read("recipe.yaml"))


@case("times: garbage")
def _(copy: Copy) -> None:
    copy.write("times/download.jsonl", b'{"a":}\n{}\n\xff}\n')


@case("times: deleted")
def _(copy: Copy) -> None:
    copy.remove("times")


# Catalog and card


@case("catalog: text")
def _(copy: Copy) -> None:
    write_catalog(read_run(copy.folder))
    copy.flip("catalog.sql", 3000)


@case("catalog: table")
def _(copy: Copy) -> None:
    write_catalog(read_run(copy.folder))
    copy.flip("catalog/funnel.parquet", 100)


@case("catalog: table deleted")
def _(copy: Copy) -> None:
    write_catalog(read_run(copy.folder))
    copy.remove("catalog/funnel.parquet")


@case("card: changed")
def _(copy: Copy) -> None:
    copy.write("dataset/README.md", b"nothing")


@case("card: deleted")
def _(copy: Copy) -> None:
    copy.remove("dataset/README.md")
