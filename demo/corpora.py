"""What the demo trains and evaluates on beside the curated shards: English pairs, and drawings nobody has seen.

One concept in five is unseen: no training, English or Chinese, is shown it. One style is unseen: no training is shown it.
Some unseen concepts have close relatives among the seen ones (a woman and a man of one profession).
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from demo.drawings import Drawing, caption, encode, load_drawings, picture
from demo.images import BACKGROUNDS
from demo.packages import fetch
from demo.shards import write_dataset

UNSEEN_STYLE = "twemoji"
UNSEEN_SHARE = 5  # one concept in five
PIXELS = 96  # of the drawings, which the models see at 64


@dataclass(frozen=True)
class Corpora:
    """Folders and files."""

    english: Path  # published data set: seen concepts in the five seen styles
    unseen: Path  # evaluation set: unseen concepts in the unseen style
    seen: Path  # evaluation set: seen concepts in the unseen style
    where: str  # SQL that keeps unseen concepts out of the curated shards


def is_unseen(drawing: Drawing) -> bool:
    """True for the one concept in five (in all styles) that no training is shown."""
    return random.Random(f"unseen {drawing.hexcode}").randrange(UNSEEN_SHARE) == 0


def build_corpora(folder: Path, truth: Path, cache: Path | None = None, share: float = 1.0) -> Corpora:
    """Writes everything to `folder`, which must not exist; `truth` is the world's Parquet of concepts and links.

    Args:
        share: of the drawings to take, for quick tests.
    """
    drawings = load_drawings(cache=cache)
    drawings = drawings[: round(len(drawings) * share)]
    trained = [drawing for drawing in drawings if drawing.style != UNSEEN_STYLE and not is_unseen(drawing)]
    unseen_style = [drawing for drawing in drawings if drawing.style == UNSEEN_STYLE]
    corpora = Corpora(folder / "english", folder / "unseen", folder / "seen", _where(folder, truth, drawings))
    entries = english_entries(cache)
    columns = [
        {"caption": english_caption(drawing, entries[drawing.hexcode]), "source": drawing.style} for drawing in trained
    ]
    write_dataset(corpora.english, zip(_images(trained), columns, strict=True))
    _write_evaluation(corpora.unseen, [drawing for drawing in unseen_style if is_unseen(drawing)])
    _write_evaluation(corpora.seen, [drawing for drawing in unseen_style if not is_unseen(drawing)])
    return corpora


def english_entries(cache: Path | None = None) -> dict[str, tuple[str, list[str]]]:
    """hexcode → English name and tags, as Unicode's data has them (npm emojibase-data)."""
    content = json.loads((fetch(cache) / "emojibase-data" / "en" / "data.json").read_text(encoding="utf-8"))
    return {entry["hexcode"].lower().replace("-fe0f", ""): (entry["label"], entry.get("tags", [])) for entry in content}


def english_caption(drawing: Drawing, entry: tuple[str, list[str]]) -> str:
    """The name and up to four of the tags; which, differs from style to style."""
    name, tags = entry
    rng = random.Random(f"{drawing.style} {drawing.hexcode}")
    return ", ".join([name, *rng.sample(tags, rng.randint(0, min(4, len(tags))))])


def _where(folder: Path, truth: Path, drawings: list[Drawing]) -> str:
    """Writes the links of unseen concepts to a file, and says in SQL that they are left out."""
    folder.mkdir(parents=True)
    unseen = {drawing.concept for drawing in drawings if is_unseen(drawing)}
    rows = pq.read_table(truth, columns=["url", "concept"]).to_pylist()
    path = folder / "unseen_links.parquet"
    pq.write_table(
        pa.table({"url": sorted({row["url"] for row in rows if row["url"] and row["concept"] in unseen})}), path
    )
    return f"url not in (select url from '{path}')"


def _write_evaluation(folder: Path, drawings: list[Drawing]) -> None:
    """The plain layout that `zhclip evaluate` reads: images and captions.jsonl; captions as the world writes them."""
    folder.mkdir()
    captions = [caption(drawing, random.Random(drawing.hexcode)) for drawing in drawings]
    captioned = [(drawing, text) for drawing, text in zip(drawings, captions, strict=True) if text]
    for (drawing, _), image in zip(captioned, _images([drawing for drawing, _ in captioned]), strict=True):
        (folder / f"{drawing.hexcode}.jpg").write_bytes(image)
    lines = [
        json.dumps({"image": f"{drawing.hexcode}.jpg", "text": text}, ensure_ascii=False) for drawing, text in captioned
    ]
    (folder / "captions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _images(drawings: Iterable[Drawing]) -> list[bytes]:
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(_jpeg, [(drawing.svg, _background(drawing)) for drawing in drawings], chunksize=64))


def _background(drawing: Drawing) -> str:
    return random.Random(f"{drawing.style} {drawing.hexcode}").choice(BACKGROUNDS)


def _jpeg(drawn: tuple[str, str]) -> bytes:
    svg, background = drawn
    return encode(picture(svg, PIXELS, background))
