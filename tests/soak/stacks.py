"""All stacks of a run that hangs: those of C by gdb, if it is here, and those of Python.

Python's come from faulthandler, which PYTHONFAULTHANDLER switches on: it writes them to standard
error when a process aborts. All processes are stopped first, so that nobody acts on another's end.
What workers write passes through agents and master, so these go on, and abort last, after the
driver.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from .marks import Handles

ENVIRONMENT = {"PYTHONFAULTHANDLER": "1"}
GDB = ["gdb", "-nx", "-batch", "-ex", "thread apply all backtrace 12", "-p"]
SECONDS = 20
SETTLE = 1.0  # in which the last output of workers comes through


def dump(mark: str) -> str:
    """What the kernel and gdb say of each process. Afterwards all have aborted."""
    handles = Handles(mark)
    with contextlib.closing(handles):
        handles.look()
        places = {pid: _places(pid) for pid in handles.pids()}
        _send(handles, handles.pids(), signal.SIGSTOP)
        with ThreadPoolExecutor(4) as pool:
            stacks = pool.map(_of_c, places)
        commands = {pid: read(pid, "cmdline") for pid in places}
        workers = [p for p in commands if "zygote" in commands[p]]
        cluster = [p for p in commands if "-m dsmproc " in commands[p]]
        _send(handles, cluster, signal.SIGCONT)
        _abort(handles, workers)
        time.sleep(SETTLE)
        _abort(handles, [p for p in commands if p not in cluster])
        _abort(handles, cluster)
    parts = zip(commands.items(), places.values(), stacks, strict=True)
    return "\n".join(f"--- process {p}: {said}\n{at}\n{stack}" for (p, said), at, stack in parts)


def _abort(handles: Handles, pids: list[int]) -> None:
    _send(handles, pids, signal.SIGABRT)
    _send(handles, pids, signal.SIGCONT)
    handles.wait(pids, SECONDS)


def _send(handles: Handles, pids: list[int], number: int) -> None:
    for pid in pids:
        handles.send(pid, number)


def _places(pid: int) -> str:
    """Where the threads wait in the kernel."""
    lines = []
    with contextlib.suppress(OSError):
        for thread in sorted(os.listdir(f"/proc/{pid}/task"), key=int):
            name, place = (read(pid, f"task/{thread}/{what}") for what in ("comm", "wchan"))
            lines.append(f"thread {thread} ({name}) waits in {place}")
    return "\n".join(lines)


def _of_c(pid: int) -> str:
    if not shutil.which(GDB[0]):
        return "(there is no gdb here)"
    command = [*GDB, str(pid)]
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        lines = done.stdout.splitlines()
        return "\n".join(line for line in lines if line.startswith(("#", "Thread")))
    return "(gdb does not end)"


def read(pid: int, what: str) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/{what}", "rb") as file:
        return file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    return "?"
