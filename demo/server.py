"""The demo's web: a real HTTP server on loopback that serves good images and every kind of trouble.

    python -m demo.server --folder .cache/demo/world/web --port 18711

It prints its address when it is ready. What it answers stands in the folder's `routes.json`: path (not percent-encoded) →
route, an object with a `kind` (see `Web`) and what that kind needs. A path without a route is 404.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from foundation.errors import WorkFailed

DEFAULT_PORT = 18711  # fixed, so that urls and with them the keys of pairs are the same in every run
CHUNK = b"\xff\xd8\xff\xe0" + b"\0" * 65532
STREAM_BYTES = 64 * 2**20  # what a route of kind `too_many_bytes` sends at most
TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".gif": "image/gif", ".webp": "image/webp", ".html": "text/html"}


class PortTaken(WorkFailed):
    """Another process listens on the port."""


class Web:
    """Answers requests from a folder with `routes.json`. One method a kind of route."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.routes: dict[str, dict[str, Any]] = json.loads((folder / "routes.json").read_text(encoding="utf-8"))
        self.asked: Counter[str] = Counter()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The handler of every GET."""
        route = self.routes.get(request.path)
        if route is None:
            return web.Response(status=404, text="no such image")
        return await getattr(self, f"_{route['kind']}")(request, route)

    async def _file(self, _: web.Request, route: dict[str, Any]) -> web.StreamResponse:
        path = self.folder / route["file"]
        kind = TYPES.get(path.suffix, "application/octet-stream")
        return web.Response(body=path.read_bytes(), content_type=kind, headers=route.get("headers"))

    async def _status(self, _: web.Request, route: dict[str, Any]) -> web.StreamResponse:
        return web.Response(status=route["status"], text="gone")

    async def _redirect(self, _: web.Request, route: dict[str, Any]) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": route["to"]})

    async def _flaky(self, request: web.Request, route: dict[str, Any]) -> web.StreamResponse:
        """503 at the first request of a path, the file from then on."""
        self.asked[request.path] += 1
        if self.asked[request.path] == 1:
            return web.Response(status=503, text="busy, come back")
        return await self._file(request, route)

    async def _reset(self, request: web.Request, _: dict[str, Any]) -> web.StreamResponse:
        """The connection is reset instead of an answer."""
        assert request.transport is not None
        sock = request.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close sends RST
        request.transport.abort()
        return web.Response()

    async def _drip(self, request: web.Request, _: dict[str, Any]) -> web.StreamResponse:
        """One byte every 0.2 s: no single wait is long, and it never ends."""
        response = await _begin(request, {"Content-Length": "50000"})
        for position in range(50000):
            await response.write(CHUNK[position : position + 1])
            await asyncio.sleep(0.2)
        return response

    async def _hang(self, _: web.Request, __: dict[str, Any]) -> web.StreamResponse:
        """The connection is taken, and nothing is ever answered."""
        await asyncio.sleep(3600)
        return web.Response(status=504)

    async def _too_many_bytes(self, request: web.Request, route: dict[str, Any]) -> web.StreamResponse:
        """A body of STREAM_BYTES, announced by its length or not."""
        response = await _begin(request, {"Content-Length": str(STREAM_BYTES)} if route["announced"] else {})
        with suppress(ConnectionResetError):  # a sound downloader hangs up
            for _ in range(STREAM_BYTES // len(CHUNK)):
                await response.write(CHUNK)
        return response


async def _begin(request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "image/jpeg", **headers})
    await response.prepare(request)
    return response


async def _serve(folder: Path, port: int) -> None:
    app = web.Application()
    app.router.add_get("/{path:.*}", Web(folder).answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
    except OSError as error:
        raise PortTaken(
            f"port {port} of 127.0.0.1 cannot be used: {error.strerror}; name another with --port"
        ) from None
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


@contextmanager
def serving(folder: Path, port: int = DEFAULT_PORT) -> Iterator[str]:
    """Serves `folder` in a child process while the block runs; gives the base url, `http://127.0.0.1:PORT`.

    `port` 0 takes any free one. Raises PortTaken where the server cannot start.
    """
    command = [sys.executable, "-m", "demo.server", "--folder", str(folder), "--port", str(port)]
    root = Path(__file__).resolve().parent.parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            if not address.startswith("http://"):
                raise PortTaken(address or "the demo's server did not start")
            yield address
        finally:
            process.terminate()


def main() -> int:
    """Command line; 1 where the port is taken."""
    options = argparse.ArgumentParser(description="Serve the demo's images and faults on 127.0.0.1.")
    options.add_argument("--folder", type=Path, required=True, help="folder with routes.json")
    options.add_argument("--port", type=int, default=DEFAULT_PORT, help="0: any free one")
    given = options.parse_args()
    try:
        asyncio.run(_serve(given.folder.resolve(), given.port))
    except PortTaken as error:
        print(error, flush=True)  # on stdout, where `serving` reads
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
