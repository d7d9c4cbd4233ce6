"""The command `zhclip serve`."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from foundation.console import announce, fail
from foundation.errors import EXIT_INVALID
from zhclip.words import RunOption, named_run


def add_command(app: typer.Typer) -> None:
    """Add `serve` to a command line."""
    app.command("serve")(serve_command)


def serve_command(
    runs: Annotated[str | None, typer.Argument(help="A folder of runs, or a single run.", show_default=False)] = None,
    run_option: RunOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but a loopback address needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one.", min=0, max=65535)] = 8765,
    token: Annotated[
        str,
        typer.Option(
            envvar="ZHCLIP_TOKEN",
            show_envvar=True,
            help="Token that every visitor must give. Prefer the variable: `ps` shows options.",
        ),
    ] = "",
) -> None:
    """Show runs in a web browser: their progress, the outcome of every pair, and SQL. Ctrl-C stops it.

    zhclip serve runs                                                       # http://127.0.0.1:8765
    ZHCLIP_TOKEN=$(openssl rand -hex 16) zhclip serve runs --host 0.0.0.0   # for others, behind TLS
    """
    from foundation.extras import need
    from foundation.log import quiet_libraries

    need("serve", "zhclip serve")
    quiet_libraries()
    from pipeline.serve.access import MIN_TOKEN, Access, is_loopback

    token = token.strip()
    named = named_run(runs, run_option, "zhclip serve RUN, or a folder of runs")
    if "://" in named:
        fail(f"{named} is no folder: `zhclip report`, `sql` and `status` show runs at an address", EXIT_INVALID)
    folder = Path(named)
    if not folder.is_dir():
        fail(f"{folder} is not a folder; name a folder of runs, or one run", EXIT_INVALID)
    if token and len(token) < MIN_TOKEN:
        fail(f"the token has {len(token)} characters; {MIN_TOKEN} are the least: openssl rand -hex 16", EXIT_INVALID)
    if not token and not is_loopback(host):
        fail(f"--host {host} lets others in, so it needs a token: ZHCLIP_TOKEN=$(openssl rand -hex 16)", EXIT_INVALID)
    _serve(folder, Access(is_loopback(host), token), _listen(host, port))


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        fail(f"--host {host} --port {port}: {error.strerror or error}", EXIT_INVALID)
    return listening


def _serve(runs: Path, access, listening: socket.socket) -> None:  # type: ignore[no-untyped-def]
    import uvicorn

    from pipeline.serve.app import create_app

    host, port, *_ = listening.getsockname()
    config = uvicorn.Config(create_app(runs, access), log_level="warning", access_log=False, server_header=False)
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    listening.listen(config.backlog)  # who reads the address may connect at once, and waits for the answer
    shown = f"[green]serving[/] {escape(str(runs))} at [bold]{address}[/]   Ctrl-C stops it"
    announce("serve", f"serving {runs} at {address}", shown, folder=str(runs), address=address)
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])
    announce("serve", "stopped")
