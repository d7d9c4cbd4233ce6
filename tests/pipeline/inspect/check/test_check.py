"""`zhclip check`: each figure against a count of its own, rules that break, policies that cannot be used."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner, Result

from foundation.config import ConfigError
from pipeline.inspect.check.check import RuleError, RuleResult, check
from pipeline.inspect.check.drift import p_value
from pipeline.inspect.check.policy import DEFAULT, Policy, load_policy
from pipeline.run.folder import Run
from tests.support.runs import REPOSITORY
from zhclip.app import app


def policy(*rules: dict[str, Any]) -> Policy:
    return Policy.model_validate({"rules": list(rules)})


def verdict(run: Path, against: Path | None = None, **rule: Any) -> RuleResult:
    return check(run, policy(rule), against)[0]


def zhclip(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def rows(run: Run, *folders: str) -> list[dict[str, Any]]:
    paths = [path for folder in folders for path in (run.folder / folder).glob("[0-9]*[0-9a-f].parquet")]
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


@pytest.fixture
def copied(finished: Run, tmp_path: Path) -> Path:
    shutil.copytree(finished.folder, tmp_path / "copy")
    return tmp_path / "copy"


def test_shares_and_counts_are_those_of_the_files(finished: Run) -> None:
    published = Counter(row["source"] for row in rows(finished, "dataset"))
    raw = {row["key"]: row["status"] for row in rows(finished, "download")}
    plan = rows(finished, "plan")
    tried = Counter(row["source"] for row in plan)
    failed = Counter(row["source"] for row in plan if raw[row["key"]] != "ok")
    read: Counter[str] = Counter()
    for manifest in finished.manifests("read"):
        read.update({name: it["in"] - it["out_of_scope"] for name, it in manifest.counts["sources"].items()})
    shares = {name: failed[name] / tried[name] for name in tried}
    worst = max(shares, key=lambda name: shares[name])
    result = verdict(finished.folder, rule="download_failure", per="source", max=0.5, least=1)
    assert result.outcome == "passed" and result.worst is not None
    assert (result.worst.subject, result.worst.value) == (worst, pytest.approx(shares[worst]))
    kept = {name: published[name] / read[name] for name in read}
    least = verdict(finished.folder, rule="kept_share", per="source", min=min(kept.values()) + 0.001)
    assert [figure.subject for figure in least.failing] == [min(kept, key=lambda name: kept[name])]
    assert least.failing[0].value == pytest.approx(min(kept.values())) and least.stops
    exact = verdict(finished.folder, rule="pairs", min=sum(published.values()))
    assert exact.outcome == "passed" and exact.worst is not None and exact.worst.value == sum(published.values())
    assert verdict(finished.folder, rule="pairs", min=sum(published.values()) + 1).outcome == "failed"


def test_a_severity_of_warn_tells_and_does_not_stop(finished: Run) -> None:
    result = verdict(finished.folder, rule="pairs", min=10**9, severity="warn")
    assert result.outcome == "failed" and not result.stops


def test_conservation_and_completeness_see_what_is_gone(copied: Path) -> None:
    assert [verdict(copied, rule=name).outcome for name in ("complete", "conservation")] == ["passed", "passed"]
    path = sorted((copied / "ledger/select").glob("*.parquet"))[0]
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    assert verdict(copied, rule="conservation").outcome == "failed"
    sorted((copied / "publish").glob("0*.json"))[0].unlink()
    assert verdict(copied, rule="complete").outcome == "failed"


def test_contamination_compares_every_published_image_again(merged: Run, finished: Run, tmp_path: Path) -> None:
    assert verdict(merged.folder, rule="contamination").outcome == "passed"
    assert verdict(finished.folder, rule="contamination", require_test_sets=True).outcome == "failed"
    assert verdict(finished.folder, rule="contamination", require_test_sets=False).outcome == "passed"
    folder = tmp_path / "planted"
    shutil.copytree(merged.folder, folder)
    published = {row["key"] for row in rows(merged, "dataset")}
    test = next(row for row in rows(merged, "eval_images") if row["image_hash"])
    path = next(
        path
        for path in sorted((folder / "score").glob("*.parquet"))
        if published & set(pq.read_table(path)["key"].to_pylist())
    )
    table = pq.read_table(path)
    at = next(number for number, key in enumerate(table["key"].to_pylist()) if key in published)
    for name in ("image_hash", "mirror_hash", "pixels_sha256"):
        column = table[name].to_pylist()
        column[at] = test[name]
        column_index = table.schema.get_field_index(name)
        table = table.set_column(column_index, table.schema.field(column_index), pa.array(column, pa.string()))
    pq.write_table(table, path)
    for index in (folder / "dataset").glob("*.parquet"):
        published_index = pq.read_table(index)
        hashes = dict(zip(table["key"].to_pylist(), table["image_hash"].to_pylist(), strict=True))
        column = [
            hashes.get(row["key"], row["image_hash"])
            for row in published_index.select(["key", "image_hash"]).to_pylist()
        ]
        column_index = published_index.schema.get_field_index("image_hash")
        pq.write_table(
            published_index.set_column(
                column_index, published_index.schema.field(column_index), pa.array(column, pa.string())
            ),
            index,
        )
    assert verdict(folder, rule="contamination").outcome == "failed"


def test_scores_that_moved_are_drift_and_the_same_scores_are_not(finished: Run, copied: Path) -> None:
    rule = {"rule": "score_drift", "per": "source", "max": 0.05}
    assert verdict(copied, finished.folder, **rule).outcome == "passed"
    assert verdict(copied, **rule).outcome == "skipped"
    for path in (copied / "select").glob("*.parquet"):
        table = pq.read_table(path)
        moved = pa.array(np.asarray(table["score"]) - np.float32(0.1))
        column_index = table.schema.get_field_index("score")
        pq.write_table(table.set_column(column_index, table.schema.field(column_index), moved), path)
    result = verdict(copied, finished.folder, **rule)
    before = [row["score"] for row in rows(finished, "select") if row["source"] == "laion"]
    after = [score - 0.1 for score in before]
    grid = np.union1d(before, after)
    d = max(
        abs(np.searchsorted(np.sort(before), grid, "right") - np.searchsorted(np.sort(after), grid, "right"))
    ) / len(before)
    assert result.outcome == "failed"
    assert {figure.subject: figure.value for figure in result.failing}["laion"] == pytest.approx(d, abs=0.01)


def test_a_p_value_is_that_of_the_limit_distribution() -> None:
    # Smirnov's table: D sqrt(nm/(n+m)) of 1.3581 and 1.6276 are the critical values at 0.05 and 0.01.
    for scaled, p in ((1.3581, 0.05), (1.6276, 0.01)):
        assert p_value(scaled / np.sqrt(5000), 10_000, 10_000) == pytest.approx(p, rel=0.002)
    assert p_value(0.0, 100, 100) == 1.0


def test_any_query_that_gives_a_number(finished: Run) -> None:
    query = "select count(*) from pairs where source = 'laion'"
    count = sum(row["source"] == "laion" for row in rows(finished, "dataset"))
    assert verdict(finished.folder, rule="sql", name="a", sql=query, min=count, max=count).outcome == "passed"
    assert verdict(finished.folder, rule="sql", name="a", sql=query, max=count - 1).outcome == "failed"
    for wrong in ("select 'many'", "select nothing from pairs", "select 1, 2 from pairs"):
        with pytest.raises(RuleError):
            verdict(finished.folder, rule="sql", name="a", sql=wrong, max=1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: [{rule: kept_shar, min: 0.1}]", "did you mean `kept_share`"),
        ("rules:\n- rule: kept_share\n  mim: 0.1", ":3"),
        ("rules: [{rule: kept_share, min: 2}]", "less than or equal"),
        ("rules: [{rule: pairs}]", "min, max or both"),
        ("rules: []", "at least 1"),
        ("- complete", "a mapping"),
        ("rules: [", "not YAML"),
    ],
)
def test_a_policy_that_cannot_be_used_says_where_and_why(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load_policy(path)
    assert said in str(error.value) and str(path) in str(error.value)


def test_the_command_its_codes_and_its_json(finished: Run, tmp_path: Path) -> None:
    assert zhclip("check", "--example").stdout == DEFAULT.read_text(encoding="utf-8")
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump({"rules": [{"rule": "complete"}, {"rule": "pairs", "min": 1}]}), encoding="utf-8")
    done = zhclip("check", finished.folder, "--policy", path)
    assert done.exit_code == 0 and "passed" in done.stdout
    path.write_text(yaml.safe_dump({"rules": [{"rule": "pairs", "min": 10**7}]}), encoding="utf-8")
    done = zhclip("check", finished.folder, "--policy", path, "--json")
    assert done.exit_code == 1 and "failed" in json.dumps(json.loads(done.stdout))
    rules = [{"rule": "pairs", "min": 10**7, "severity": "warn"}, {"rule": "complete"}]
    path.write_text(yaml.safe_dump({"rules": rules}), encoding="utf-8")
    done = zhclip("check", finished.folder, "--policy", path)
    assert done.exit_code == 0 and done.stdout.endswith("passed: 1 passed, 1 warning\n")
    assert zhclip("check", finished.folder, "--policy", tmp_path / "none.yaml").exit_code == 2
    assert zhclip("check", tmp_path, "--policy", path).exit_code == 2
    assert zhclip("check", finished.folder, "--policy", path, "--against", tmp_path).exit_code == 2


def test_policies_that_ship_are_valid() -> None:
    for path in (DEFAULT, *(REPOSITORY / "policies").glob("*.yaml")):
        assert load_policy(path).rules
