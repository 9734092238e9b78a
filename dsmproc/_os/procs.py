"""Processes and their machine as /proc knows them, and the death of a parent."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

_libc: Any = None
PF_EXITING = 4  # of a process's flags
PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36


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


def lives(pid: int) -> bool:
    """Whether a process exists and does not end: sockets close before it is a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return False
    return fields[0] not in b"ZX" and not int(fields[6]) & PF_EXITING


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


@contextlib.contextmanager
def blocked(number: signal.Signals) -> Iterator[None]:
    """This thread does not get the signal meanwhile, and what it starts begins like that."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def become_subreaper() -> None:
    """Processes whose parents end, below this one, become its children."""
    libc().prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def name() -> bytes:
    """What `ps` calls this thread."""
    with open("/proc/thread-self/comm", "rb") as file:
        return file.read().rstrip(b"\n")


def rename(name: bytes) -> None:
    """At most 15 bytes."""
    libc().prctl(PR_SET_NAME, name, 0, 0, 0)


def dead_child() -> int | None:
    """One that can be waited for."""
    with contextlib.suppress(ChildProcessError):
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return None if found is None else found.si_pid
    return None


def machine_id() -> str:
    """The same for all processes that can share memory and reach each other's unix sockets: those
    of one user, on one kernel, that see the same files, pids and network (containers do not)."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        parts = [file.read().strip(), str(os.geteuid())]
    for kind in ("mnt", "pid", "net"):
        parts.append(str(os.stat(f"/proc/self/ns/{kind}").st_ino))
    return "-".join(parts)


def machine_memory() -> int:
    """Bytes of memory that processes like this one can have: the machine's, or our cgroup's."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError), open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if not controllers:  # version 2
                total = min(total, _least_limit("/sys/fs/cgroup", path, "memory.max"))
            elif "memory" in controllers.split(","):
                name = "memory.limit_in_bytes"
                total = min(total, _least_limit("/sys/fs/cgroup/memory", path, name))
    return total


def _least_limit(root: str, path: str, name: str) -> int:
    """Of the group and all that it is in; those that are not visible or not set do not count."""
    limits = [1 << 62]
    while True:
        here = os.path.join(root, path.strip("/"), name)
        with contextlib.suppress(OSError, ValueError), open(here, encoding="ascii") as file:
            limits.append(int(file.read()))
        if path in ("", "/"):
            return min(limits)
        path = os.path.dirname(path)
