"""A pool's worker process: it takes tokens, and does their tasks.

The tasks come over a socket from the agent of this host, and their tokens through a pipe
(_pool/frames.py says why). A result leaves this process before the next task is started, so that
what was done counts even if that one kills the worker.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from .. import _membership, _std
from .._memory import edges
from .._net.frames import WHOLE, Format, Reader, receive
from .._parcels.common import put_together
from .._parcels.parcel import LENGTH, Packer, Parcel, joined, unpack_parcel
from . import frames as frames

# How the arguments of a batch are to be applied. The standard Pool wraps the user's function in
# helpers of its own; here the function travels apart from them.
CALL, MAP, STARMAP = "call", "map", "starmap"
FORMAT = Format(LENGTH, WHOLE)  # of what comes from the agent


def apply(kind: str, function: Callable[..., Any], args: Any, kwds: dict[str, Any]) -> Any:
    if kind == MAP:
        return [function(item) for item in args]
    if kind == STARMAP:
        return [function(*item) for item in args]
    return function(*args, **kwds)


def split(function: Any, args: tuple[Any, ...]) -> tuple[str, Any, Any]:
    """(kind, the user's function, its arguments) of a task as the standard Pool makes it."""
    for helper, kind in ((_std.pool.mapstar, MAP), (_std.pool.starmapstar, STARMAP)):
        if function is helper:
            (inner, items), *_ = args
            return kind, inner, items
    return CALL, function, args


class _Gone(Exception):
    """The driver does not want this worker any more."""


class _Desk:
    """The worker's side of its desk."""

    def __init__(self, number: int, home: int) -> None:
        client = _membership.client()
        wired = client.connect_agent("pool-worker")
        wired.send(number)
        self._number = number
        self._fifo = os.open(wired.recv(), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        wired.send("open")
        self._wire = wired
        self._sock: socket.socket = wired.sock
        self._reader = Reader(FORMAT, first=WHOLE)
        self._remote = client.host != home
        self._tasks: dict[int, tuple[int, memoryview]] = {}
        self._frames: list[tuple[int, int]] = []  # first token and count, in order
        self._functions: dict[int, Any] = {}
        self._packer = Packer()
        self._poller = select.poll()
        for fd in (self._fifo, self._sock.fileno()):
            self._poller.register(fd, select.POLLIN)

    # -- tasks --------------------------------------------------------------------------------

    def take(self) -> int:
        """The next token: the task is ours from here on."""
        read = False
        while True:
            with contextlib.suppress(BlockingIOError):
                data = os.read(self._fifo, frames.TOKEN.size)
                if not data:
                    raise _Gone
                return int(frames.TOKEN.unpack(data)[0])
            if read:  # the tokens came before: all of these tasks were taken back
                self.say_ready()
            read = False
            for fd, _ in self._poller.poll():
                if fd != self._fifo:
                    read = self._read() == frames.GIVE

    def task(self, token: int) -> tuple[int, memoryview]:
        """The number of its function, and its pickle."""
        while token not in self._tasks:
            self._read()
        while self._frames[0][0] + self._frames[0][1] <= token:  # of these, all is done or gone
            first, count = self._frames.pop(0)
            for old in range(first, first + count):
                self._tasks.pop(old, None)
        return self._tasks.pop(token)

    def function(self, number: int) -> Any:
        function = self._functions[number]
        if isinstance(function, memoryview):
            function = self._functions[number] = unpack_parcel(function)
        return function

    def shared(self, number: int) -> memoryview:
        """A parcel that tasks have in common, in memory of its own."""
        with _membership.client().connect_agent("pool-shared") as wired:
            wired.send((self._number, number))
            _, fds, _, _ = socket.recv_fds(wired.sock, 1, 1)
        if not fds:
            raise _Gone
        try:
            return memoryview(mmap.mmap(fds[0], 0, access=mmap.ACCESS_COPY))
        finally:
            os.close(fds[0])

    def _read(self) -> int:
        """Read what comes next; its kind."""
        try:
            _, body = receive(self._reader, self._sock.recv_into, socket.MSG_WAITALL)
        except EOFError:
            raise _Gone from None
        kind, first, count, blob, stamp = frames.ORDER.unpack_from(body)
        if stamp:
            edges.observe(stamp)
        if kind == frames.BLOB:
            self._functions[blob] = memoryview(body)[frames.BLOB_AT :]
        elif kind == frames.FORGET:
            del self._functions[blob]
        else:
            self._frames.append((first, count))
            for token, place in frames.read_frame(body):
                self._tasks[token] = blob, place
        return int(kind)

    # -- results ------------------------------------------------------------------------------

    def pack(self, value: Any) -> Parcel:
        return self._packer.pack(value)

    def say_ready(self) -> None:
        self.say(frames.READY, 0, self.pack(None))

    def say(self, kind: int, token: int, parcel: Parcel, seconds: float = 0.0) -> None:
        stamp = (edges.publish() or 0) if self._remote else 0
        spent = min(int(seconds * 1e6), 0xFFFFFFFF)
        head = frames.RECORD.pack(kind, token, spent, stamp, parcel.size)
        pieces = joined([head, *parcel.pieces])
        try:
            for piece in pieces:
                self._sock.sendall(piece)
        except OSError:
            raise _Gone from None

    def close(self) -> None:
        os.close(self._fifo)
        self._wire.close()


def work(
    number: int,
    home: int,
    initializer: Callable[..., Any] | None,
    initargs: Iterable[Any],
    tasks: int | None,
    wrap_exception: bool,
) -> None:
    """The target of a worker process: serve until there is no more work, at most `tasks`."""
    _std.allow_children()  # pools in pools
    desk = _Desk(number, home)
    try:
        if initializer is not None:
            try:
                initializer(*put_together(initargs, desk.shared))
            except Exception as error:
                desk.say(frames.REFUSED, 0, _failed(desk, _traced(error)))
                return
        desk.say_ready()
        _serve(desk, tasks, wrap_exception)
    except _Gone:
        pass
    finally:
        desk.close()


def _serve(desk: _Desk, tasks: int | None, wrap_exception: bool) -> None:
    served = 0
    while tasks is None or served < tasks:
        token = desk.take()
        if token == frames.LAST:
            return
        function, place = desk.task(token)
        before = time.perf_counter()
        parcel = _do(desk, function, place, wrap_exception)
        desk.say(frames.RESULT, token, parcel, time.perf_counter() - before)
        served += 1


def _do(desk: _Desk, number: int, place: memoryview, wrap_exception: bool) -> Parcel:
    """Do it; the pickled outcome."""
    function = None
    try:
        function = desk.function(number)
        kind, args, kwds = unpack_parcel(place, desk.shared)
        value = apply(kind, function, args, kwds)
    except Exception as error:
        reraises = function is _std.pool._helper_reraises_exception
        return _failed(desk, _traced(error) if wrap_exception and not reraises else error)
    try:
        return desk.pack((True, value))
    except Exception as error:
        return desk.pack((False, _std.pool.MaybeEncodingError(error, value)))


def _failed(desk: _Desk, error: Any) -> Parcel:
    try:
        return desk.pack((False, error))
    except Exception as reason:
        return desk.pack((False, _std.pool.MaybeEncodingError(reason, error)))


def _traced(error: Exception) -> Any:
    return _std.pool.ExceptionWithTraceback(error, error.__traceback__)


def describe_end(exitcode: int | None) -> str:
    """How a worker ended, in words."""
    if exitcode is not None and exitcode < 0:
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-exitcode).name}"
        return f"was killed by signal {-exitcode}"
    return f"ended with exit code {exitcode}"
