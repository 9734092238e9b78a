"""Queues of the standard library, used from other hosts.

A standard queue is a pipe and semaphores of its maker's host. If they are cluster objects (the
queue was made with our context, as concurrent.futures does) it travels as it is. Otherwise the
process that sends it serves it from then on: the receiver gets a proxy, and whatever that is asked
a thread of the sender does with the real queue. That is one thread for each proxy's process, and
one for each of its threads that use the queue at the same time; they end with their proxies.

    proxy -> server   (method, *arguments)    STOP, if the caller does not wait any longer
    server -> proxy   (GOOD, value)  (RAISED, exception)  (STOPPED, None)

What a server took from the queue for a caller that did not wait any longer, the caller's process
keeps for its next get.
"""

from __future__ import annotations

import collections
import contextlib
import os
import threading
import time
from collections.abc import Callable
from multiprocessing import context, queues
from queue import Empty, Full
from typing import Any

from .. import _std, cluster
from .._std import pickling
from ..connection import LinkConnection, Pipe, wait
from ..errors import HostLostError, QueueOwnerLostError

__all__ = ["reduce_standard"]

GOOD, RAISED, STOPPED = "good", "raised", "stopped"
STOP = ("stop",)
SLICE = 0.1  # seconds between looks at the caller, while a server waits for room or for tasks
LOST = (EOFError, OSError, HostLostError)


def reduce_standard(made: Any) -> Any:
    """How a standard queue travels to a process of the cluster."""
    if not _std.has_standard_locks(made):
        return NotImplemented
    context.assert_spawning(made)
    requests, proxys_end = Pipe(duplex=False)
    threading.Thread(
        target=_accept, args=(made, requests), name="queue server", daemon=True
    ).start()
    where = f"process {os.getpid()} on host {cluster.current_host()}"
    maxsize = getattr(made, "_maxsize", 0)
    # Our end of `proxys_end` goes when the pickle has it.
    return _rebuild, (_proxy_of(made), proxys_end, where, maxsize, pickling.main_definitions())


def _proxy_of(made: Any) -> type[Proxy]:
    if isinstance(made, queues.JoinableQueue):
        return JoinableQueueProxy
    return QueueProxy if isinstance(made, queues.Queue) else SimpleQueueProxy


def _rebuild(
    kind: type[Proxy], server: LinkConnection, where: str, maxsize: int, definitions: list[bytes]
) -> Proxy:
    pickling.adopt_definitions(definitions)
    return kind(server, where, maxsize)


# -- the server ------------------------------------------------------------------------------------


def _accept(made: Any, requests: LinkConnection) -> None:
    """One more thread for each connection, until no process has a proxy any more."""
    with requests, contextlib.suppress(*LOST):
        while True:
            try:
                caller = requests.recv()
            except EOFError:
                return
            except HostLostError:
                continue  # of one of them
            threading.Thread(
                target=_serve, args=(made, caller), name="queue server", daemon=True
            ).start()
            del caller


def _serve(made: Any, caller: LinkConnection) -> None:
    with caller, contextlib.suppress(*LOST):
        while True:
            request = caller.recv()
            if request == STOP:
                continue  # it crossed the answer
            try:
                answer = _do(made, caller, *request)
            except LOST:
                raise
            except Exception as error:
                answer = RAISED, error
            caller.send(answer)
            del answer


def _do(made: Any, caller: LinkConnection, method: str, *arguments: Any) -> tuple[str, Any]:
    if method == "get":
        return _get(made, caller, *arguments)
    if method == "put":
        return _put(made, caller, *arguments)
    if method == "join":
        return _in_slices(caller, None, lambda seconds: _std.queue_joined(made, seconds))
    return GOOD, getattr(made, method)(*arguments)


def _get(made: Any, caller: LinkConnection, timeout: float | None) -> tuple[str, Any]:
    """Nothing is taken before something is there, so a caller that is killed takes nothing."""
    until = None if timeout is None else time.monotonic() + timeout
    while True:
        left = None if until is None else max(0.0, until - time.monotonic())
        ready = wait([made._reader, caller], left)
        if caller in ready:
            caller.recv()  # STOP, or the end
            return STOPPED, None
        with contextlib.suppress(Empty):
            return GOOD, _std.queue_get(made, 0.0 if left == 0.0 else SLICE)
        if left == 0.0:
            raise Empty


def _put(made: Any, caller: LinkConnection, value: Any, timeout: float | None) -> tuple[str, Any]:
    if not isinstance(made, queues.Queue):
        return GOOD, made.put(value)

    def put(seconds: float) -> bool:
        try:
            made.put(value, True, seconds)
        except Full:
            return False
        return True

    return _in_slices(caller, timeout, put)


def _in_slices(
    caller: LinkConnection, timeout: float | None, attempt: Callable[[float], bool]
) -> tuple[str, Any]:
    """Try until it works, the caller does not wait any more, or the time is over (Full)."""
    until = None if timeout is None else time.monotonic() + timeout
    while True:
        left = SLICE if until is None else min(SLICE, max(0.0, until - time.monotonic()))
        if attempt(left):
            return GOOD, None
        if caller.poll(0):
            caller.recv()  # STOP, or the end
            return STOPPED, None
        if until is not None and time.monotonic() >= until:
            raise Full


# -- the proxies -----------------------------------------------------------------------------------


class Proxy:
    """The methods of all queues, done by the server."""

    def __init__(self, server: LinkConnection, where: str, maxsize: int) -> None:
        self._server = server
        self._where = where
        self._maxsize = maxsize
        self._closed = False
        self._renew()

    def _renew(self) -> None:
        self._pid = os.getpid()
        self._free: list[LinkConnection] = []  # a thread takes one and gives it back
        self._kept: collections.deque[Any] = collections.deque()

    def __getstate__(self) -> Any:
        context.assert_spawning(self)
        return self._server, self._where, self._maxsize

    def __setstate__(self, state: Any) -> None:
        Proxy.__init__(self, *state)

    def _ask(self, method: str, *arguments: Any) -> Any:
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")
        if self._pid != os.getpid():
            self._renew()
        try:
            caller = self._free.pop() if self._free else self._new_caller()
            caller.send((method, *arguments))
            kind, value = self._answer(caller, method)
        except LOST as error:
            raise QueueOwnerLostError(
                f"a standard queue is lost: {self._where}, which served it, has ended"
            ) from error
        self._free.append(caller)
        if kind == RAISED:
            raise value
        return value

    def _new_caller(self) -> LinkConnection:
        ours, theirs = Pipe()
        with theirs:
            self._server.send(theirs)
        return ours

    def _answer(self, caller: LinkConnection, method: str) -> tuple[str, Any]:
        try:
            return caller.recv()
        except LOST:
            raise
        except BaseException:  # Ctrl-C
            caller.send(STOP)
            kind, value = caller.recv()
            if kind == GOOD and method == "get":
                self._kept.append(value)
            self._free.append(caller)
            raise

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """The next object; Empty if there is none (in time)."""
        if self._kept and self._pid == os.getpid() and not self._closed:
            return self._kept.popleft()
        return self._ask("get", _seconds(block, timeout))

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an object; Full if there is no room (in time)."""
        self._ask("put", obj, _seconds(block, timeout))

    def empty(self) -> bool:
        return not self._kept and bool(self._ask("empty"))

    def close(self) -> None:
        """This process uses the queue no more."""
        self._closed = True
        for end in (*self._free, self._server):
            end.close()
        self._free.clear()

    def __repr__(self) -> str:
        return f"<dsmproc {type(self).__name__} of a queue of {self._where}>"


def _seconds(block: bool, timeout: float | None) -> float | None:
    return (None if timeout is None else max(0.0, timeout)) if block else 0.0


class QueueProxy(Proxy, queues.Queue):  # type: ignore[type-arg, misc]
    def qsize(self) -> int:
        return len(self._kept) + int(self._ask("qsize"))

    def full(self) -> bool:
        return bool(self._ask("full"))

    def join_thread(self) -> None:
        """There is no thread in this process: what was put is with the server."""
        assert self._closed, f"Queue {self!r} not closed"

    def cancel_join_thread(self) -> None:
        """There is no thread in this process."""


class JoinableQueueProxy(QueueProxy, queues.JoinableQueue):  # type: ignore[type-arg, misc]
    def task_done(self) -> None:
        self._ask("task_done")

    def join(self) -> None:
        self._ask("join")


class SimpleQueueProxy(Proxy, queues.SimpleQueue):  # type: ignore[type-arg, misc]
    def get(self) -> Any:  # type: ignore[override]
        return super().get()

    def put(self, obj: Any) -> None:  # type: ignore[override]
        super().put(obj)
