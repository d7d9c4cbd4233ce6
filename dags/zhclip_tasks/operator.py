"""Runs zhclip as a child process. Variables say how it is called and where: see docs/airflow.md."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.sdk import BaseOperator, Variable
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

INVALID = 2  # zhclip's exit code for what cannot be used: trying again will not help


class ZhclipOperator(BaseOperator):
    """One zhclip command, without a shell between.

    Args:
        words: the run's settings → words of the command; None skips the task.
        final: exit codes after which another try makes no sense.
        training: the words are for `zhclip train`, which a Variable may replace by torchrun.
    """

    def __init__(
        self,
        *,
        words: Callable[[dict[str, Any]], list[str] | None],
        final: Collection[int] = (),
        training: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.words, self.final, self.training = words, final, training
        self.hook: SubprocessHook | None = None

    def execute(self, context: Any) -> str:
        """Runs it; its output goes to the task's log, its last line to XCom."""
        words = self.words(settings_of(context["ti"]))
        if words is None:
            raise AirflowSkipException("nothing was asked for")
        self.hook = SubprocessHook()
        command = [*(train_command() if self.training else zhclip_command()), *words]
        done = self.hook.run_command(command, env=environment(), cwd=str(folder()))
        if done.exit_code:
            kind = AirflowFailException if done.exit_code in self.final else AirflowException
            raise kind(f"{shlex.join(command)} ended with exit code {done.exit_code}: {done.output}")
        return str(done.output)

    def on_kill(self) -> None:
        """Passes on that the task is to end: stages die and resume, a training saves a checkpoint."""
        if self.hook:
            with suppress(ProcessLookupError):  # it has just ended
                self.hook.send_sigterm()


def settings_of(ti: Any) -> dict[str, Any]:
    """What the task `settle` found out; asked for here, as an argument would draw an arrow from it to every task."""
    settings: dict[str, Any] = ti.xcom_pull(task_ids="settle")
    return settings


def output_of(words: list[str], final: Collection[int] = (INVALID,)) -> str:
    """What a zhclip command prints on stdout.

    Raises:
        AirflowFailException: it ended with an exit code in `final`, so that another try makes no sense.
        AirflowException: it failed.
    """
    command = [*zhclip_command(), *words]
    done = subprocess.run(command, env=environment(), cwd=folder(), capture_output=True, text=True, check=False)
    if done.returncode:
        kind = AirflowFailException if done.returncode in final else AirflowException
        raise kind(f"{shlex.join(command)} ended with exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def zhclip_command() -> list[str]:
    """How zhclip is called: the Variable zhclip_command, such as /opt/zhclip/bin/zhclip."""
    return shlex.split(Variable.get("zhclip_command", default="zhclip"))


def train_command() -> list[str]:
    """How a training is called: the Variable zhclip_train_command, such as `torchrun --nproc-per-node 8 -m trainer`."""
    return shlex.split(Variable.get("zhclip_train_command", default="")) or [*zhclip_command(), "train"]


def folder() -> Path:
    """Where zhclip is called, and where relative paths begin: the Variable zhclip_folder."""
    return Path(Variable.get("zhclip_folder", default=".")).absolute()


def environment() -> dict[str, str]:
    """Airflow's own, with lines as wide as a log's."""
    return {**os.environ, "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
