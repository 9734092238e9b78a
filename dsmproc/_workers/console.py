"""The way of a worker's output: socket pair -> agent -> master -> supervisor's terminal.

Socket pairs, not pipes: a process that faults inside `write` holds its pipe's lock, and whoever
reads that pipe would wait for it. Output is forwarded by whole lines where there are lines, waits
(and makes the worker wait) when the terminal does, and is acknowledged when it was written, so that
a joined worker's last words stand before what its parent prints next.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import deque
from typing import Any

from .._net.listener import Peer

BACKLOG_LIMIT = 1 << 20  # bytes that an agent holds before it stops reading its workers
PARTIAL_SECONDS = 0.2  # an unfinished line (a prompt) waits so long
CHUNK = 1 << 16
FLUSH_SECONDS = 10.0
KERNEL_BYTES = 1 << 18


def bound(sock: socket.socket) -> None:
    """For who receives output: else the kernel takes tens of megabytes that nobody reads
    (tcp_rmem), before a worker has to wait."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BYTES)


def patient(sock: socket.socket) -> None:
    """For who sends output: a terminal that is not read for long is not a lost host. Losses are
    noticed by other connections."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)


class Output:
    """The agent's end: everything its workers wrote, in order, to the master."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, str, int, bytes]] = deque()
        self._bytes = 0
        self._number = 0
        self._acknowledged = 0
        self._news = asyncio.Event()
        self._progress = asyncio.Event()
        self._paused: list[Capture] = []

    def put(self, session: str, stream: int, data: bytes) -> None:
        self._number += 1
        self._waiting.append((self._number, session, stream, data))
        self._bytes += len(data)
        self._news.set()

    @property
    def full(self) -> bool:
        return self._bytes > BACKLOG_LIMIT

    def resume_later(self, capture: Capture) -> None:
        self._paused.append(capture)

    async def send_to(self, peer: Peer) -> None:
        while True:
            while self._waiting:
                item = self._waiting.popleft()
                await peer.send(item)
                self._bytes -= len(item[3])
                if not self.full:
                    paused, self._paused = self._paused, []
                    for capture in paused:
                        capture.resume()
            self._news.clear()
            await self._news.wait()

    async def acknowledgements(self, peer: Peer) -> None:
        while True:
            shown = await peer.recv()
            self._acknowledged = max(self._acknowledged, shown)
            self._progress.set()

    async def written(self) -> None:
        """Wait until what was put so far is on the terminal (or the terminal takes too long)."""
        number = self._number
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._until(number), FLUSH_SECONDS)

    async def _until(self, number: int) -> None:
        while self._acknowledged < number:
            self._progress.clear()
            await self._progress.wait()


class Capture:
    """One stream of one worker."""

    def __init__(self, output: Output, session: str, stream: int) -> None:
        self._sock, self.theirs = socket.socketpair()
        self._sock.setblocking(False)
        self._output = output
        self._session = session
        self._stream = stream
        self._partial = b""
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock, self._readable)

    def started(self) -> None:
        """The worker has its end: close ours of it."""
        self.theirs.close()

    def resume(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.add_reader(self._sock, self._readable)
            self._wait_for_more()

    def _readable(self) -> None:
        if self._output.full:
            self._loop.remove_reader(self._sock)
            self._output.resume_later(self)
        else:
            self._read()

    def _read(self) -> bool:
        """One chunk; False if there is none now."""
        try:
            data = self._sock.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data = b""
        if not data:
            self.close()
            return False
        self._feed(data)
        return True

    def _feed(self, data: bytes) -> None:
        data = self._partial + data
        end = data.rfind(b"\n") + 1
        if end == 0 and len(data) >= CHUNK:
            end = len(data)
        if end:
            self._output.put(self._session, self._stream, data[:end])
        self._partial = data[end:]
        self._wait_for_more()

    def _wait_for_more(self) -> None:
        """An unfinished line waits PARTIAL_SECONDS for more, from the last time it could come."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._partial:
            self._timer = self._loop.call_later(PARTIAL_SECONDS, self._waited)

    def _waited(self) -> None:
        """Is the line unfinished because the worker waits, or because we did not read on?"""
        if self._output.full:
            self._wait_for_more()
        elif not self._read():
            self._flush_partial()

    def _flush_partial(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._partial:
            self._output.put(self._session, self._stream, self._partial)
            self._partial = b""

    def drain(self) -> None:
        """The worker has ended: take all it left. Its own children may still write later."""
        while self._sock.fileno() >= 0 and self._read():
            pass
        self._flush_partial()

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._sock.close()
        self.theirs.close()
        self._flush_partial()


def write_all(fd: int, data: bytes) -> None:
    """Blocking, whatever mode somebody left the terminal in; a reader that is gone is no error."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            _wait_writable(fd)
        except OSError:
            return


def _wait_writable(fd: int) -> None:
    import select

    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll(1000)


async def show(master: Peer, message: tuple[Any, ...]) -> None:
    """The supervisor's end: write one piece and acknowledge it."""
    _, host, number, stream, data = message
    await asyncio.get_running_loop().run_in_executor(None, write_all, stream, data)
    await master.send(("ack", host, number))
