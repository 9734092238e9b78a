"""Processes as /proc knows them, and the death of a parent."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any

_libc: Any = None
PR_SET_PDEATHSIG = 1


def session_members(session: int) -> list[int]:
    """The pids whose session is `session`: children stay in it when their parents die."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
                if int(fields[3]) == session and fields[0] != b"Z":
                    found.append(int(name))
    return found


def kill_session(session: int, spare: int = 0) -> None:
    """SIGKILL for every member of a session but `spare`."""
    for pid in session_members(session):
        if pid != spare:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def libc() -> Any:
    """Loaded when asked for: clients import this module and have no use for it."""
    global _libc
    if _libc is None:
        import ctypes

        _libc = ctypes.CDLL(None)
    return _libc


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """This process gets the signal when the thread that started it ends; also if it has already."""
    libc().prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def machine_id() -> str:
    """The same for all processes that can share memory and reach each other's unix sockets."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip() + f"-{os.geteuid()}"
