"""Imports what takes seconds to import, then forks for every request a process that runs a module as `python -m` does.

Started as a file and with `-P`, so that none of our own modules are imported before the fork: the process finds them in its
own folder and PYTHONPATH. Use it through tests.support.warm.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from typing import NoReturn

HEAVY = (
    "numpy", "pyarrow.compute", "pyarrow.dataset", "pyarrow.parquet", "duckdb", "polars", "pydantic", "typer.main", "rich.markdown",
    "apache_beam", "apache_beam.runners.portability.fn_api_runner", "torch", "torch.utils.tensorboard", "torchvision", "open_clip",
    "transformers.modeling_utils", "transformers.models.xlm_roberta.modeling_xlm_roberta", "matplotlib.pyplot",
)  # fmt: skip


def serve(listener: socket.socket) -> dict:
    """Answers requests until standard input ends. Returns in a process that is to run a module, and nowhere else."""
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system reaps what `_attend` forks for
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                os._exit(0)
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                return _attend(connection)
            connection.close()


def _attend(connection: socket.socket) -> dict:
    """Forks the process, and tells the client its id and in the end its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rw", encoding="utf-8") as file:
        request = json.loads(file.readline())
        pid = os.fork()
        if pid:
            _close(streams)
            print(pid, file=file, flush=True)
            _, status = os.waitpid(pid, 0)
            with suppress(BrokenPipeError):
                print(os.waitstatus_to_exitcode(status), file=file, flush=True)
            os._exit(0)
    connection.close()
    if request["group"]:
        os.setpgid(0, 0)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    _close(streams)
    return request


def _close(streams: list[int]) -> None:
    for stream in streams:
        os.close(stream)


def become(request: dict) -> None:
    """Takes the folder, environment and arguments of the request."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[:0] = [request["cwd"], *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [request["module"], *request["words"]]


def run(module: str) -> NoReturn:
    """Runs it and ends. Memory is not taken apart: much of it is shared, and would be copied for that."""
    code: object = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the interpreter does at its end
    atexit._run_exitfuncs()
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(code or 0))  # type: ignore[call-overload]


if __name__ == "__main__":
    for name in HEAVY:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what is never freed need not be looked through, in every process anew
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen()
        print("ready", flush=True)
        request = serve(listener)
    become(request)
    run(request["module"])
