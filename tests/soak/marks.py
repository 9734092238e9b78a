"""The processes of a run: all that have its mark in their environment."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time

MARK = "DSMTEST_SOAK_MARK"


def marked(mark: str) -> list[int]:
    """Their pids."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return sorted(pid for pid in pids if pid != os.getpid() and _has(pid, mark))


def _has(pid: int, mark: str) -> bool:
    """A zombie has no environment any more."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
        return f"{MARK}={mark}".encode() in file.read().split(b"\0")
    return False


class Handles:
    """Descriptors of marked processes, so that a signal never meets another one with that pid."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._open: dict[int, int] = {}

    def look(self) -> None:
        """Find those that are new."""
        for pid in marked(self._mark):
            if pid not in self._open:
                self._add(pid)

    def _add(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            if _has(pid, self._mark):  # the one that was seen, and not its successor
                self._open[pid] = descriptor
            else:
                os.close(descriptor)

    def pids(self) -> list[int]:
        return sorted(self._open)

    def send(self, pid: int, number: int) -> bool:
        """Whether it was there to get it."""
        if pid not in self._open:
            return False
        try:
            signal.pidfd_send_signal(self._open[pid], number)
        except ProcessLookupError:
            os.close(self._open.pop(pid))
        return pid in self._open

    def wait(self, pids: list[int], seconds: float) -> None:
        """Until they have ended."""
        until = time.monotonic() + seconds
        for pid in pids:
            if pid in self._open:
                select.select([self._open[pid]], [], [], max(until - time.monotonic(), 0))

    def close(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()


def end_all(mark: str) -> None:
    handles = Handles(mark)
    with contextlib.closing(handles):
        handles.look()
        for pid in handles.pids():
            handles.send(pid, signal.SIGKILL)
