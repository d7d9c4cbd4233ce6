"""Beam's embedded runner, which notes the options that reached it."""

from __future__ import annotations

from typing import ClassVar

from apache_beam import Pipeline
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner


class RecordingRunner(FnApiRunner):
    """Named on the command line as `--runner=tests.zhclip.recording_runner.RecordingRunner`."""

    workers: ClassVar[list[int]] = []  # --direct_num_workers of each pipeline

    def run_pipeline(self, pipeline: Pipeline, options: PipelineOptions) -> object:
        """As FnApiRunner does."""
        self.workers.append(options.view_as(DirectOptions).direct_num_workers)
        return super().run_pipeline(pipeline, options)
