"""What each filter costs, next to DuckDB answering the same question on the same captions, on one thread.

POLARS_MAX_THREADS=1 python -m benchmarks.filters
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import jieba
import numpy as np
import pyarrow as pa
from zhconv import zhconv

from filters.base import Filter
from filters.blacklist import Blacklist
from filters.caption import CaptionFrequency
from filters.duplicates import Duplicates
from filters.metadata import DeclaredSize, MetadataSimilarity, NsfwTag, Punsafe, Pwatermark
from filters.quality.contact import ContactDetails
from filters.quality.language import CaptionLanguage
from filters.quality.marks import MarksAndDigits
from filters.quality.repetition import Repetition
from filters.rules import Rules
from foundation.sql import literal

ROWS = 262_144
EXTRAS = ["，", "！", "（2021）", " - ", "_", "|", "iPhone 12", "NIKE", "2019年", "·"]
FAULTS = ["包邮", "厂家直销", "微信图片_20210304", "DSC_1234.jpg", "13812345678", "点击查看大图", "ＱＱ：123456"]


def captions(rows: int, seed: int = 0) -> list[str]:
    """Texts of 1 to 16 dictionary words (18 characters on average): 40% with Latin letters, digits or marks, 10%
    traditional, 2% with a blacklisted entry. The words come from jieba's dictionary, roughly by frequency."""
    lines = (Path(jieba.__file__).parent / "dict.txt").read_text("utf-8").splitlines()
    words = [line.split(" ")[0] for line in lines]
    weights = np.array([float(line.split(" ")[1]) + 1 for line in lines]) ** 0.7
    numbers, chance = np.random.default_rng(seed), random.Random(seed)
    picks = numbers.choice(len(words), size=(rows, 16), p=weights / weights.sum())
    lengths = np.clip(numbers.lognormal(2.0, 0.6, rows), 1, 16).astype(int)
    return [_text([words[j] for j in row[:length]], chance) for row, length in zip(picks, lengths, strict=True)]


def _text(words: list[str], chance: random.Random) -> str:
    if chance.random() < 0.4:
        words.insert(chance.randrange(len(words) + 1), chance.choice(EXTRAS))
    if chance.random() < 0.02:
        words.insert(0, chance.choice(FAULTS))
    text = "".join(words)
    return zhconv.convert(text, "zh-tw") if chance.random() < 0.1 else text


def pairs(rows: int) -> pa.Table:
    """A table with every column the filters read; about a third of the urls repeat, 20% have a query, 2% are IRIs."""
    numbers = np.random.default_rng(0)
    picks = numbers.integers(0, rows, rows).tolist()
    plain = [f"https://img{i % 20000}.example{i % 97}.com/{i % 1000}/{i:08x}.jpg" for i in picks]
    urls = [url + f"?w={i % 9}" if i % 5 == 0 else url for i, url in zip(picks, plain, strict=True)]
    urls = [f"http://www.图片{i % 99}.cn/{i}.jpg" if i % 50 == 0 else url for i, url in zip(picks, urls, strict=True)]
    columns = {"source": ["laion"] * rows, "url": urls, "caption": captions(rows), "nsfw": ["UNLIKELY"] * rows}
    scores = {name: pa.array(numbers.random(rows), pa.float32()) for name in ("similarity", "punsafe", "pwatermark")}
    sides = {name: pa.array(numbers.integers(1, 2000, rows), pa.int32()) for name in ("width", "height")}
    return pa.table(columns | scores | sides)


def duckdb_conditions(blacklist: Blacklist) -> dict[str, str]:
    """The same questions as SQL conditions over a table `pairs`. DuckDB's patterns see the caption as it stands: it is
    not asked to fold width and traditional characters, which the filters do."""
    patterns = blacklist._patterns().values()
    unions = ["|".join(p.words for p in patterns if p.words), "|".join(p.regexes for p in patterns if p.regexes)]
    condition = " or ".join(f"regexp_matches(caption, {literal(union)}, 'i')" for union in unions)
    return {
        "CaptionLength": "length(trim(caption)) not between 5 and 50",
        "HanCharacters": r"not regexp_matches(caption, '\p{Han}')",
        "Blacklist": condition,
        "UrlSanity": r"not regexp_matches(url, '^https?://([a-z0-9_-]+\.)+[a-z]{2,24}/')",
    }


def seconds(work: Callable[[], object], times: int = 5) -> float:
    """The best of `times` runs, in processor seconds of this process."""
    best = float("inf")
    for _ in range(times):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return best


def main() -> None:
    """Print one line for each filter."""
    table, database = pairs(ROWS), duckdb.connect(config={"threads": 1})
    database.register("table_", table)
    database.execute("create table pairs as select * from table_")
    rules = Rules(
        similarity=MetadataSimilarity(),
        punsafe=Punsafe(),
        pwatermark=Pwatermark(),
        image_size=DeclaredSize(),
        nsfw=NsfwTag(),
        language=CaptionLanguage(),
        repetition=Repetition(),
        marks=MarksAndDigits(),
        contact=ContactDetails(),
    )
    assert rules.blacklist is not None
    conditions, total = duckdb_conditions(rules.blacklist), 0.0
    everything: tuple[Filter, ...] = (*rules.row_filters(), CaptionFrequency(), Duplicates())
    print(f"{ROWS:,} rows, microseconds of one core a row{'DuckDB':>15}{'ratio':>8}")
    for rule in everything:
        name = type(rule).__name__
        cost = seconds(lambda rule=rule: rule.rejects(table)) / ROWS * 1e6  # type: ignore[misc]
        total += 0 if rule.scope == "caption_group" else cost
        print(f"{name:20}{cost:20.3f}", end="")
        if name in conditions:
            query = f"select count(*) filter ({conditions[name]}) from pairs"
            peer = seconds(lambda query=query: database.execute(query).fetchall(), 2) / ROWS * 1e6  # type: ignore[misc]
            print(f"{peer:25.3f}{peer / cost:8.1f}", end="")
        print()
    print(f"{'all row filters':20}{total:20.3f}")


if __name__ == "__main__":
    main()
