"""Metadata files of three sources: LAION's Parquet, Wukong's CSV, and a table with a column mapping."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from benchmarks.big_run import pictures
from benchmarks.big_run.captions import STYLES, captions
from benchmarks.big_run.draws import Draws, shares
from benchmarks.big_run.urls import urls

SOURCES = tuple(STYLES)
SHARES = {"laion": 0.45, "wukong": 0.35, "danqing": 0.2}
ENDINGS = {"laion": "parquet", "wukong": "csv", "danqing": "parquet"}
ROWS_PER_FILE = 250_000
MALFORMED = 5  # lines of each CSV file with a column too many
SAME_SHARES = shares([0.89, 0.03, 0.015, 0.035, 0.03])
"""What a row shares with an earlier one: nothing, the pair, the pair with its url spelt otherwise, the image, the caption."""
POOLED = 0.06  # of urls show a picture that others show too
LANGUAGES = pa.array(["zh", "en", "ja", "zh-Latn", "ko"])
LANGUAGE_SHARES = shares([0.86, 0.07, 0.03, 0.03, 0.01])
NSFW = pa.array(["UNLIKELY", "UNSURE", "NSFW"])
NSFW_SHARES = shares([0.955, 0.033, 0.012])


@dataclass(frozen=True)
class Metadata:
    """The metadata of a run of `rows` rows."""

    folder: Path
    rows: int
    seed: int

    def recipe_sources(self) -> dict[str, Any]:
        """The part `sources` of the recipe that reads it."""
        files = {name: [f"{self.folder}/{name}/*.{ENDINGS[name]}"] for name in SOURCES}
        common = {"caption_frequency": {"max": 10}}
        return {
            "laion": {
                "kind": "laion", "files": files["laion"], "license": "generated", "min_score": 0.26,
                "rules": {**common, "punsafe": {"max": 0.5}, "pwatermark": {"max": 0.8}, "nsfw": {}},
            },
            "wukong": {"kind": "wukong", "files": files["wukong"], "license": "generated", "min_score": 0.26, "rules": common},
            "danqing": {
                "kind": "table", "files": files["danqing"], "license": "generated", "min_score": 0.24,
                "columns": {"url": "image_url", "caption": "recaption", "width": "w", "height": "h"},
                "rules": {**common, "image_size": {"min_side": 150, "max_aspect": 4}, "repetition": {}},
            },
        }  # fmt: skip

    def write(self) -> None:
        """Writes the files that are missing, each whole or not at all."""
        pieces = [
            (name, first, min(first + ROWS_PER_FILE, end))
            for name, start, end in self.ranges()
            for first in range(start, end, ROWS_PER_FILE)
        ]
        for name in SOURCES:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda piece: self._write(*piece), pieces))

    def ranges(self) -> list[tuple[str, int, int]]:
        """(source, first id, end) of all rows; an id is the position among all rows of the run."""
        ends = np.rint(np.cumsum([SHARES[name] for name in SOURCES]) * self.rows).astype(int).tolist()
        return list(zip(SOURCES, [0, *ends], ends, strict=False))

    def _write(self, name: str, first: int, end: int) -> None:
        path = self.folder / name / f"part-{first:09d}.{ENDINGS[name]}"
        if path.exists():
            return
        table = self._table(name, np.arange(first, end, dtype=np.uint64))
        written = path.with_suffix(".partial")
        if name == "wukong":
            pa.csv.write_csv(table, written, pa.csv.WriteOptions(quoting_style="needed"))
            with written.open("a", encoding="utf-8") as file:
                file.writelines(f"https://img.example/{number}.jpg,一列,太多\n" for number in range(MALFORMED))
        else:
            pq.write_table(table, written, compression="zstd", row_group_size=ROWS_PER_FILE // 2)
        written.replace(path)

    def _table(self, name: str, rows: np.ndarray) -> pa.Table:
        ids = Draws(rows, self.seed)
        same = ids.pick("same", SAME_SHARES)
        earlier = (ids.uniform("earlier") * rows).astype(np.uint64)
        of_caption = np.where(np.isin(same, [1, 2, 4]), earlier, rows)
        of_url = np.where(np.isin(same, [1, 2, 3]), earlier, rows)
        picture = self._pictures(of_url)
        url = urls(Draws(of_url, self.seed), self._source(of_url), picture, same == 2)
        caption = captions(Draws(of_caption, self.seed), self._source(of_caption))
        if name == "wukong":
            return pa.table({"url": url, "caption": caption})
        width, height = pictures.sizes(Draws(picture, self.seed))
        if name == "danqing":
            return pa.table(
                {
                    "image_url": url,
                    "alt_text": pc.utf8_slice_codeunits(caption, 0, 12),
                    "recaption": caption,
                    "w": width,
                    "h": height,
                }
            )
        return pa.table(
            {"URL": url, "TEXT": caption, "WIDTH": width.astype(float), "HEIGHT": height.astype(float), **_scores(ids)}
        )

    def _source(self, ids: np.ndarray) -> np.ndarray:
        """int64 (n,): position in SOURCES."""
        return np.searchsorted([end for _, _, end in self.ranges()], ids, side="right")

    def _pictures(self, ids: np.ndarray) -> np.ndarray:
        """uint64 (n,): the picture of each url; of the pool, the first ones far more often."""
        draws = Draws(ids, self.seed)
        pool = max(2 * pictures.TEST_IMAGES, self.rows // 60)
        drawn = (draws.uniform("pool") ** 2.2 * pool).astype(np.uint64)
        # The first places belong to test images, which are rare: all but one in a hundred of their draws go elsewhere.
        test = (drawn < pictures.TEST_IMAGES) & (draws.uniform("test image") > 0.01)
        drawn = np.where(test, drawn + np.uint64(pictures.TEST_IMAGES), drawn)
        return pictures.number(ids, draws.uniform("pooled") < POOLED, drawn)


def _scores(ids: Draws) -> dict[str, pa.Array]:
    """LAION's own figures of each row."""
    similarity = np.clip(0.262 + np.abs(0.045 * ids.normal("similarity")), -1, 1)
    return {
        "LANGUAGE": LANGUAGES.take(pa.array(ids.pick("language", LANGUAGE_SHARES))),
        "similarity": pa.array(similarity.astype(np.float32)),
        "punsafe": pa.array((ids.uniform("punsafe") ** 24).astype(np.float32)),
        "pwatermark": pa.array((ids.uniform("pwatermark") ** 3).astype(np.float32)),
        "NSFW": NSFW.take(pa.array(ids.pick("nsfw", NSFW_SHARES))),
    }
