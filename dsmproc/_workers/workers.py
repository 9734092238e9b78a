"""The agent's workers: starting them, their output, their end.

A worker is a fresh interpreter, or forked from the copy that the first one left behind (zygote.py)
and given to the agent as its child. It has one socket of a pair: the request comes in through it
(worker.py), and it reads end-of-file when the process that started the worker is gone.
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

from .._net import wire
from .._os import descriptors, procs
from .._settings import PACKAGE_ROOT
from .console import Capture, Output
from .nursery import Nursery

log = logging.getLogger("dsmproc")


BOOT = (
    "import sys; sys.path.append({root!r}); "
    "from dsmproc._workers.zygote import boot; boot({fd}, {parent}, {control})"
)


class Worker:
    """One child of the agent."""

    def __init__(self, pid: int, session: str) -> None:
        self.pid = pid
        self.code: int | None = None  # once it has ended, and its pid may be another's
        self.session = session
        self.dismissed = False  # it ends with its program
        self.captures: list[Capture] = []
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._control: socket.socket | None = None

    def signal(self, number: int) -> None:
        if self.code is None:
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
        self._output = output
        self._directory = directory
        self._nursery = Nursery()
        self._workers: dict[int, Worker] = {}
        self._starting = 0
        self._early: dict[int, int] = {}  # ended before they were known

    def __len__(self) -> int:
        return len(self._workers)

    async def start(self, request: dict[str, Any]) -> tuple[Worker, socket.socket]:
        """A new process, and the socket through which it waits for its request."""
        session = request["session"]
        captures = [Capture(self._output, session, stream) for stream in (1, 2)]
        out, err = (capture.theirs.fileno() for capture in captures)
        self._starting += 1
        try:
            pid, ours = await self._nursery.fork(request, out, err) or self._boot(request, out, err)
        except BaseException:
            for capture in captures:
                capture.close()
            raise
        finally:
            self._starting -= 1
            for capture in captures:
                capture.started()
        worker = Worker(pid, session)
        worker.captures = captures
        self._workers[pid] = worker
        if pid in self._early:
            self._ended(worker, self._early.pop(pid))
        return worker, ours

    def _boot(self, request: dict[str, Any], out: int, err: int) -> tuple[int, socket.socket]:
        """A fresh interpreter: there is no zygote (yet). It may leave one behind."""
        zygote = self._nursery.expect(request)
        control = -1 if zygote is None else zygote.theirs.fileno()
        ours, theirs = socket.socketpair()
        boot = BOOT.format(
            root=PACKAGE_ROOT, fd=theirs.fileno(), parent=os.getpid(), control=control
        )
        fds = [theirs.fileno()] if zygote is None else [theirs.fileno(), control]
        try:
            with procs.blocked(signal.SIGINT):  # the worker can be interrupted when it runs
                process = subprocess.Popen(
                    [sys.executable, *request["flags"], "-c", boot],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    pass_fds=fds,
                    env=request["environ"],
                    cwd=self._directory,
                )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            if zygote is not None:
                zygote.introduce(request)
        descriptors.give_back(process.pid)
        process.returncode = 0  # it is not Popen that reaps it
        return process.pid, ours

    def reap(self) -> None:
        """Some child has ended: also those that workers left behind are the agent's."""
        while (pid := procs.dead_child()) is not None:
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            worker = self._workers.get(pid)
            if worker is not None:
                self._ended(worker, code)
            elif self._starting:  # perhaps it is one whose pid is on its way to us
                self._early[pid] = code
        if not self._starting:
            self._early.clear()

    def _ended(self, worker: Worker, code: int) -> None:
        worker.code = code
        self._workers.pop(worker.pid, None)
        for capture in worker.captures:
            capture.drain()
        log.debug("worker %d ended: %d", worker.pid, code)
        if not worker.exited.done():
            worker.exited.set_result(code)

    def end_session(self, session: str) -> None:
        """Its driver is gone: nothing of it may go on."""
        self.signal(signal.SIGKILL, session)
        self._nursery.end(session)

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
        self._nursery.end()
        if os.getsid(0) == os.getpid():
            procs.kill_session(os.getpid(), spare=os.getpid())
        if waiting:
            await asyncio.wait(waiting, timeout=5)


def membership_frame(fields: dict[str, Any]) -> bytes:
    return pickle.dumps(fields, pickle.HIGHEST_PROTOCOL)
