"""Shards that are no plan shards and nothing published: splits, buckets, evaluation sets, what is decided over all pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.inspect.verify.context import Context, Opened, listed
from pipeline.inspect.verify.ledger import check_ledger, schema_fault
from pipeline.inspect.verify.reading import file_of
from pipeline.run.manifest import Manifest
from pipeline.run.names import LEDGER
from pipeline.stages.dedup_images.tables import CLUSTERS, CLUSTERS_ENDING, DECISIONS, DECISIONS_ENDING
from pipeline.stages.eval_images.stage import SCHEMA as EVAL_IMAGES
from pipeline.stages.translate.stage import SCHEMA as TRANSLATED

Tables = Mapping[str, pa.Table]


def check_shard(context: Context, stage: str, shard: str) -> list[str]:
    """Every file is hashed, a ledger is checked, and the counts of stages that are known here are made anew."""
    manifest = context.run.manifest(stage, shard)
    assert manifest is not None  # the caller looked
    opened = Opened(context)
    tables = opened.tables(manifest)
    for name in manifest.files:
        if name.endswith(".tar"):
            opened.hash_file(manifest, name)
    problems = opened.problems
    if LEDGER in tables:
        problems += check_ledger(context, manifest, file_of(context.run, manifest, LEDGER) or "", tables[LEDGER])
    endings = {ending for ending in SCHEMAS.get(stage, {}) if ending in tables}
    for ending in sorted(endings):
        if (fault := schema_fault(tables[ending].schema, SCHEMAS[stage][ending])) is not None:
            return [*problems, f"{file_of(context.run, manifest, ending)}: {fault}"]
    if stage in COUNTS and endings == set(SCHEMAS[stage]):
        problems += COUNTS[stage](context, manifest, tables)
    return problems


def _compare(context: Context, manifest: Manifest, counts: Mapping[str, object]) -> Iterator[str]:
    for name, number in counts.items():
        if manifest.counts.get(name) != number:
            yield f"{context.name_of(manifest)}: `{name}` is {manifest.counts.get(name)!r}; its files give {number!r}"


def _translated(context: Context, manifest: Manifest, tables: Tables) -> Iterator[str]:
    table, rows = tables[".parquet"], tables[".parquet"].num_rows
    source = context.layout.splits[int(manifest.shard)].source if context.layout else manifest.counts.get("source")
    texts = len(pc.list_flatten(table["chinese"]))
    yield from _compare(context, manifest, {"source": source, "in": rows, "out": rows, "texts": texts})


def _eval_images(context: Context, manifest: Manifest, tables: Tables) -> Iterator[str]:
    table = tables[".parquet"]
    name = list(context.run.recipe.images.test_sets)[int(manifest.shard)]
    images, lost = len(pc.unique(table["image"])), table.num_rows - table["error"].null_count
    yield from _compare(context, manifest, {"set": name, "in": images, "undecodable": lost, "out": images - lost})


def _dedup_images(context: Context, manifest: Manifest, tables: Tables) -> Iterator[str]:
    """Decisions against the counts, and clusters against decisions."""
    decisions, clusters = tables[DECISIONS_ENDING], tables[CLUSTERS_ENDING]
    keys, name = decisions["key"].combine_chunks(), file_of(context.run, manifest, DECISIONS_ENDING)
    if len(keys) > 1 and not pc.all(pc.less(keys[:-1], keys[1:])).as_py():
        yield f"{name}: its pairs are not in key order, or a pair stands there twice"
    kinds = Counter(
        kind for reasons in decisions["reasons"].to_pylist() for kind in {_kind(reason) for reason in reasons}
    )
    into = manifest.counts["in"]
    counts = {each: kinds[each] for each in ("test_images", "duplicates", "over_cap")} | {"out": into - len(keys)}
    yield from _compare(context, manifest, counts)
    reaching = _reaching(context)
    if reaching is not None and reaching != into:
        yield f"{context.name_of(manifest)}: `in` is {into:,}; the stages before it hand on {reaching:,} pairs"
    copies = {
        key
        for key, reasons in zip(keys.to_pylist(), decisions["reasons"].to_pylist(), strict=True)
        if "duplicates" in {_kind(reason) for reason in reasons}
    }
    of_clusters = clusters.filter(pc.not_equal(clusters["kind"], "winner"))["key"].to_pylist()
    unlike = sorted(copies.symmetric_difference(of_clusters))
    clusters_name = file_of(context.run, manifest, CLUSTERS_ENDING)
    yield from listed(
        unlike, lambda keys: f"{clusters_name}: pair {keys} is a duplicate here or in the decisions, not in both"
    )


def _kind(reason: str) -> str:
    """The count under which a reason of dedup_images falls."""
    if reason.startswith("test_image_"):
        return "test_images"
    return "over_cap" if reason == "over_source_cap" else "duplicates"


def _reaching(context: Context) -> int | None:
    """Pairs that the last stage on plan shards before dedup_images hands on; None where it is not complete."""
    last = context.run.between("plan", "dedup_images")[-1]
    plan, manifests = context.run.manifests("plan"), context.run.manifests(last)
    return sum(manifest.counts["out"] for manifest in manifests) if len(manifests) == len(plan) else None


SCHEMAS: Mapping[str, Mapping[str, pa.Schema]] = {
    "translate": {".parquet": TRANSLATED},
    "eval_images": {".parquet": EVAL_IMAGES},
    "dedup_images": {DECISIONS_ENDING: DECISIONS, CLUSTERS_ENDING: CLUSTERS},
}
COUNTS: Mapping[str, Callable[[Context, Manifest, Tables], Iterator[str]]] = {
    "translate": _translated,
    "eval_images": _eval_images,
    "dedup_images": _dedup_images,
}
