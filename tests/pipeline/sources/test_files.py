"""Files by path or glob: found, opened and measured, whatever they are called."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.sources.files import NoSuchFiles, find_files, is_damage, open_file, size_of
from pipeline.sources.table import TableSource

NAMES = ["a[1].csv", "a?b.csv", "a*b.csv", "it's.csv", 'a"b.csv', "a b.csv"]
NAMES += ["100%.csv", "a%20b.csv", "a#b.csv", "a::b.csv", "猫.csv"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serves the test's folder; its address."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_files_are_found_once_in_order_and_a_pattern_without_a_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b.csv", "a.csv", "c.txt"):
        (tmp_path / name).write_text("url,caption\n")
    everything = find_files([str(tmp_path / "*.csv"), str(tmp_path / "a.csv")])
    assert everything == [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    monkeypatch.chdir(tmp_path)
    assert find_files(["*.csv"]) == ["a.csv", "b.csv"]
    with pytest.raises(NoSuchFiles, match="nothing"):
        find_files([str(tmp_path / "nothing*.csv")])
    with pytest.raises(NoSuchFiles, match=r"absent\.csv"):
        find_files([str(tmp_path / "absent.csv")])


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_found_opened_and_measured_under_the_very_name_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    content = "url,caption\nhttp://a.example/1,一只猫\n".encode()
    (tmp_path / name).write_bytes(content)
    (tmp_path / "a1.csv").write_text("what the brackets would match")
    monkeypatch.chdir(tmp_path)
    for path in (str(tmp_path / name), name):
        assert find_files([path]) == [path]
        assert size_of(path) == len(content)
        with open_file(path) as file:
            assert file.read() == content
    source = TableSource(kind="table", files=(name,))
    (split,) = source.splits("s", 10)
    assert [len(block.positions) for block in source.read(split)] == [1]  # type: ignore[union-attr]


@pytest.mark.parametrize("folder", ["data [1] it's 100%", "a*b", "what?"])
def test_the_folders_of_a_glob_are_those_that_have_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    for path in (tmp_path / folder / "a.csv", tmp_path / folder / "b.csv", tmp_path / "data 1 it's 100%" / "c.csv"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("url,caption\n")
    assert find_files([str(tmp_path / folder / "*.csv")]) == [
        str(tmp_path / folder / name) for name in ("a.csv", "b.csv")
    ]
    monkeypatch.chdir(tmp_path)
    assert find_files([f"{folder}/[a-c].csv"]) == [f"{folder}/a.csv", f"{folder}/b.csv"]
    with pytest.raises(NoSuchFiles, match="matches no file"):
        find_files([f"{folder}/[x-z].csv"])


def test_a_glob_that_no_file_has_for_a_name_is_a_glob(tmp_path: Path) -> None:
    for name in ("part-0.csv", "part-1.csv", "part-x.csv"):
        (tmp_path / name).write_text("url,caption\n")
    assert find_files([str(tmp_path / "part-[0-9].csv")]) == [str(tmp_path / f"part-{number}.csv") for number in (0, 1)]
    (tmp_path / "part-[0-9].csv").write_text("url,caption\n")
    assert find_files([str(tmp_path / "part-[0-9].csv")]) == [str(tmp_path / "part-[0-9].csv")]


def test_the_question_mark_of_a_remote_address_begins_its_query(tmp_path: Path, server: str) -> None:
    (tmp_path / "a.csv").write_text("url,caption\n")
    assert find_files([f"{server}/a.csv?download=true"]) == [f"{server}/a.csv?download=true"]
    with pytest.raises(NoSuchFiles, match="absent"):
        find_files([f"{server}/absent.csv?download=true"])


def test_a_remote_that_does_not_answer_is_no_damage(tmp_path: Path) -> None:
    assert not is_damage(ConnectionResetError(104, "reset"), "https://example.org/a.parquet")
    assert not is_damage(TimeoutError(), "https://example.org/a.parquet")
    assert is_damage(OSError("Corrupt snappy compressed data."), "https://example.org/a.parquet")
    assert is_damage(pa.ArrowInvalid("not a Parquet file"), "https://example.org/a.parquet")
    assert is_damage(PermissionError(13, "denied"), str(tmp_path / "a.parquet"))


def test_a_file_system_that_cannot_be_listed_is_named() -> None:
    with pytest.raises(NoSuchFiles, match=r"nosuchprotocol://a/\*\.csv cannot be listed"):
        find_files(["nosuchprotocol://a/*.csv"])
