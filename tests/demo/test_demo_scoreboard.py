from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageFont
from rich.console import Console

from demo.cards import cards
from demo.contact_sheet import WIDTH, Card, contact_sheet, thumbnail, wrap
from demo.packages import font
from demo.scoreboard import Scoreboard, roc_auc, scoreboard
from demo.world import TRUTH_SCHEMA, World

LEDGER = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        ("rows", pa.int64()),
        ("url", pa.string()),
        ("caption", pa.string()),
        ("stage", pa.string()),
        ("outcome", pa.string()),
        ("reasons", pa.list_(pa.string())),
        ("score", pa.float32()),
    ]
)
PUBLISHED = pa.schema([("file", pa.string()), ("row", pa.int64()), ("score", pa.float32())])


def planted(row: int, fault: str, stage: str, *reasons: str) -> dict:
    return {"file": "a.csv", "row": row, "fault": fault, "stage": stage, "reasons": list(reasons)}


def dropped(
    row: int, stage: str, *reasons: str, rows: int = 1, score: float | None = None, outcome: str = "rejected"
) -> dict:
    return {
        "file": "x/y/a.csv",
        "row": row,
        "rows": rows,
        "stage": stage,
        "outcome": outcome,
        "reasons": list(reasons),
        "score": score,
    }


@pytest.fixture
def board() -> Scoreboard:
    truth = [
        *(planted(row, "clean", "none") for row in range(4)),
        planted(4, "404", "download", "http_404"),
        planted(5, "404", "download", "http_404"),
        planted(6, "404", "download", "http_404"),
        *(planted(row, "swapped caption", "select", "score_too_low") for row in (7, 8)),
        *(planted(row, "corrupt row group", "read", "unreadable_row_group") for row in (9, 10)),
        planted(11, "empty", "download", "empty_response"),
        *(planted(row, "other language", "read", "language") for row in (12, 13, 14)),
    ]
    ledger = [
        dropped(3, "select", "score_too_low", score=0.2),
        dropped(4, "download", "http_404"),
        dropped(5, "plan", "url_private", "no_han"),
        dropped(7, "select", "score_too_low", score=0.1),
        dropped(9, "read", "unreadable_row_group", rows=2, outcome="failed"),
        dropped(0, "read", "language", rows=2, outcome="out_of_scope"),  # two of three, wherever they stand
    ]
    published = [{"file": "/z/a.csv", "row": row, "score": score} for row, score in {0: 0.5, 1: 0.6, 2: 0.3}.items()]
    published += [{"file": "a.csv", "row": 8, "score": 0.4}, {"file": "a.csv", "row": 6, "score": 0.3}]
    return scoreboard(
        pa.Table.from_pylist(truth, TRUTH_SCHEMA),
        pa.Table.from_pylist(ledger, LEDGER),
        pa.Table.from_pylist(published, PUBLISHED),
    )


def test_counts_of_a_case_made_by_hand(board: Scoreboard) -> None:
    dead = board.tally("404")
    assert (dead.planted, dead.caught, dead.as_expected, dead.published, dead.lost) == (3, 2, 1, 1, 0)
    assert set(dead.instead) == {"url_private", "no_han"}
    group = board.tally("corrupt row group")
    assert (group.planted, group.caught, group.as_expected) == (2, 2, 2)
    assert board.tally("empty").lost == 1
    assert (board.tally("other language").as_expected, board.tally("other language").lost) == (2, 1)
    assert (board.clean.planted, board.clean.published, board.clean_dropped) == (4, 3, {"select": 1})
    assert board.clean_reasons == {"score_too_low": 1}
    with pytest.raises(KeyError):
        board.tally("410")


def test_area_under_the_curve(board: Scoreboard) -> None:
    assert board.auc == pytest.approx(6 / 8)  # of 4 true and 2 swapped scores: 0.3 and 0.2 lose to 0.4
    assert roc_auc(np.array([1.0, 2.0]), np.array([1.0])) == 0.75
    assert math.isnan(roc_auc(np.array([]), np.array([1.0])))


def test_the_table_and_what_is_printed(board: Scoreboard) -> None:
    table = board.to_table()
    assert table["kind"].to_pylist()[-1] == "clean"
    assert table.filter(pa.compute.equal(table["kind"], "404"))["as_expected"].to_pylist() == [1]
    console = Console(file=io.StringIO(), width=120)
    console.print(board.render())
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "swapped caption" in printed and "3 of 4 kept (75.0%)" in printed and "0.750" in printed


def test_the_contact_sheet(world: World, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    truth = pq.read_table(world.truth).to_pylist()
    kept = [row | {"score": 0.5} for row in truth if row["fault"] == "clean"]
    gone = [row | {"rows": 1, "score": None} for row in truth if row["fault"] != "clean"]
    chosen, left = cards(
        pq.read_table(world.truth), pa.Table.from_pylist(gone), pa.Table.from_pylist(kept), world.web, shown=12
    )
    assert len(chosen) == len(left) == 12
    assert len({card.reason for card in left}) >= 6
    assert all(thumbnail(card.image, 10) is not None for card in chosen)
    contact_sheet(chosen, left, tmp_path / "sheet.png", "试")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == WIDTH
        first = sheet.convert("RGB").crop((60, 240, 200, 360))
    assert np.asarray(first).std() > 10  # a picture is there


def test_a_sheet_of_nothing_and_of_broken_images(tmp_path: Path) -> None:
    contact_sheet([], [Card(b"no image", "一只猫", None, "not_an_image")], tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_captions_are_wrapped_to_the_width() -> None:
    face = ImageFont.truetype(str(font()), 17)
    lines = wrap("一" * 200, face, 170, 3)
    assert len(lines) == 3 and lines[-1].endswith("…")
    assert max(face.getlength(line) for line in lines) <= 170
    assert wrap("猫", face, 170, 3) == ["猫"]
    assert wrap("", face, 170, 3) == []
