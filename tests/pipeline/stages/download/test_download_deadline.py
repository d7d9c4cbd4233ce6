"""A shard's deadline: what came by then is kept, the rest has a reason, and the child ends by itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from pipeline.stages.download import shard
from pipeline.stages.download.shard import download_shard
from tests.pipeline.stages.download.shards import HANGING, check_tar, children_of, photo, rows_of, use_child
from tests.support.loopback import Answer, Web

GOOD, HUNG = 40, 20
NAMES_NEVER_ANSWER = """
real = socket.getaddrinfo
def look_up(host, *others, **named):
    return time.sleep(10**6) if host == "name.example" else real(host, *others, **named)
socket.getaddrinfo = look_up
"""
HANGS_IN_THE_RESIZER = """
real, calls = engine.resize, []
def resize(data, config, crop=None):
    calls.append(data)
    if len(calls) == 3:
        time.sleep(10**6)
    return real(data, config, crop)
engine.resize = resize
"""


def test_what_came_by_the_deadline_is_kept_and_the_rest_asked_for_once(web: Web, tmp_path: Path) -> None:
    good = [web.put(f"/{seed}", Answer(photo(seed))) for seed in range(GOOD)]
    hung = [web.put(f"/hung/{number}", Answer(delay=HANGING)) for number in range(HUNG)]
    config = web.config(threads=2, shard_deadline=5, timeout=HANGING, deadline=HANGING)
    table = download_shard(rows_of([*good, *hung]), tmp_path, config, attempts=3)

    assert table["reason"].to_pylist() == [None] * GOOD + ["shard_deadline"] * HUNG
    details = Counter(detail.partition(" s")[0][:15] for detail in table["detail"].to_pylist() if detail)
    assert details == {"given up after ": 2, "download.shard_": HUNG - 2}
    check_tar(tmp_path / "images.tar", table)
    assert len(children_of(tmp_path)) == 1
    assert web.hits == Counter({f"/{seed}": 1 for seed in range(GOOD)} | {f"/hung/{number}": 1 for number in range(2)})


def test_an_answer_that_never_ends_is_given_up(web: Web, tmp_path: Path) -> None:
    url = web.put("/endless", Answer(bytes(100_000), drip=0.05))
    table = download_shard(rows_of([url]), tmp_path, web.config(deadline=HANGING, shard_deadline=2))
    (row,) = table.to_pylist()
    assert (row["status"], row["reason"]) == ("failed", "shard_deadline")
    assert row["detail"].startswith("given up after ") and row["detail"].endswith(
        "download.shard_deadline (2 s) was over"
    )
    assert web.dropped.wait()


def test_a_name_that_is_looked_up_for_ever_holds_nothing_up(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_child(monkeypatch, NAMES_NEVER_ANSWER)
    rows = rows_of(["http://name.example/1.jpg", web.put("/1", Answer(photo()))])
    config = web.config(threads=2, timeout=HANGING, deadline=HANGING, shard_deadline=2)
    table = download_shard(rows, tmp_path, config)
    assert table["reason"].to_pylist() == ["shard_deadline", None]


def test_a_child_that_hangs_in_a_library_is_killed_and_what_it_wrote_is_kept(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_child(monkeypatch, HANGS_IN_THE_RESIZER)
    monkeypatch.setattr(shard, "GRACE", 1.0)
    rows = rows_of([web.put(f"/{seed}", Answer(photo(seed))) for seed in range(6)])
    table = download_shard(rows, tmp_path, web.config(threads=1, shard_deadline=3), attempts=3)
    assert table["reason"].to_pylist()[:3] == [None, None, "downloader_died"]
    assert set(table["reason"].to_pylist()[3:]) == {"shard_deadline"}
    assert "hung and was killed" in table["detail"].to_pylist()[2]
    check_tar(tmp_path / "images.tar", table)
