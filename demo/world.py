"""Builds the demo's world: metadata in the real formats, the images behind it, and the truth about every row.

Two styles of drawings that the demo's scorer was not trained on become good pairs, pairs with planted faults (demo.faults)
and pairs with another picture's caption. Everything follows from the seed and the base url.
"""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from demo.drawings import Drawing, load_drawings
from demo.faults import ALL_KINDS, FREQUENT, Kind
from demo.metadata import Row, spoil_row_group, write_joined, write_raw, write_wukong
from demo.pairs import Pairs
from demo.server import DEFAULT_PORT
from demo.site import Site

WORLD_STYLES = ("noto", "fluent-emoji-flat")
LEFT_OUT = {"1f51e"}  # named 18禁, "not under 18": the blacklist is right to take it for an adult caption
Size = Literal["demo", "test"]

JOINED = ("laion_joined_part-00000.snappy.parquet", "laion_joined_part-00001.snappy.parquet")
RAW = "laion_raw_part-00002.snappy.parquet"
CORRUPT = "laion_raw_part-00003.snappy.parquet"
WUKONG = ("wukong_100m_0.csv", "wukong_100m_1.csv")
SHARES = {JOINED[0]: 0.25, JOINED[1]: 0.25, RAW: 0.15, WUKONG[0]: 0.2, WUKONG[1]: 0.15}

TRUTH_SCHEMA = pa.schema(
    [
        ("file", pa.string()),  # base name of the metadata file
        ("row", pa.int64()),  # position in that file, from 0
        ("url", pa.string()),
        ("caption", pa.string()),
        ("fault", pa.string()),  # name of a kind in demo.faults; "clean" where nothing is wrong
        ("stage", pa.string()),  # whose ledger is expected to have it; "none" for clean pairs
        ("reasons", pa.list_(pa.string())),  # codes of which at least one is expected in the ledger
        ("variant", pa.string()),  # form of the image, or what is special about the link
        ("concept", pa.string()),  # of the image, not of the caption
        ("style", pa.string()),
        ("licence", pa.string()),  # of the image, SPDX
    ]
)


@dataclass(frozen=True)
class World:
    """Where everything lies."""

    folder: Path
    base_url: str
    laion: str  # glob of the LAION files, joined and raw
    wukong: str  # glob of the Wukong files
    removal_list: Path
    web: Path  # folder for demo.server
    truth: Path  # Parquet of TRUTH_SCHEMA
    rows: int  # in all files that can be read, malformed lines included
    planted: dict[str, int]  # rows of each kind

    @property
    def allow_host(self) -> str:
        """The server as `host:port`, which a recipe must allow, because it is on loopback."""
        return self.base_url.removeprefix("http://")


def build_world(
    folder: Path,
    base_url: str = f"http://127.0.0.1:{DEFAULT_PORT}",
    seed: int = 0,
    size: Size = "demo",
    cache: Path | None = None,
) -> World:
    """Writes a world into `folder`, replacing what an earlier one left there.

    "demo" has about 3,500 rows, "test" about 450. Raises RuntimeError where the drawings cannot be fetched.
    """
    for old in ("metadata", "web"):
        shutil.rmtree(folder / old, ignore_errors=True)
    metadata, web = folder / "metadata", folder / "web"
    (metadata / "laion").mkdir(parents=True)
    (metadata / "wukong").mkdir()
    site = Site(web, base_url)
    pairs = Pairs(load_world_drawings(cache), site, random.Random(seed), counts(size))
    files = _into_files(pairs.all_rows(), random.Random(seed + 1))
    _write(metadata, files, random.Random(seed + 2))
    removal_list = metadata / "removed_links.txt"
    removed = [row.url for rows in files.values() for row in rows if row.fault == "removed link"]
    removal_list.write_text(
        "# links that must not be used\n" + "".join(f"{url}\n" for url in removed), encoding="utf-8"
    )
    site.write()
    planted = Counter(row.fault for rows in files.values() for row in rows)
    pq.write_table(_truth(files), folder / "truth.parquet")
    world = World(
        folder=folder,
        base_url=base_url,
        laion=str(metadata / "laion" / "*.parquet"),
        wukong=str(metadata / "wukong" / "*.csv"),
        removal_list=removal_list,
        web=web,
        truth=folder / "truth.parquet",
        rows=sum(len(rows) for name, rows in files.items() if name != CORRUPT),
        planted=dict(planted),
    )
    (folder / "world.json").write_text(json.dumps(asdict(world), default=str, indent=2), encoding="utf-8")
    return world


def load_world_drawings(cache: Path | None = None) -> list[Drawing]:
    """The drawings of WORLD_STYLES, in a fixed order, but for those whose very name is a fault."""
    return [drawing for drawing in load_drawings(WORLD_STYLES, cache) if drawing.hexcode not in LEFT_OUT]


def counts(size: Size) -> dict[str, int]:
    """How many rows of each kind a world has."""
    return {kind.name: _scaled(kind, size) for kind in ALL_KINDS}


def _scaled(kind: Kind, size: Size) -> int:
    if size == "demo" or kind.count == 1:
        return kind.count
    return FREQUENT if kind.name == "frequent" else max(2, round(kind.count / 10))


def _into_files(rows: Sequence[Row], rng: random.Random) -> dict[str, list[Row]]:
    """Deals rows out to files. What has to be in a certain file goes there; the corrupt row group stays together."""
    files: dict[str, list[Row]] = {name: [] for name in (*JOINED, RAW, CORRUPT, *WUKONG)}
    groups = [row for row in rows if row.fault == "corrupt row group"]
    for row in rows:
        if row.fault != "corrupt row group":
            files[_file_of(row, rng)].append(row)
    for name in files:
        rng.shuffle(files[name])
    files[JOINED[1]] = groups + files[JOINED[1]]
    for name, content in files.items():
        for position, row in enumerate(content):
            row.file, row.position = name, position
    return files


def _file_of(row: Row, rng: random.Random) -> str:
    fixed = {
        "corrupt file": (CORRUPT,),
        "malformed line": WUKONG,
        "punsafe": JOINED,
        "removed link": (*JOINED, RAW),  # the list is LAION's
        "other language": (*JOINED, RAW),
        "frequent": (WUKONG[0],),  # frequency counts within a source
        "duplicate pair": (WUKONG[1],),  # behind what it repeats
        "duplicate image url": (WUKONG[1],),
        "too long": JOINED,
    }
    if row.variant == "repeated later":
        return rng.choice(JOINED)
    if row.fault in fixed:
        return rng.choice(fixed[row.fault])
    return rng.choices(list(SHARES), list(SHARES.values()))[0]


def _write(metadata: Path, files: dict[str, list[Row]], rng: random.Random) -> None:
    laion, wukong = metadata / "laion", metadata / "wukong"
    spoilt = sum(row.fault == "corrupt row group" for row in files[JOINED[1]])
    write_joined(laion / JOINED[0], files[JOINED[0]], rng)
    write_joined(laion / JOINED[1], files[JOINED[1]], rng, groups=[spoilt])
    spoil_row_group(laion / JOINED[1], 0)
    write_raw(laion / RAW, files[RAW], rng)
    write_raw(laion / CORRUPT, files[CORRUPT], rng)
    content = (laion / CORRUPT).read_bytes()
    (laion / CORRUPT).write_bytes(content[: len(content) // 2])  # an unfinished copy: the footer is gone
    for name in WUKONG:
        bad = frozenset(row.position for row in files[name] if row.fault == "malformed line")
        write_wukong(wukong / name, files[name], bad)


def _truth(files: dict[str, list[Row]]) -> pa.Table:
    kinds = {kind.name: kind for kind in ALL_KINDS}
    same = ("file", "url", "caption", "fault", "variant", "concept", "style", "licence")
    rows = [
        {name: getattr(row, name) for name in same}
        | {"row": row.position, "stage": kinds[row.fault].stage, "reasons": list(kinds[row.fault].reasons)}
        for content in files.values()
        for row in content
    ]
    return pa.Table.from_pylist(rows, TRUTH_SCHEMA)
