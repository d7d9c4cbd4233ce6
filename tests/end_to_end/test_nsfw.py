"""A limit on the NSFW score of images, in a real run with the real classifier."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from rich.console import Console

from pipeline.inspect.verify import verify_run
from pipeline.recipe import ConfigError, load_recipe
from pipeline.stages.opening import read_run
from tests.support.runs import REPOSITORY, Site


def test_pairs_above_the_limit_are_in_the_ledger(site: Site, tmp_path: Path) -> None:
    limit = 0.01  # drawings score far below what is called NSFW: a limit among their scores, to see it work
    done = site.curate(tmp_path / "run", f"--set score.nsfw=true --set sources.laion.max_nsfw={limit}")
    assert done.returncode == 0, done.stderr
    rows = duckdb.sql(f"""
        select p.source, s.nsfw_score, l.reasons
        from '{tmp_path}/run/score/*.parquet' s join '{tmp_path}/run/plan/*.parquet' p using (key)
        left join '{tmp_path}/run/ledger/select/*.parquet' l using (key)
    """).fetchall()
    above = [(source, reasons or []) for source, score, reasons in rows if score > limit]
    assert {"laion", "wukong"} == {source for source, _ in above}
    assert all(("nsfw_too_high" in reasons) == (source == "laion") for source, reasons in above)
    assert not [reasons for _, score, reasons in rows if score <= limit and "nsfw_too_high" in (reasons or [])]
    report = verify_run(read_run(tmp_path / "run"), Console(quiet=True))
    assert not report.problems


def test_a_limit_without_scores_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"max_nsfw needs score\.nsfw"):
        load_recipe(REPOSITORY / "demo" / "recipes" / "demo.yaml", ["sources.laion.max_nsfw=0.5"])
