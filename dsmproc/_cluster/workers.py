"""The agent's workers: starting them, their output, their end.

A worker is a fresh interpreter (worker.py) that inherits one socket of a pair: the request comes in
through it, and it reads end-of-file when the process that started the worker is gone. It must be
started by the agent's main thread: PR_SET_PDEATHSIG fires when the *thread* that forked ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
from typing import Any

from . import procs, wire
from .console import Capture, Output
from .environ import PACKAGE_ROOT

log = logging.getLogger("dsmproc")

BOOT = (
    "import sys; sys.path.append({root!r}); "
    "from dsmproc._cluster.worker import main; main({fd}, {parent})"
)


class Worker:
    """One child of the agent."""

    def __init__(self, process: subprocess.Popen[bytes], session: str) -> None:
        self.process = process
        self.pid = process.pid
        self.session = session
        self.captures: list[Capture] = []
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._control: socket.socket | None = None

    def signal(self, number: int) -> None:
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def parent_gone(self) -> None:
        """The worker's `parent_process()` is not alive any more."""
        if self._control is not None:
            self._control.close()
            self._control = None

    async def feed(self, control: socket.socket, *frames: bytes | bytearray) -> None:
        """Write the request; the worker's death is noticed elsewhere."""
        self._control = control
        control.setblocking(False)
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            for frame in frames:
                await loop.sock_sendall(control, wire.frame_header(len(frame)))
                await loop.sock_sendall(control, frame)


class WorkerTable:
    """All workers of an agent."""

    def __init__(self, directory: str, output: Output) -> None:
        self._directory = directory
        self._output = output
        self._workers: dict[int, Worker] = {}

    def __len__(self) -> int:
        return len(self._workers)

    def start(self, request: dict[str, Any]) -> tuple[Worker, socket.socket]:
        """A new interpreter, and the socket through which it waits for its request."""
        session = request["session"]
        ours, theirs = socket.socketpair()
        captures = [Capture(self._output, session, stream) for stream in (1, 2)]
        boot = BOOT.format(root=PACKAGE_ROOT, fd=theirs.fileno(), parent=os.getpid())
        try:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, *request["flags"], "-c", boot],
                stdin=subprocess.DEVNULL,
                stdout=captures[0].theirs.fileno(),
                stderr=captures[1].theirs.fileno(),
                pass_fds=[theirs.fileno()],
                env=request["environ"],
                cwd=self._directory,
            )
        except BaseException:
            ours.close()
            for capture in captures:
                capture.close()
            raise
        finally:
            theirs.close()
        for capture in captures:
            capture.started()
        worker = Worker(process, session)
        worker.captures = captures
        self._workers[worker.pid] = worker
        self._watch(worker)
        return worker, ours

    def _watch(self, worker: Worker) -> None:
        loop = asyncio.get_running_loop()
        pidfd = os.pidfd_open(worker.pid)

        def ended() -> None:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            code = worker.process.wait()
            self._workers.pop(worker.pid, None)
            for capture in worker.captures:
                capture.drain()
            log.debug("worker %d ended: %d", worker.pid, code)
            if not worker.exited.done():
                worker.exited.set_result(code)

        loop.add_reader(pidfd, ended)

    def signal(self, number: int, session: str = "") -> None:
        for worker in self._workers.values():
            if worker.session.startswith(session):
                worker.signal(number)

    async def end(self, grace: float) -> None:
        """End every worker and whatever else lives in the agent's session."""
        waiting = [worker.exited for worker in self._workers.values()]
        if waiting and grace:
            self.signal(signal.SIGTERM)
            await asyncio.wait(waiting, timeout=grace)
        self.signal(signal.SIGKILL)
        if os.getsid(0) == os.getpid():
            procs.kill_session(os.getpid(), spare=os.getpid())
        if waiting:
            await asyncio.wait(waiting, timeout=5)


def membership_frame(fields: dict[str, Any]) -> bytes:
    return pickle.dumps(fields, pickle.HIGHEST_PROTOCOL)
