"""The catalog as SQL: what `catalog.sql` of a run says. Plain DuckDB; every path is relative to the variable `run`."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pyarrow as pa

from foundation.sql import literal
from pipeline.run.ledger import LEDGER_SCHEMA
from pipeline.run.names import LEDGER
from pipeline.stages.registry import LEDGER_STAGES, STAGES

HEADER = """\
-- {state}
-- The views of a zhclip run, for DuckDB 1.3 or later. In the run's folder:   duckdb -init catalog.sql
-- From elsewhere:   duckdb -cmd "set variable run = 'runs/first/'" -cmd ".read runs/first/catalog.sql"
-- zhclip writes this file after every stage; `zhclip sql RUN` uses it, and brings it up to date first.
set variable run = coalesce(getvariable('run'), '');
set variable catalog = coalesce(getvariable('catalog'), getvariable('run') || 'catalog/');

-- The host that an image is fetched from; null where the url is not of the web.
-- Plain urls are cut by splits; the expression, which takes three times as long, reads the others alone.
create or replace macro domain(url) as case
    when contains(split_part(url, '/', 3), '@') or contains(split_part(url, '/', 3), '[')
      or contains(split_part(url, '/', 3), '?') or contains(split_part(url, '/', 3), '#')
    then nullif(lower(regexp_extract(url, '(?i)^https?://(?:[^/?#@]*@)?(\\[[^\\]]+\\]|[^/?#:\\[]+)', 1)), '')
    when lower(left(url, 7)) = 'http://' or lower(left(url, 8)) = 'https://'
    then nullif(lower(split_part(split_part(url, '/', 3), ':', 1)), '') end;
"""
FILES_TABLE = "read_parquet(getvariable('catalog') || 'files.parquet', file_row_number = true)"
COMMENTS = {
    **{view.name: view.description for stage in STAGES.values() for view in stage.views},
    "ledger": "every row that was not handed on; out_of_scope rows (other languages) and unreadable blocks stand for `rows` rows",
    "rejected": "one row a pair that was rejected or failed, with all its reasons",
    "reasons": "one row a pair and reason; `only_reason` where the pair has no other",
    "files": "every file that a manifest names, relative to the run, with its size and SHA-256",
    "funnel": "rows of each source into and out of each stage: rows_in = out_of_scope + failed + rejected + rows_out",
    "outcomes": "where every row went: one row per source and outcome, with the stage that decided it",
    "shards": "one row per stage and committed shard: rows, bytes, when and where it was done, by which versions",
    "stages": "shards committed of each stage, and how many are expected; null while the stages before it are not complete",
}
TABLES = ("files", "funnel", "outcomes", "shards", "stages")  # what `pipeline.inspect.catalog.write` stores for them
VIEWS = tuple(COMMENTS)


def catalog_sql(state: str, stages: Collection[str]) -> str:
    """The text of `catalog.sql`.

    Args:
        state: what the first line says, to tell later whether the run has moved on.
        stages: those of which the table `files` has shards.
    """
    return "\n".join([HEADER.format(state=state), *_views(stages)])


def _views(stages: Collection[str]) -> Iterator[str]:
    for stage in STAGES.values():
        for view in stage.views:
            folder = stage.published or stage.folder or stage.name
            ending = r"regexp_extract(name, '[^/.]*(\..*)$', 1)"
            condition = f"stage = '{stage.name}' and name like '{folder}/%' and {ending} = '{view.ending}'"
            yield from _over_files(view.name, condition, view.schema, view.with_shard, stage.name in stages)
    there = any(stage in stages for stage in LEDGER_STAGES)
    yield from _over_files("ledger", f"name like '{LEDGER}/%'", LEDGER_SCHEMA, True, there)
    yield _view("rejected", "from ledger where outcome <> 'out_of_scope'")
    yield _view(
        "reasons",
        "select unnest(reasons) as reason, len(reasons) = 1 as only_reason, * exclude (reasons) from rejected",
    )
    for name in TABLES:
        yield _view(name, f"from read_parquet(getvariable('catalog') || '{name}.parquet')")


def _view(name: str, query: str) -> str:
    return f"create or replace view {name} as {query};\ncomment on view {name} is {literal(COMMENTS[name])};\n"


def _over_files(name: str, condition: str, schema: pa.Schema, shard: bool, there: bool) -> Iterator[str]:
    """A view over the files of the table `files` for which a condition holds; without rows where there is none."""
    if there:
        paths = f"list(getvariable('run') || name order by file_row_number) from {FILES_TABLE} where {condition}"
        yield f"set variable files_{name} = (select {paths});"
        column = "split_part(parse_filename(filename, true), '-', 1) as shard, " if shard else ""
        yield _view(name, f"select {column}* from read_parquet(getvariable('files_{name}'))")
    else:
        yield _view(name, _no_rows(schema, shard))


def _no_rows(schema: pa.Schema, shard: bool) -> str:
    columns = [
        *(["null::varchar as shard"] if shard else []),
        *(f'null::{_type(f.type)} as "{f.name}"' for f in schema),
    ]
    return f"select {', '.join(columns)} where false"


def _type(column: pa.DataType) -> str:
    if pa.types.is_list(column):
        return f"{_type(column.value_type)}[]"
    names = {
        "string": "varchar",
        "int16": "smallint",
        "int32": "integer",
        "int64": "bigint",
        "float": "float",
        "bool": "boolean",
    }
    return names[str(column)]
