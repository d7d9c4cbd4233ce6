"""`pipeline` from Python: its documented examples, what importing it costs, and what it tells of its progress."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.errors import InvalidInput
from pipeline import COMMANDS, Run, curate, read_run, retry, run_stages, status
from pipeline.runners.progress import Progress
from pipeline.runners.retry import Retry
from tests.support.paths import REPOSITORY
from tests.zhclip.shop import BROKEN, PICTURES, Shop

pytestmark = pytest.mark.slow

EXAMPLES = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/api.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("example, last_line", [
    (EXAMPLES[0], rf"published: {PICTURES - BROKEN} pairs, in .*/runs/first/dataset"),
    (EXAMPLES[1], rf"{BROKEN} of them came"),
], ids=["all stages", "stages one at a time"])  # fmt: skip
def test_documented_example_runs_as_it_stands(
    example: str, last_line: str, shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shop.folder)
    exec(compile(example, "docs/api.md", "exec"), {"__name__": "example"})
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(last_line, lines[-1]), lines


def test_importing_costs_neither_beam_nor_torch() -> None:
    code = "import sys; from pipeline import load_recipe, curate, Run; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "pipeline.api" in loaded
    assert loaded.isdisjoint({"apache_beam", "torch", "transformers", "matplotlib", "fastapi"})


def test_package_itself_loads_nothing() -> None:
    code = "import sys; before = set(sys.modules); import pipeline; print(*{*sys.modules} - before)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "pydantic" not in done.stdout.split()
    assert "pipeline" in done.stdout.split()


def test_a_run_is_opened_by_a_function_that_the_error_names(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"open it with `pipeline\.read_run\(folder\)`"):
        Run(tmp_path)  # type: ignore[call-arg]


def test_retry_checks_the_options_for_beam_before_it_looks_for_work(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="did you mean --parallelism"):
        retry(tmp_path, Retry([], {}), beam_options=["--parallelsm=3"])


def test_every_documented_function_exists() -> None:
    import pipeline

    documented = re.findall(r"^\| `(\w+)\(", (REPOSITORY / "docs/api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"curate", "retry", "verify"} <= set(documented)
    assert set(documented) == {
        name for name in pipeline.__all__ if callable(getattr(pipeline, name)) and name[0].islower()
    }
    assert set(pipeline.__all__) <= set(dir(pipeline))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pipeline.nothing


def test_progress_tells_of_every_stage_from_its_first_shard_to_its_last(sold: tuple[Shop, Run], tmp_path: Path) -> None:
    shop, _ = sold
    events: list[Progress] = []
    run = curate(shop.recipe, tmp_path / "run", stages=["plan"], workers=1, progress=events.append)
    stages = list(dict.fromkeys(event.stage for event in events))
    assert stages[-1] == "plan"
    for stage in stages:
        of_stage = [event for event in events if event.stage == stage]
        assert (of_stage[0].done, of_stage[-1].done) == (0, of_stage[-1].total), of_stage
    read = next(event for event in reversed(events) if event.stage == "read")
    assert (read.rows_in, read.rows_out) == (PICTURES + 1, PICTURES + 1)
    assert (events[-1].rows_in, events[-1].rows_out) == (PICTURES, PICTURES)
    again: list[Progress] = []
    run_stages(run, ["plan"], progress=again.append)  # an earlier process's work counts as done
    assert [(event.stage, event.done, event.total) for event in again] == [
        (stage, event.total, event.total) for stage in stages for event in [e for e in events if e.stage == stage][-1:]
    ]


def test_what_the_progress_function_raises_is_raised(sold: tuple[Shop, Run], tmp_path: Path) -> None:
    shop, _ = sold

    def stop(progress: Progress) -> None:
        raise LookupError(progress.stage)

    with pytest.raises(LookupError, match="read"):
        curate(shop.recipe, tmp_path / "run", stages=["plan"], progress=stop)
    curate(None, tmp_path / "run", stages=["plan"])  # the run is fit to be continued


def test_stage_that_is_none_and_option_that_is_none_are_refused_before_a_run_is_started(
    sold: tuple[Shop, Run], tmp_path: Path
) -> None:
    shop, _ = sold
    with pytest.raises(InvalidInput, match="'scores' is no stage; stages are translate, plan"):
        curate(shop.recipe, tmp_path / "run", stages=["scores"])
    with pytest.raises(InvalidInput, match="'read' is done by the command `plan`"):
        curate(shop.recipe, tmp_path / "run", stages=["read"])
    with pytest.raises(InvalidInput, match="expected a list of names"):
        curate(shop.recipe, tmp_path / "run", stages="plan")
    with pytest.raises(InvalidInput, match="did you mean --parallelism"):
        curate(shop.recipe, tmp_path / "run", beam_options=["--paralellism=2"])
    assert not (tmp_path / "run").exists()


def test_status_takes_a_run_or_its_folder(sold: tuple[Shop, Run]) -> None:
    _, run = sold
    assert status(run) == status(str(run.folder)) == status(read_run(run.folder))
    assert COMMANDS[:2] == ("translate", "plan")


def test_work_of_a_version_with_other_stages_is_refused(sold: tuple[Shop, Run], tmp_path: Path) -> None:
    """Its manifests do not count, and yet nothing is pending: it would be `done` without a score that counts."""
    shutil.copytree(sold[1].folder, tmp_path / "run")
    for path in (tmp_path / "run" / "score").glob("*.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "digest": "0" * 16}))
    with pytest.raises(InvalidInput, match=r"score/000000.json does not carry the digest"):
        curate(None, tmp_path / "run")
