"""The one process that drives a run, and may change what others made of it: a lease in the run's storage.

No lock of an operating system, and no trust in clocks: a driver takes the next epoch by writing `.driver/EPOCH.json` where there
is none, which one of several can do, and then shows that it lives by changing `.driver/EPOCH.beat` every few seconds. Who finds a
lease asks whether its holder lives: on the holder's own machine the process tells, elsewhere the beat, which is watched for as
long as a living holder would need to change it. Workers commit under the epoch of their driver, and only while it is the last.
"""

from __future__ import annotations

import json
import math
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from foundation.errors import WorkFailed
from foundation.storage import Storage, StorageError
from pipeline.run.manifest import RunError
from pipeline.run.names import DRIVER

BEAT = 5.0  # s between two signs of life
SILENCE = 30.0  # s without one, after which a holder on another machine counts as dead


class Superseded(WorkFailed):
    """Another process drives the run now: what this one still has in hand is not committed."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lease, as its own machine knows it."""

    host: str
    pid: int
    boot: str  # this start of the machine; "" where that cannot be told
    pids: str  # the name space that `pid` counts in: a container has its own
    started: str  # when the process began, as the machine counts: a number is given to another process in time
    token: str = field(default_factory=lambda: uuid.uuid4().hex)  # no two leases have the same content

    @classmethod
    def this_process(cls) -> Holder:
        """The one that asks."""
        return cls(
            platform.node(), os.getpid(), _text("/proc/sys/kernel/random/boot_id"), _pids(), _started(os.getpid())
        )

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def is_here(self) -> bool:
        """Whether it runs, or ran, where this process can see it."""
        here = Holder.this_process()
        return (self.host, self.boot, self.pids) == (here.host, here.boot, here.pids)

    def lives(self) -> bool:
        """Whether the process is there: only where `is_here`."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # somebody else's
        return _started(self.pid) == self.started


@dataclass(frozen=True)
class Lease:
    """The right to drive a run."""

    epoch: int
    before: Holder | None  # whose lease ended without a word


@contextmanager
def drive(storage: Storage, silence: float = SILENCE) -> Iterator[Lease]:
    """Be the one process that drives the run in a storage.

    Args:
        silence: seconds for which a holder on another machine may show no sign of life.

    Raises:
        RunError: another process drives it. Nothing was changed.
    """
    epoch, holder = latest(storage)
    if holder is not None:
        _refuse_if_alive(storage, epoch, holder, silence)
    _take(storage, epoch + 1)
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(storage, epoch + 1, stop), daemon=True)
    heart.start()
    try:
        yield Lease(epoch + 1, holder)
    finally:
        stop.set()
        heart.join()
        with suppress(StorageError):  # it counts as dead in time
            storage.put(_name(epoch + 1, ".ended"), b"")


def check(storage: Storage, epoch: int) -> None:
    """Look whether the lease of this epoch still counts.

    Raises:
        Superseded: it does not.
    """
    for later, name in ((True, _name(epoch + 1)), (False, _name(epoch))):
        try:
            storage.read(name)
        except FileNotFoundError:
            superseded = not later
        else:
            superseded = later
        if superseded:
            raise Superseded(f"another process drives {storage.address} now: this one commits nothing more to it")


def latest(storage: Storage) -> tuple[int, Holder | None]:
    """The highest epoch so far (0 before the first), and who holds it; None where it was ended in order."""
    names = {entry.name for entry in storage.list(f"{DRIVER}/")}
    epoch = max((_epoch(name) for name in names if name.endswith(".json")), default=0)
    if not epoch or _name(epoch, ".ended") in names:
        return epoch, None
    try:
        return epoch, Holder(**json.loads(storage.read(_name(epoch))))
    except FileNotFoundError:  # a later one was taken, and removed it
        return latest(storage)
    except (ValueError, TypeError):
        raise RunError(
            f"{storage.address}/{_name(epoch)}: damaged; remove it when no process works on the run"
        ) from None


def _take(storage: Storage, epoch: int) -> None:
    """Write a lease, and remove those of epochs that have passed."""
    name = _name(epoch)
    if not storage.create(name, json.dumps(asdict(Holder.this_process())).encode()):
        raise RunError(_busy(storage, "another process, which was first"))
    epochs = {entry.name: _epoch(entry.name) for entry in storage.list(f"{DRIVER}/")}
    if max(epochs.values(), default=0) > epoch:  # this process was frozen for a while, and others drove since it looked
        storage.remove(name)
        raise RunError(_busy(storage, "another process, which was first"))
    for other, number in epochs.items():
        if 0 < number < epoch:
            storage.remove(other)


def _refuse_if_alive(storage: Storage, epoch: int, holder: Holder, silence: float) -> None:
    if holder.is_here():
        if holder.lives():
            raise RunError(_busy(storage, str(holder)))
        return
    beat, pause = _last_beat(storage, epoch), min(1.0, silence / 10)
    for _ in range(math.ceil(silence / pause)):
        time.sleep(pause)  # looks are counted, not time: while the storage is away the holder cannot write either
        if _last_beat(storage, epoch) != beat:
            raise RunError(_busy(storage, str(holder)))


def _busy(storage: Storage, who: str) -> str:
    return f"another process is working on {storage.address} ({who}); `zhclip status` shows how far it is"


def _last_beat(storage: Storage, epoch: int) -> bytes | None:
    """What the holder wrote last; also changed where the lease ended or a later one was taken."""
    with suppress(FileNotFoundError):
        return storage.read(_name(epoch, ".ended")) + b"ended"
    try:
        return storage.read(_name(epoch, ".beat"))
    except FileNotFoundError:
        return None


def _beat(storage: Storage, epoch: int, stop: threading.Event) -> None:
    count = 0
    while True:
        count += 1
        with suppress(StorageError):  # a storage that does not answer now may the next time
            storage.put(_name(epoch, ".beat"), str(count).encode(), durable=False)
        if stop.wait(BEAT):
            return


def _epoch(name: str) -> int:
    """The epoch of a file of a lease; 0 where it is something else."""
    digits = name[len(DRIVER) + 1 :].partition(".")[0]
    return int(digits) if digits.isdecimal() else 0


def _name(epoch: int, ending: str = ".json") -> str:
    return f"{DRIVER}/{epoch:06d}{ending}"


def _started(pid: int) -> str:
    """When a process began, in ticks since the machine did; "" where it is gone, dead but not yet buried, or cannot be told."""
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] not in "ZX" else ""


def _text(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    return ""


def _pids() -> str:
    with suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""
