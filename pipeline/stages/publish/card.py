"""What makes a published folder stand alone: manifest.json, and a README.md in the Hugging Face data card form."""

from __future__ import annotations

import json
from typing import Any

import yaml

from pipeline.run.counts import Balance, balances
from pipeline.run.folder import FOLDERS, Run, recorded_versions, write_atomically
from pipeline.sources.base import Source


def write(run: Run) -> None:
    """Writes both files; they hold no time and no path of this machine."""
    manifest = dataset_manifest(run)
    write_atomically(run.path("publish", "manifest.json"), json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    write_atomically(run.path("publish", "README.md"), data_card(run, manifest))


def dataset_manifest(run: Run) -> dict[str, Any]:
    """All shards with their files, counts, recipe digest and the scorer's identity."""
    shards = []
    for found in run.manifests("publish"):
        files = {name.removeprefix(FOLDERS["publish"] + "/"): description for name, description in found.files.items()}
        shards.append(
            {"shard": found.shard, "pairs": found.counts["out"], "sources": found.counts["sources"], "files": files}
        )
    return {
        "name": run.recipe.name,
        "format": "webdataset: KEY.jpg, KEY.json, KEY.txt; index: SHARD.parquet with offset and length of every image",
        "recipe_digest": run.digest("publish"),
        "pairs": sum(shard["pairs"] for shard in shards),
        "versions": recorded_versions(),
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
    rows = [_source_row(balance, sources[balance.source], pairs) for balance in balances(run)]
    size = run.recipe.download.image_size
    return CARD.format(
        front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True),
        name=run.recipe.name,
        pairs=pairs,
        shards=len(manifest["shards"]),
        size=size,
        resize=run.recipe.download.resize,
        model=run.recipe.score.text_model,
        digest=manifest["recipe_digest"],
        sources="\n".join(rows),
        recipe=yaml.safe_dump(
            run.recipe.stage_inputs("plan") | run.recipe.stage_inputs("select"), allow_unicode=True, sort_keys=False
        ),
    )


def _source_row(balance: Balance, source: Source, published: int) -> str:
    threshold = "none" if source.min_score is None else f"{source.min_score:g}"
    counts = (
        balance.read,
        balance.rejected_by_rules,
        balance.failed_download,
        balance.rejected_by_score,
        balance.published,
    )
    numbers = " | ".join(f"{count:,}" for count in counts)
    share = f"{balance.published / max(1, published):.1%}"
    return f"| {balance.source} | {numbers} | {share} | {threshold} | {source.license} | {source.homepage or '–'} |"


def _size_category(pairs: int) -> str:
    """The hub's names: n<1K, 1K<n<10K, … 100M<n<1B."""
    steps = ("1", "1K", "10K", "100K", "1M", "10M", "100M", "1B")
    number = min(len(str(max(pairs, 1000) // 1000)), len(steps) - 1)
    return "n<1K" if pairs < 1000 else f"{steps[number]}<n<{steps[number + 1]}" if number + 1 < len(steps) else "n>1B"


CARD = """---
{front}---

# {name}

{pairs:,} Chinese image-text pairs in {shards:,} shards, curated with zhclip after *Chinese CLIP* (arXiv 2211.01335, section
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
SHA-256 of all files.

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
