"""Every reason of a ledger stands in the one list."""

from __future__ import annotations

from collections import Counter

import pytest

from pipeline.inspect.funnel import query_ledger
from pipeline.run.folder import Run
from pipeline.stages.reasons import all_reasons, reason_of


@pytest.mark.parametrize("name", ["finished", pytest.param("merged", marks=pytest.mark.e2e)])
def test_every_reason_of_a_run_is_declared_by_its_stage(name: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(name)
    codes = query_ledger(run, "select distinct stage, unnest(reasons) as reason from ledger").to_pylist()
    assert len(codes) >= 7
    assert [row for row in codes if reason_of(row["stage"], row["reason"]) is None] == []


def test_codes_are_unique_in_their_stage_and_say_something() -> None:
    reasons = list(all_reasons())
    assert max(Counter((reason.stage, reason.code) for reason in reasons).values()) == 1
    assert all(len(reason.description.split()) > 3 and not reason.description.endswith(".") for reason in reasons)
    assert {"caption_too_long", "duplicate_pair", "test_set_NAME", "removed_link", "not_translated"} <= {
        reason.code for reason in reasons if reason.stage == "filter"
    }


def test_a_code_of_two_stages_says_the_same_in_each() -> None:
    descriptions = {(reason.code, reason.description) for reason in all_reasons()}
    assert [code for code, number in Counter(code for code, _ in descriptions).items() if number > 1] == []


def test_families_of_codes_match_their_members() -> None:
    (status,) = [reason for reason in all_reasons() if reason.code == "http_STATUS"]
    assert status.matches("http_404") and not status.matches("http_") and not status.matches("xhttp_404")
    assert reason_of("download", "http_503") == status
    assert reason_of("download", "caption_too_long") is None
    duplicate = reason_of("select", "test_image_muge")
    assert duplicate is not None and duplicate.code == "test_image_NAME"
