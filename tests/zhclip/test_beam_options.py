"""Options after `--`: which reach Beam, and which are refused with the nearest known one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

from foundation.errors import EXIT_INVALID
from pipeline.runners.options import BeamOptionError, check_beam_options


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--runner=FlinkRunner", "--parallelism=64", "--flink_version=1.19", "--environment_type=LOOPBACK"],
        ["--runner", "SparkRunner", "--spark_version", "3"],
        ["--direct_num_workers=2", "--direct_running_mode", "in_memory"],
        ["--experiments=a", "--experiments", "b", "--save_main_session"],
        ["--runner=DataflowRunner", "--project=p", "--region=r", "--temp_location=gs://b/t"],
        ["--runner=FlinkRunner", "--checkpointing_interval=1000"],  # the Java side's own: it cannot be asked here
        ["--runner=FlinkRunner", "--state_backend", "filesystem"],
        ["--runner=flink"],
        ["--runner=apache_beam.runners.portability.flink_runner.FlinkRunner"],
    ],
)
def test_known_options_pass(options: list[str]) -> None:
    check_beam_options(options)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--paralellism=64"], "Beam has no option --paralellism; did you mean --parallelism?"),
        (["--runner=FlinkRunner", "--paralellism=64"], "did you mean --parallelism?"),
        (["--runner=FlinkRunner", "--flink-master=host:1"], "did you mean --flink_master?"),
        (["--runer=FlinkRunner"], "did you mean --runner?"),
        (["--direct_num_worker", "2"], "did you mean --direct_num_workers?"),
        (
            ["--checkpointing_interval=1000"],
            "Beam has no option --checkpointing_interval",
        ),  # the embedded runner has not
        (["--runner=FlnkRunner"], "--runner=FlnkRunner: Beam has no such runner; did you mean `FlinkRunner`?"),
        (["--runner", "9"], "--runner=9: Beam has no such runner; known here: DataflowRunner, "),
        (["--runner=no.such.Runner"], "--runner=no.such.Runner: there is no such class: No module named 'no'"),
        (["--runner=json.Runner"], "--runner=json.Runner: there is no such class: "),
        (["--zzzz"], "Beam has no option --zzzz"),
        (["--parallelism=many"], "Beam: argument --parallelism: invalid int value: 'many'"),
        (["recipe.yaml"], "'recipe.yaml' is no option of Beam: those begin with --"),
        (["--save_main_session", "recipe.yaml"], "'recipe.yaml' is no option of Beam"),
    ],
)
def test_unknown_options_are_refused_with_the_nearest_known_one(options: list[str], message: str) -> None:
    with pytest.raises(BeamOptionError) as raised:
        check_beam_options(options)
    assert message in str(raised.value)
    assert raised.value.exit_code == EXIT_INVALID


class JobServer(beam_job_api_pb2_grpc.JobServiceServicer):
    """Declares one option, as Flink's job server declares its own."""

    def DescribePipelineOptions(self, request: object, context: object) -> object:  # noqa: N802, ARG002
        option = beam_job_api_pb2.PipelineOptionDescriptor(name="checkpointing_interval")
        return beam_job_api_pb2.DescribePipelineOptionsResponse(options=[option])


@pytest.fixture
def endpoint() -> Iterator[str]:
    """The address of a job server."""
    server = grpc.server(ThreadPoolExecutor(1))
    beam_job_api_pb2_grpc.add_JobServiceServicer_to_server(JobServer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


def test_job_server_is_asked_for_its_own_options(endpoint: str) -> None:
    options = ["--runner=PortableRunner", f"--job_endpoint={endpoint}"]
    check_beam_options([*options, "--checkpointing_interval=1000"])
    with pytest.raises(BeamOptionError, match="no option --checkpoint_interval; did you mean --checkpointing_interval"):
        check_beam_options([*options, "--checkpoint_interval=1000"])
    with pytest.raises(BeamOptionError, match="no option --state_backend"):
        check_beam_options([*options, "--state_backend=filesystem"])
