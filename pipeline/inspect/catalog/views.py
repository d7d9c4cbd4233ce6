"""The catalog as SQL: what `catalog.sql` of a run says. Plain DuckDB; every path is relative to the variable `run`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from foundation.pairs import PAIR_SCHEMA
from pipeline.run.folder import FOLDERS, Step
from pipeline.run.ledger import LEDGER_SCHEMA
from pipeline.stages.dedup_images.tables import CLUSTERS
from pipeline.stages.download.writer import OUTCOME_SCHEMA
from pipeline.stages.eval_images.stage import SCHEMA as TEST_IMAGES

KEY = pa.field("key", pa.string(), False)
MODEL = [
    pa.field(name, pa.string()) for name in ("text_model", "text_revision", "image_model", "image_revision", "dtype")
]
HASHES = [pa.field(name, pa.string()) for name in ("image_hash", "mirror_hash", "pixels_sha256")]
SCORE = pa.field("score", pa.float32())
PLAN = pa.schema([*PAIR_SCHEMA, KEY])
SCORES = pa.schema([KEY, SCORE, *HASHES, *MODEL])
DECISIONS = pa.schema(
    [
        KEY,
        PAIR_SCHEMA.field("source"),
        SCORE,
        HASHES[0],
        pa.field("min_score", pa.float32()),
        pa.field("keep", pa.bool_()),
    ]
)
PUBLISHED_OF_IMAGE = (
    "width", "height", "original_width", "original_height", "original_bytes", "original_sha256", "content_type",
)  # fmt: skip
PUBLISHED = pa.schema(
    [
        *(field.with_name(f"declared_{field.name}") if field.name in ("width", "height") else field for field in PLAN),
        *(field for field in OUTCOME_SCHEMA if field.name in PUBLISHED_OF_IMAGE),
        SCORE,
        HASHES[0],
        *MODEL,
        *(pa.field(name, pa.string()) for name in ("image_sha256", "tar")),
        *(pa.field(name, pa.int64()) for name in ("offset", "length")),
    ]
)
LEDGER_FOLDERS: dict[Step, str] = {
    "read": "read",
    "judge": "plan",
    "download": "download",
    "score": "score",
    "select": "select",
}

HEADER = """\
-- {state}
-- The views of a zhclip run, for DuckDB 1.3 or later. In the run's folder:   duckdb -init catalog.sql
-- From elsewhere:   duckdb -cmd "set variable run = 'runs/first/'" -cmd ".read runs/first/catalog.sql"
-- zhclip writes this file after every step; `zhclip sql RUN` uses it, and brings it up to date first.
set variable run = coalesce(getvariable('run'), '');
set variable catalog = coalesce(getvariable('catalog'), getvariable('run') || 'catalog/');

-- Files of shards [first, end) of a folder; a shard that no manifest names is not among them.
create or replace macro run_files(folder, spans) as flatten(list_transform(spans, lambda span:
    list_transform(range(span[1], span[2]), lambda shard: format('{{}}{{}}/{{:06d}}.parquet', getvariable('run'), folder, shard))));

-- The host that an image is fetched from; null where the url is not of the web.
-- Plain urls are cut by splits; the expression, which takes three times as long, reads the others alone.
create or replace macro domain(url) as case
    when contains(split_part(url, '/', 3), '@') or contains(split_part(url, '/', 3), '[')
      or contains(split_part(url, '/', 3), '?') or contains(split_part(url, '/', 3), '#')
    then nullif(lower(regexp_extract(url, '(?i)^https?://(?:[^/?#@]*@)?(\\[[^\\]]+\\]|[^/?#:\\[]+)', 1)), '')
    when lower(left(url, 7)) = 'http://' or lower(left(url, 8)) = 'https://'
    then nullif(lower(split_part(split_part(url, '/', 3), ':', 1)), '') end;
"""
COMMENTS = {
    "plan": "pairs that the rules kept, with everything the metadata says: one row a pair",
    "downloads": "what became of each planned pair's image: status ok or failed, reason, sizes; offset and length in raw/SHARD.tar",
    "scores": "similarity of each decoded pair, fingerprints of its image, and the model that gave the score",
    "decisions": "of each scored pair: its threshold (min_score) and whether it is kept",
    "pairs": "published pairs: everything known of them, with offset and length of the image in dataset/TAR",
    "ledger": "every row that was not handed on; out_of_scope rows (other languages) and unreadable blocks stand for `rows` rows",
    "rejected": "one row a pair that was rejected or failed, with all its reasons",
    "reasons": "one row a pair and reason; `only_reason` where the pair has no other",
    "clusters": "images that are one picture: cluster (key of the one that stays), key, source, kind, distance in bits of 192",
    "test_images": "fingerprints of the test sets' images, whole and cropped; shard: position of the set in the recipe",
    "funnel": "rows of each source into and out of each stage: rows_in = out_of_scope + failed + rejected + rows_out",
    "shards": "one row per step and committed shard: rows, bytes, when and where it was done, by which versions",
    "steps": "shards committed of each step, and how many are expected; null while the steps before it are not complete",
}


@dataclass(frozen=True)
class FileView:
    """A view over the Parquet files of some steps."""

    name: str
    step: Step
    folder: str
    schema: pa.Schema  # of the view while there is no file


FILE_VIEWS = (
    FileView("plan", "plan", FOLDERS["plan"], PLAN),
    FileView("downloads", "download", FOLDERS["download"], OUTCOME_SCHEMA),
    FileView("scores", "score", FOLDERS["score"], SCORES),
    FileView("decisions", "select", FOLDERS["select"], DECISIONS),
    FileView("pairs", "publish", FOLDERS["publish"], PUBLISHED),
    FileView("test_images", "test_images", FOLDERS["test_images"], TEST_IMAGES),
)
TABLES = ("funnel", "shards", "steps")  # what `pipeline.inspect.catalog.write` stores for them
VIEWS = tuple(COMMENTS)


def catalog_sql(state: str, shards: dict[Step, set[str]]) -> str:
    """The text of `catalog.sql`.

    Args:
        state: what the first line says, to tell later whether the run has moved on.
        shards: names of the committed shards of every step.
    """
    return "\n".join([HEADER.format(state=state), *_views(shards)])


def _views(shards: dict[Step, set[str]]) -> Iterator[str]:
    for view in FILE_VIEWS:
        found = _files(view.folder, shards.get(view.step, ()))
        yield _view(view.name, _select(found, view.schema))
    ledgers = [_files(f"ledger/{folder}", shards.get(step, ())) for step, folder in LEDGER_FOLDERS.items()]
    found = " || ".join(one for one in ledgers if one)
    yield _view("ledger", _select(found, LEDGER_SCHEMA))
    yield _view("rejected", "from ledger where outcome <> 'out_of_scope'")
    yield _view(
        "reasons",
        "select unnest(reasons) as reason, len(reasons) = 1 as only_reason, * exclude (reasons) from rejected",
    )
    clusters = (
        f"[getvariable('run') || '{FOLDERS['compare']}/000000.clusters.parquet']" if shards.get("compare") else ""
    )
    yield _view("clusters", _select(clusters, CLUSTERS, shard=False))
    for name in TABLES:
        yield _view(name, f"from read_parquet(getvariable('catalog') || '{name}.parquet')")


def _view(name: str, query: str) -> str:
    comment = COMMENTS[name].replace("'", "''")
    return f"create or replace view {name} as {query};\ncomment on view {name} is '{comment}';\n"


def _files(folder: str, shards: Iterable[str]) -> str:
    found = spans(sorted(int(shard) for shard in shards))
    return f"run_files('{folder}', {[list(span) for span in found]})" if found else ""


def _select(files: str, schema: pa.Schema, shard: bool = True) -> str:
    if files:
        name = "parse_filename(filename, true) as shard, " if shard else ""
        return f"select {name}* from read_parquet({files})"
    columns = [
        *(["null::varchar as shard"] if shard else []),
        *(f'null::{_type(f.type)} as "{f.name}"' for f in schema),
    ]
    return f"select {', '.join(columns)} where false"


def spans(numbers: list[int]) -> list[tuple[int, int]]:
    """Ascending numbers as ranges [first, end)."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return found


def _type(found: pa.DataType) -> str:
    if pa.types.is_list(found):
        return f"{_type(found.value_type)}[]"
    names = {
        "string": "varchar",
        "int16": "smallint",
        "int32": "integer",
        "int64": "bigint",
        "float": "float",
        "bool": "boolean",
    }
    return names[str(found)]
