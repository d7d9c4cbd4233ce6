"""Restrict a process: it reads only the given paths, writes no file, opens no connection, and has a memory limit.

Landlock is the Linux kernel's sandbox for processes without privileges (Linux 5.13; TCP since 6.7). Where there is none, the
other limits hold.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Iterable
from pathlib import Path

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # system calls; the same number on every architecture
ASK_VERSION = 1  # flag of CREATE_RULESET
PATH_BENEATH = 1
NO_NEW_PRIVILEGES = 38  # of prctl
READ_FILE, READ_FOLDER = 1 << 2, 1 << 3
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # by version of the interface: how many rights over files it knows
NEWEST_FILE_RIGHTS = 16
TCP_RIGHTS = 0b11  # bind and connect
FIRST_WITH_TCP = 4


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64))


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("path", ctypes.c_int32))


def limit_resources(memory: int) -> None:
    """Limit this process to `memory` bytes, no written files and no core dump; the kernel kills it first when memory is short."""
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    score = Path("/proc/self/oom_score_adj")
    if score.exists():
        score.write_text("1000")


def restrict_files(readable: Iterable[str | Path]) -> bool:
    """Restrict this thread, and those it starts, to reading below `readable`: no writing, no TCP connections.

    Threads that already run are not restricted: call it first. Paths that do not exist are skipped.

    Returns:
        False where the system has no Landlock, so that nothing is restricted.

    Raises:
        OSError: the kernel has Landlock, and refused the call.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ASK_VERSION)
    if version < 1:
        return False
    rules = _Ruleset((1 << FILE_RIGHTS.get(version, NEWEST_FILE_RIGHTS)) - 1, TCP_RIGHTS)
    size = ctypes.sizeof(rules) if version >= FIRST_WITH_TCP else ctypes.sizeof(ctypes.c_uint64)
    ruleset = _checked(libc.syscall(CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), 0))
    for path in map(Path, readable):
        if path.exists():
            _allow(libc, ruleset, path)
    _checked(libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    _checked(libc.syscall(RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)
    return True


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path) -> None:
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = _PathRule(READ_FILE | (READ_FOLDER if path.is_dir() else 0), handle)
    _checked(libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, ctypes.byref(rule), 0))
    os.close(handle)


def _checked(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return answer
