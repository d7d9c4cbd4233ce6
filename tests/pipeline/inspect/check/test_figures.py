"""The figures of the remaining rules of `zhclip check`, each against a count of its own over the files."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import pytest
from scipy.stats import ks_2samp

from pipeline.inspect.check.check import RuleResult, check
from pipeline.inspect.check.policy import Policy
from pipeline.run.folder import Item, Run
from pipeline.stages.opening import open_run, read_run
from pipeline.stages.registry import STAGES


def verdict(run: Path, against: Path | None = None, **rule: Any) -> RuleResult:
    return check(run, Policy.model_validate({"rules": [rule]}), against)[0]


def figures(result: RuleResult) -> dict[str | None, float | None]:
    return {figure.subject: figure.value for figure in result.failing}


def rows(run: Run, folder: str) -> list[dict[str, Any]]:
    paths = sorted((run.folder / folder).glob("[0-9]*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


@pytest.fixture(scope="module")
def stricter(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run with LAION's threshold at 0.4; nothing is published yet."""
    folder = tmp_path_factory.mktemp("stricter") / "run"
    shutil.copytree(finished.folder, folder)
    content = read_run(folder).recipe.model_dump(mode="json")
    content["sources"]["laion"]["min_score"] = 0.4
    run, _ = open_run(folder, type(finished.recipe).model_validate(content))
    for manifest in run.manifests("score"):
        STAGES["select"].process(run, Item(manifest.shard))
    return run


def test_downloads_that_fail_by_host(finished: Run) -> None:
    status = {row["key"]: row["status"] for row in rows(finished, "download")}
    tried: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for row in rows(finished, "plan"):
        host = str(urlsplit(row["url"]).hostname)
        tried[host] += 1
        failed[host] += status[row["key"]] != "ok"
    expected = {host: failed[host] / tried[host] for host in tried if failed[host] and tried[host] >= 2}
    result = verdict(finished.folder, rule="download_failure", per="domain", max=0, least=2)
    assert expected and figures(result) == pytest.approx(expected)
    assert verdict(finished.folder, rule="download_failure", per="domain", max=0, least=10**6).outcome == "passed"


def test_rows_that_cannot_be_read(finished: Run) -> None:
    lost: Counter[str] = Counter()
    for row in rows(finished, "ledger/read"):
        lost[row["source"]] += row["rows"] if row["outcome"] == "failed" else 0
    read: Counter[str] = Counter()
    for manifest in finished.manifests("read"):
        read.update({name: it["in"] for name, it in manifest.counts["sources"].items()})
    expected = {source: lost[source] / read[source] for source in read if lost[source]}
    assert expected and figures(verdict(finished.folder, rule="unreadable_share", max=0)) == pytest.approx(expected)


@pytest.mark.parametrize("of", ["source", "caption", "domain"])
def test_the_largest_share_of_one_thing(finished: Run, of: str) -> None:
    published = rows(finished, "dataset")
    counts = Counter(str(urlsplit(row["url"]).hostname) if of == "domain" else row[of] for row in published)
    most = max(counts.values()) / len(published)
    result = verdict(finished.folder, rule="largest_share", of=of, max=0)
    assert result.worst is not None and result.worst.value == pytest.approx(most)
    assert counts[result.worst.subject] == max(counts.values())
    assert verdict(finished.folder, rule="largest_share", of=of, max=most).outcome == "passed"


def test_another_threshold_moves_the_kept_share_but_is_no_drift_of_scores(finished: Run, stricter: Run) -> None:
    assert verdict(stricter.folder, finished.folder, rule="score_drift", max=0.001).outcome == "passed"
    result = verdict(stricter.folder, finished.folder, rule="kept_share_change", max=0.0001)
    published = Counter(row["source"] for row in rows(finished, "dataset"))
    read: Counter[str] = Counter()
    for manifest in finished.manifests("read"):
        read.update({name: it["in"] - it["out_of_scope"] for name, it in manifest.counts["sources"].items()})
    assert figures(result) == pytest.approx({source: published[source] / read[source] for source in published})
    assert verdict(stricter.folder, finished.folder, rule="complete").outcome == "failed"


def test_the_statistic_of_drift_is_scipys(finished: Run) -> None:
    laion, wukong = (
        [row["score"] for row in rows(finished, "select") if row["source"] == name] for name in ("laion", "wukong")
    )
    with_one = "select count(*) from (from decisions where source = 'laion')"
    assert (
        verdict(finished.folder, rule="sql", name="n", sql=with_one, min=len(laion), max=len(laion)).outcome == "passed"
    )
    from pipeline.inspect.catalog import connect
    from pipeline.inspect.check.drift import STATISTIC, p_value

    with connect(finished.folder) as connection:
        connection.execute("create schema previous")
        connection.execute("create table laion as select score from decisions where source = 'laion'")
        connection.execute("create table previous.laion as select score from decisions where source = 'wukong'")
        query = STATISTIC.format(subject="null::varchar", table="laion", previous="previous")
        _, d, _, _, _, n, m = connection.execute(query).fetchall()[0]
    expected = ks_2samp(laion, wukong, method="asymp")
    assert (n, m) == (len(laion), len(wukong)) and d == pytest.approx(expected.statistic)
    assert p_value(d, int(n), int(m)) == pytest.approx(expected.pvalue, rel=0.2)
