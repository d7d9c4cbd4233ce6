"""Children that die: the row that kills them is found, all others are answered, and a broken machine is told from both."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.stages.download.journal import JOURNAL, Journal, read_notes
from pipeline.stages.download.shard import ShardFailed, download_shard
from pipeline.stages.download.writer import ShardWriter
from tests.pipeline.stages.download.shards import (
    DEADLY,
    DIES_OF_DEADLY,
    HANGING,
    check_tar,
    children_of,
    photo,
    rows_of,
    use_child,
)
from tests.support.loopback import Answer, Web

DIES_IN_A_FETCH = """
real = engine.Finder.fetch
def fetch(self, row, url):
    if "deadly" in url:
        os._exit(1)
    return real(self, row, url)
engine.Finder.fetch = fetch
"""
DIES_AFTER_TWO = """
class Mortal(writer.ShardWriter):
    left = 2
    def write(self, *arguments):
        super().write(*arguments)
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
writer.ShardWriter = Mortal
"""
DIES_BETWEEN_IMAGE_AND_NOTE = """
class Mortal(writer.ShardWriter):
    def _store(self, row, jpeg):
        super()._store(row, jpeg)
        os.kill(os.getpid(), signal.SIGKILL)
writer.ShardWriter = Mortal
"""
DISK_TAKES_NO_MORE = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))"


def deadly_shop(web: Web, goods: int, deadly: list[int]) -> list[str | None]:
    """Urls of pictures, some of which are deadly."""
    bodies = [DEADLY if number in deadly else photo(number) for number in range(goods)]
    names = ["deadly" if number in deadly else "good" for number in range(goods)]
    return [web.put(f"/{name}/{number}", Answer(bodies[number])) for number, name in enumerate(names)]


@pytest.mark.slow
@pytest.mark.parametrize("change", [DIES_OF_DEADLY, DIES_IN_A_FETCH], ids=["resizer", "fetch"])
@pytest.mark.parametrize("deadly", [[9], [0, 7, 15]], ids=str)
def test_rows_that_kill_the_child_are_found_and_all_others_come(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, deadly: list[int]
) -> None:
    use_child(monkeypatch, change)
    table = download_shard(rows_of(deadly_shop(web, 16, deadly)), tmp_path, web.config(threads=3), attempts=4)
    reasons = table["reason"].to_pylist()
    assert [number for number, reason in enumerate(reasons) if reason] == deadly
    assert {reasons[number] for number in deadly} == {"downloader_died"}
    assert all("with this row in hand" in table["detail"][number].as_py() for number in deadly)
    check_tar(tmp_path / "images.tar", table)


def test_a_row_that_kills_is_given_up_although_it_is_the_whole_shard(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_child(monkeypatch, DIES_OF_DEADLY)
    table = download_shard(rows_of(deadly_shop(web, 1, [0])), tmp_path, web.config(), attempts=2)
    (row,) = table.to_pylist()
    assert (row["status"], row["reason"]) == ("failed", "downloader_died")
    assert row["detail"] == "the process was ended by SIGKILL; 2 died with this row in hand"
    assert len(children_of(tmp_path)) == 2 and web.hits["/deadly/0"] == 2
    check_tar(tmp_path / "images.tar", table)


def test_children_that_answer_something_before_they_die_come_to_the_end(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_child(monkeypatch, DIES_AFTER_TWO)
    table = download_shard(rows_of(deadly_shop(web, 5, [])), tmp_path, web.config(threads=2), attempts=1)
    assert table["reason"].null_count == 5 and len(children_of(tmp_path)) == 3
    check_tar(tmp_path / "images.tar", table)


def test_an_image_that_nobody_noted_is_cut_off(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_child(monkeypatch, DIES_BETWEEN_IMAGE_AND_NOTE)
    table = download_shard(rows_of(deadly_shop(web, 3, [])), tmp_path, web.config(), attempts=2)
    assert table["reason"].to_pylist() == ["downloader_died"] * 3
    check_tar(tmp_path / "images.tar", table)


def test_a_child_that_is_killed_from_outside_is_followed_by_another(web: Web, tmp_path: Path) -> None:
    rows = rows_of([web.put("/slow", Answer(delay=HANGING), Answer(photo()))])
    with ThreadPoolExecutor() as pool:
        future = pool.submit(download_shard, rows, tmp_path, web.config(deadline=HANGING, timeout=HANGING), None, 2)
        web.asked.wait()
        os.kill(children_of(tmp_path)[0], signal.SIGKILL)
        assert future.result()["status"].to_pylist() == ["ok"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("import no_such_package", "ended with status 1: ModuleNotFoundError: No module named 'no_such_package'; mend"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was ended by SIGKILL: its log is empty"),
        (
            "engine.VERSIONS = child.load_downloader.__globals__['VERSIONS'] = ((9, 0), (9, 1))",
            "status 1: .*Img2datasetError: img2dataset 1.4.* was written for 1.47",
        ),
        (DISK_TAKES_NO_MORE, "status 71: OSError: .*File too large"),
        ("sys.argv[1] = 'nothing.json'", "status 71: FileNotFoundError: .*No such file"),
        ("sys.exit()", "ended with status 0: its log is empty"),
    ],
    ids=["package", "start", "version", "disk", "specification", "nothing"],
)
def test_what_is_the_machines_fault_fails_the_shard(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, message: str
) -> None:
    use_child(monkeypatch, change)
    with pytest.raises(ShardFailed, match=rf"\nthe download process .*{message}.*$"):
        download_shard(rows_of(deadly_shop(web, 8, [])), tmp_path, web.config(), attempts=2)
    assert not (tmp_path / "images.parquet").exists()


def test_a_tar_that_cannot_be_written_fails_the_child_not_the_row(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, ["0" * 32])
    writer._tar._file = (tmp_path / "images.tar").open("rb")  # as good as a full disk: it takes no bytes
    writer._facts[0] = {}
    writer.write(b"jpeg", "00000", None, dict.fromkeys(("width", "height", "original_width", "original_height"), 1))
    with pytest.raises(OSError):
        writer.close()
    assert read_notes(tmp_path / JOURNAL).answers == {}


def test_a_line_that_a_kill_cut_off_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL
    journal = Journal(path)
    journal.note("ready")
    journal.note("begun", key="a")
    journal.note("answered", key="a", detail="half an emoji: \ud83d, a line\nfeed")
    journal.note("answered", key="b", detail="猫" * 20)
    journal.close()
    content = path.read_bytes()
    for length in range(2, 70):
        path.write_bytes(content[:-length])
        notes = read_notes(path)
        assert notes.ready and list(notes.answers) == ["a"] and notes.in_hand == [], length
    assert notes.answers["a"]["detail"] == "half an emoji: ?, a line\nfeed"
