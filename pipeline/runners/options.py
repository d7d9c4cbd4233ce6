"""Options for Beam, checked before any work: an unknown one, which Beam would ignore with a warning, is refused, and so is
an unknown runner, which ends in a traceback of Beam's."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Iterator, Sequence
from pkgutil import resolve_name
from typing import NoReturn

from foundation.config.explain import nearest
from foundation.errors import InvalidInput

SERVER_SECONDS = 10  # for the job server to say which options it has
EMBEDDED = {None, "DirectRunner", "FnApiRunner", "BundleBasedDirectRunner", "SwitchingDirectRunner"}


class BeamOptionError(InvalidInput):
    """An option that Beam does not know, or a value that it does not take."""


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would print and exit."""

    def error(self, message: str) -> NoReturn:
        raise BeamOptionError(f"Beam: {message}")


def check_beam_options(options: Sequence[str]) -> None:
    """Check every option against those that Beam's own classes declare, and the job server where one is named.

    A runner that takes options of its own and cannot be asked (one that starts its job server later, a remote service) has those
    that are not close to a known one passed on.

    Raises:
        BeamOptionError: an option or the runner is unknown; the message names the nearest known one.
    """
    if not options:
        return
    parser = _parser()
    given, unknown = parser.parse_known_args(list(options))
    if given.runner is not None:
        _check_runner(given.runner)
    if not unknown:
        return
    known = {name for action in parser._actions for name in action.option_strings}
    if given.job_endpoint and given.job_endpoint != "embed":
        known |= _server_options(given.job_endpoint)
        strict = True
    else:
        strict = given.runner in EMBEDDED
    for name in _unknown_names(unknown):
        if name not in known:
            _refuse(name, known, strict)


def _parser() -> argparse.ArgumentParser:
    from apache_beam.options import pipeline_options

    # Beam's parser class has the method that its options classes call; `error` of it prints usage and exits.
    kind = type("BeamParser", (_Parser, pipeline_options._BeamArgumentParser), {})
    parser: argparse.ArgumentParser = kind(prog="zhclip", allow_abbrev=False, add_help=False)
    for options_class in {str(kind): kind for kind in pipeline_options.PipelineOptions.__subclasses__()}.values():
        options_class._add_argparse_args(parser)
    return parser


def _check_runner(name: str) -> None:
    """Refuse a runner that Beam would not find: by its name, with or without `Runner`, or a class by its full name."""
    from apache_beam.options.pipeline_options import StandardOptions

    if "." in name:
        try:
            resolve_name(name)
        except (ImportError, AttributeError, ValueError) as error:
            raise BeamOptionError(f"--runner={name}: there is no such class: {error}") from None
        return
    known = StandardOptions.KNOWN_RUNNER_NAMES
    if not {name.lower(), f"{name.lower()}runner"} & {runner.lower() for runner in known}:
        raise BeamOptionError(f"--runner={name}: Beam has no such runner; {nearest(name, known)}")


def _server_options(endpoint: str) -> set[str]:
    """Names of the options that a job server declares beside Beam's own."""
    import grpc  # type: ignore[import-untyped]
    from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

    with grpc.insecure_channel(endpoint) as channel:
        server = beam_job_api_pb2_grpc.JobServiceStub(channel)
        try:
            described = server.DescribePipelineOptions(
                beam_job_api_pb2.DescribePipelineOptionsRequest(), timeout=SERVER_SECONDS, wait_for_ready=True
            )
        except grpc.RpcError as error:
            raise BeamOptionError(
                f"--job_endpoint={endpoint}: the job server does not answer: {error.code()}"
            ) from None
    return {f"--{option.name}" for option in described.options}


def _unknown_names(words: Sequence[str]) -> Iterator[str]:
    """Names of options among the words that Beam's parser left over. A word behind `--name` is its value."""
    value_may_follow = False
    for word in words:
        if word.startswith("-"):
            yield word.partition("=")[0]
        elif not value_may_follow:
            raise BeamOptionError(f"{word!r} is no option of Beam: those begin with --")
        value_may_follow = word.startswith("-") and "=" not in word


def _refuse(name: str, known: Iterable[str], strict: bool) -> None:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6 if strict else 0.8)
    if near:
        raise BeamOptionError(f"Beam has no option {name}; did you mean {near[0]}?")
    if strict:
        raise BeamOptionError(f"Beam has no option {name}")
