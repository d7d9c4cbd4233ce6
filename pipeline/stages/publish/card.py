"""What makes a published folder stand alone: manifest.json, and a README.md in the Hugging Face data card form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from foundation.text import counted
from pipeline.run.counts import stage_counts
from pipeline.run.folder import Run
from pipeline.run.manifest import recorded_versions
from pipeline.run.names import CARD, DATASET, DATASET_MANIFEST
from pipeline.run.outcomes import FAILED, REJECTED
from pipeline.sources.base import Source
from pipeline.stages.base import without
from pipeline.stages.dedup_images.stage import dedup_inputs
from pipeline.stages.layout import read_inputs
from pipeline.stages.publish.root import part_hashes, root_of


def write(run: Run) -> None:
    """Writes both files; they hold no time and no path of this machine."""
    manifest, card = described(run, recorded_versions())
    run.storage.put(f"{DATASET}/{CARD}", card.encode())
    run.storage.put(
        f"{DATASET}/{DATASET_MANIFEST}", (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode()
    )


def described(run: Run, versions: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """The content of `manifest.json`, with the root of the run, and the text of the data card."""
    manifest = dataset_manifest(run, versions)
    card = data_card(run, manifest)
    return sealed(run, manifest, card), card


def sealed(run: Run, manifest: Mapping[str, Any], card: str) -> dict[str, Any]:
    """The content of `manifest.json` with the root of the run, and what that is made of, in front of the shards."""
    hashes = part_hashes(run, manifest["versions"], card)
    return {**without(manifest, {"shards"}), "root": root_of(hashes), "hashes": hashes, "shards": manifest["shards"]}


def stored_root(run: Run) -> str | None:
    """The root that `manifest.json` of the dataset names; None where nothing is published yet."""
    try:
        content = json.loads(run.storage.read(f"{DATASET}/{DATASET_MANIFEST}"))
        return str(content["root"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def dataset_manifest(run: Run, versions: Mapping[str, str]) -> dict[str, Any]:
    """All shards with their files and counts, the recipe digest, and the versions that published them."""
    shards = []
    for manifest in run.manifests("publish"):
        files = {name.removeprefix(f"{DATASET}/"): description for name, description in manifest.files.items()}
        sources = {name: counts["out"] for name, counts in manifest.counts["sources"].items()}
        shards.append({"shard": manifest.shard, "pairs": manifest.counts["out"], "sources": sources, "files": files})
    return {
        "name": run.recipe.name,
        "format": "webdataset: KEY.jpg, KEY.json, KEY.txt; index: SHARD.parquet with offset and length of every image",
        "recipe_digest": run.digest("publish"),
        "pairs": sum(shard["pairs"] for shard in shards),
        "versions": dict(versions),
        "shards": shards,
    }


def data_card(run: Run, manifest: dict[str, Any]) -> str:
    """The data card: sources and licences, rules, counts, and how to load it."""
    pairs, sources = manifest["pairs"], run.recipe.sources
    licences = sorted({source.license for source in sources.values()})
    front = {
        "language": ["zh"],
        "task_categories": ["zero-shot-image-classification", "text-to-image", "image-to-text"],
        "license": licences[0] if len(licences) == 1 and licences[0].islower() else "other",
        "size_categories": [_size_category(pairs)],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "*.tar"}]}],
    }
    counts = {stage: stage_counts(run, stage) for stage in ("read", "filter", "download", "select", "publish")}
    rows = [_source_row(name, source, counts, pairs) for name, source in sources.items()]
    values = run.recipe.canonical()
    rules = {
        "sources": {name: read_inputs(source) for name, source in values["sources"].items()},
        "duplicates": values["duplicates"],
        "plan": values["plan"],
        **dedup_inputs(run.recipe),
    }
    size = run.recipe.download.image_size
    return TEMPLATE.format(
        front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True),
        name=run.recipe.name,
        pairs=counted(pairs, "Chinese image-text pair"),
        shards=counted(len(manifest["shards"]), "shard"),
        size=size,
        resize=run.recipe.download.resize,
        model=run.recipe.score.text_model,
        digest=manifest["recipe_digest"],
        sources="\n".join(rows),
        recipe=yaml.safe_dump(rules, allow_unicode=True, sort_keys=False),
    )


def _source_row(
    name: str, source: Source, counts: Mapping[str, Mapping[str, Mapping[str, int]]], published: int
) -> str:
    """A line of the table; `counts` has stage → source → name → rows."""
    columns = (("read", "in"), ("filter", REJECTED), ("download", FAILED), ("select", REJECTED), ("publish", "out"))
    rows = [counts[stage].get(name, {}).get(column, 0) for stage, column in columns]
    threshold = "none" if source.min_score is None else f"{source.min_score:g}"
    numbers = " | ".join(f"{count:,}" for count in rows)
    share = f"{rows[-1] / max(1, published):.1%}"
    return f"| {name} | {numbers} | {share} | {threshold} | {source.license} | {source.homepage or '–'} |"


def _size_category(pairs: int) -> str:
    """The hub's names: n<1K, 1K<n<10K, … 100M<n<1B."""
    steps = ("1", "1K", "10K", "100K", "1M", "10M", "100M", "1B")
    number = min(len(str(max(pairs, 1000) // 1000)), len(steps) - 1)
    return "n<1K" if pairs < 1000 else f"{steps[number]}<n<{steps[number + 1]}" if number + 1 < len(steps) else "n>1B"


TEMPLATE = """---
{front}---

# {name}

{pairs} in {shards}, curated with zhclip after *Chinese CLIP* (arXiv 2211.01335, section
2.2). Images are RGB JPEG, {size} pixels ({resize}). Similarity scores come from `{model}`; the model and its revision
stand beside every score. Recipe digest `{digest}`.

| source | rows read | rejected by rules | not fetched | not selected | published | share | lowest score | licence | described at |
|---|---|---|---|---|---|---|---|---|---|
{sources}

The licence of an image is its author's; this data set holds copies made for research from public addresses, listed in the
column `url`.

## Files

`SHARD.tar` holds KEY.jpg, KEY.json and KEY.txt of each pair, in key order; the JSON has those columns that have a value, and
`datasets` shows the ones that the first five pairs have. `SHARD.parquet` has one row per pair with all that is known of it, and
the byte `offset` and `length` of the image inside the tar. `SHARD.json` and `manifest.json` give sizes and
SHA-256 of all files; `root` in `manifest.json` is one hash of the run that made them, and of its every file.

```python
import webdataset
pairs = webdataset.WebDataset("000000.tar", shardshuffle=False).decode("pil").to_tuple("jpg", "txt")

import datasets
pairs = datasets.load_dataset("webdataset", data_files="*.tar", split="train", streaming=True)

import duckdb
duckdb.sql("select source, count(*), avg(score) from '*.parquet' group by all")
```

## Rules

```yaml
{recipe}```
"""
