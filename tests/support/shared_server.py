"""python -m tests.support.shared_server WEB PORT FOLDER: serves WEB for as long as a process has a lock on FOLDER/users."""

from __future__ import annotations

import fcntl
import sys
from pathlib import Path

from demo.server import PortTaken, serving


def main(web: Path, port: int, folder: Path) -> int:
    """1 where the port is taken."""
    # `server` is closed, and so unlocked, before `users`: who has a lock on `users` sees whether the server runs.
    with (folder / "users").open("a") as users, (folder / "server").open("a") as running:
        fcntl.flock(running, fcntl.LOCK_EX)
        try:
            with serving(web, port) as address:
                print(address, flush=True)
                fcntl.flock(users, fcntl.LOCK_EX)  # and keep it until the server has ended
        except PortTaken as error:
            print(error, flush=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
