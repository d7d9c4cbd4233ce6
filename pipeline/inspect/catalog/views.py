"""The catalog as SQL: what `catalog.sql` of a run says. Plain DuckDB; every path is relative to the variable `run`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

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

-- Files of shards [first, end) of a folder; a shard that no manifest names is not among them.
create or replace macro run_files(folder, ending, spans) as flatten(list_transform(spans, lambda span:
    list_transform(range(span[1], span[2]), lambda shard:
        format('{{}}{{}}/{{:06d}}{{}}', getvariable('run'), folder, shard, ending))));

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
    **{view.name: view.description for stage in STAGES.values() for view in stage.views},
    "ledger": "every row that was not handed on; out_of_scope rows (other languages) and unreadable blocks stand for `rows` rows",
    "rejected": "one row a pair that was rejected or failed, with all its reasons",
    "reasons": "one row a pair and reason; `only_reason` where the pair has no other",
    "funnel": "rows of each source into and out of each stage: rows_in = out_of_scope + failed + rejected + rows_out",
    "outcomes": "where every row went: one row per source and outcome, with the stage that decided it",
    "shards": "one row per stage and committed shard: rows, bytes, when and where it was done, by which versions",
    "stages": "shards committed of each stage, and how many are expected; null while the stages before it are not complete",
}
TABLES = ("funnel", "outcomes", "shards", "stages")  # what `pipeline.inspect.catalog.write` stores for them
VIEWS = tuple(COMMENTS)


def catalog_sql(state: str, shards: Mapping[str, Collection[str]]) -> str:
    """The text of `catalog.sql`.

    Args:
        state: what the first line says, to tell later whether the run has moved on.
        shards: names of the committed shards of every stage.
    """
    return "\n".join([HEADER.format(state=state), *_views(shards)])


def _views(shards: Mapping[str, Collection[str]]) -> Iterator[str]:
    for stage in STAGES.values():
        for view in stage.views:
            files = _files(stage.folder or stage.name, shards.get(stage.name, ()), view.ending)
            yield _view(view.name, _select(files, view.schema, view.with_shard))
    ledgers = [_files(f"{LEDGER}/{stage}", shards.get(stage, ()), ".parquet") for stage in LEDGER_STAGES]
    yield _view("ledger", _select(" || ".join(files for files in ledgers if files), LEDGER_SCHEMA))
    yield _view("rejected", "from ledger where outcome <> 'out_of_scope'")
    yield _view(
        "reasons",
        "select unnest(reasons) as reason, len(reasons) = 1 as only_reason, * exclude (reasons) from rejected",
    )
    for name in TABLES:
        yield _view(name, f"from read_parquet(getvariable('catalog') || '{name}.parquet')")


def _view(name: str, query: str) -> str:
    return f"create or replace view {name} as {query};\ncomment on view {name} is {literal(COMMENTS[name])};\n"


def _files(folder: str, shards: Iterable[str], ending: str) -> str:
    ranges = spans(sorted(int(shard) for shard in shards))
    return f"run_files('{folder}', '{ending}', {[list(span) for span in ranges]})" if ranges else ""


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
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number:
            ranges[-1] = (ranges[-1][0], number + 1)
        else:
            ranges.append((number, number + 1))
    return ranges


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
