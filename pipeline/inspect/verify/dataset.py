"""What makes the published folder stand alone, made anew: manifest.json with the root, and the data card."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from foundation import __version__
from pipeline.inspect.verify.context import Context, short
from pipeline.run.names import CARD, DATASET, DATASET_MANIFEST, LAYOUT_FILE, RECIPE_FILE
from pipeline.stages.publish import card

WHERE = {"recipe": RECIPE_FILE, "layout": LAYOUT_FILE, "card": "the data card", "versions": "`versions`"}


def check_dataset(context: Context) -> tuple[str, list[str]]:
    """The root of a complete run, made anew ("" where the file that states it cannot be read), and problems."""
    name = f"{DATASET}/{DATASET_MANIFEST}"
    content = _content(context, name)
    if isinstance(content, str):
        return "", [content]
    versions = content.get("versions")
    if not isinstance(versions, dict) or not {"zhclip"} <= set(versions) or not all(map(_is_text, versions.values())):
        return "", [
            f"{name}: `versions` does not name packages with their versions; `zhclip publish` writes the file anew"
        ]
    manifest, text = card.described(context.run, versions)
    problems = []
    stored = _card(context, f"{DATASET}/{CARD}")
    if stored is None:
        problems.append(f"{DATASET}/{CARD}: missing, or no text; `zhclip publish` writes it anew")
    elif (
        versions["zhclip"] != __version__
    ):  # another version words the card otherwise: its hash is what can be compared
        manifest = card.sealed(context.run, card.dataset_manifest(context.run, versions), stored)
    elif stored != text:
        problems.append(f"{DATASET}/{CARD}: is not the data card of this run; `zhclip publish` writes it anew")
    problems += _differences(name, content, manifest)
    return str(manifest["root"]), problems


def _content(context: Context, name: str) -> Mapping[str, Any] | str:
    """The parsed file, or the problem that it is."""
    try:
        content = json.loads(context.files.bytes_of(name).decode("utf-8"))
    except Exception as error:
        return f"{name}: damaged, no JSON ({short(error)}); `zhclip publish` writes it anew"
    if not isinstance(content, dict) or not isinstance(content.get("shards"), list):
        return f"{name}: damaged, no manifest of a data set; `zhclip publish` writes it anew"
    return content


def _card(context: Context, name: str) -> str | None:
    try:
        return context.files.bytes_of(name).decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _differences(name: str, stored: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted({*stored, *expected} - {"shards", "hashes", "root"}):
        if stored.get(key) != expected.get(key):
            yield f"{name}: `{key}` is {_shown(stored.get(key))}; the run gives {_shown(expected.get(key))}"
    yield from _shards(name, stored["shards"], expected["shards"])
    if not isinstance(stored.get("root"), str):
        yield f"{name}: has no `root`; `zhclip publish` writes the file anew"
    elif stored["root"] != expected["root"]:
        hashes = stored.get("hashes")
        hashes = hashes if isinstance(hashes, dict) else {}
        parts = [part for part in {**expected["hashes"], **hashes} if hashes.get(part) != expected["hashes"].get(part)]
        named = ", ".join(WHERE.get(part, f"manifests of {part}") for part in parts)
        yield (
            f"{name}: its root {stored['root']} is not the run's, {expected['root']}; what was changed since it was "
            f"published: {named or 'the root itself'}"
        )
    elif stored.get("hashes") != expected["hashes"]:
        yield f"{name}: `hashes` are not those that its root is made of"


def _shards(name: str, stored: list[Any], expected: list[Any]) -> Iterator[str]:
    by_shard = {shard["shard"]: shard for shard in expected}
    names = [shard.get("shard") if isinstance(shard, dict) else None for shard in stored]
    if names != list(by_shard):
        extra, missing = (
            [each for each in names if each not in by_shard],
            [each for each in by_shard if each not in names],
        )
        yield (
            f"{name}: its shards are not the published ones, each once and in order: "
            f"{len(missing)} missing ({', '.join(missing[:3])}), {len(extra)} that do not exist, {len(names)} in all"
        )
    for shard in stored:
        if isinstance(shard, dict) and (known := by_shard.get(shard.get("shard", ""))) is not None and shard != known:
            parts = ", ".join(key for key in sorted({*shard, *known}) if shard.get(key) != known.get(key))
            yield f"{name}: shard {shard['shard']}: {parts}: differs from the shard's own manifest"


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 80 else f"{text[:76]} …"
