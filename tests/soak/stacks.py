"""All stacks of a run that hangs: those of C by gdb, if it is here, and those of Python.

Python's come from faulthandler, which PYTHONFAULTHANDLER switches on: it writes them to standard
error when a process aborts. All processes are stopped first, so that none sees another one end.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time

from .marks import Handles

ENVIRONMENT = {"PYTHONFAULTHANDLER": "1"}
GDB = ["gdb", "-nx", "-batch", "-ex", "thread apply all backtrace 12", "-p"]
SECONDS = 20


def dump(mark: str) -> str:
    """What the kernel and gdb say of each process. Afterwards all have aborted."""
    handles = Handles(mark)
    with contextlib.closing(handles):
        handles.look()
        text = "\n".join(_of(pid) for pid in handles.pids())
        for number in (signal.SIGSTOP, signal.SIGABRT, signal.SIGCONT):
            for pid in handles.pids():
                handles.send(pid, number)
        until = time.monotonic() + SECONDS
        while any(handles.send(pid, 0) for pid in handles.pids()) and time.monotonic() < until:
            time.sleep(0.05)
    return text


def _of(pid: int) -> str:
    lines = [f"--- process {pid}: {read(pid, 'cmdline')}"]
    with contextlib.suppress(OSError):
        for thread in sorted(os.listdir(f"/proc/{pid}/task")):
            name, place = (read(pid, f"task/{thread}/{what}") for what in ("comm", "wchan"))
            lines.append(f"thread {thread} ({name}) waits in {place}")
    if shutil.which("gdb"):
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                [*GDB, str(pid)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
            lines += [line for line in done.stdout.splitlines() if line.startswith(("#", "Thread"))]
    return "\n".join(lines)


def read(pid: int, what: str) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/{what}", "rb") as file:
        return file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    return "?"
