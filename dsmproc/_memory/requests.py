"""One thread's connection to its host's engine, and the requests that go through it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Any, NoReturn

from .._native.ffi import Call, check, ffi, lib, raise_status
from ..errors import HostLostError

IDLE: int = lib.DSMPROC_ST_IDLE
WAITING: int = lib.DSMPROC_ST_WAITING
_BEGUN: int = lib.DSMPROC_BEGUN
SLICE_MS = 200  # a signal that comes just before poll() waits no longer than this


class Connection:
    """One thread's connection to the engine; closed with the thread."""

    fd = -1

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._spin = ffi.new("struct dsmproc_spin *")

    def close(self, close: Callable[[int], None] = os.close) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            close(fd)  # at the interpreter's end `os` is gone

    __del__ = close

    def send(self, request: Any) -> None:
        if lib.dsmproc_request_send(self.fd, request) < 0:
            self.fail()

    def greet(self, a: int = 0) -> int:
        """Say hello; the descriptor that comes with the answer, or -1."""
        hello = new_request(lib.DSMPROC_OP_HELLO, a=a)
        self.send(hello)
        self.wait(hello, None)
        if hello.status:
            raise_status(hello.status, hello.value, "cannot join this host")
        return int(hello.fd)

    def arm(self) -> None:
        """From now on this process ends when the engine's end closes."""
        error = lib.dsmproc_lifeline(self.fd)
        if error == -errno.ECONNRESET:
            self.fail()
        check(error, "cannot watch the agent")

    def wait(self, request: Any, until: float | None) -> bool:
        """Until answered; False: the time is over. Signal handlers may raise."""
        while request.status == WAITING:
            left = SLICE_MS
            if until is not None:
                left = min(left, max(0, round((until - time.monotonic()) * 1000)))
            result = self._receive(request, left)
            if result and until is not None and time.monotonic() >= until:
                return False
        return True

    def wait_begun(self, request: Any) -> None:
        """Until a SEM_SLEEP is under way: whatever this host says from now on comes after it."""
        while request.status == WAITING and request.value != _BEGUN:
            self._receive(request, SLICE_MS)

    def _receive(self, request: Any, timeout_ms: int) -> int:
        result = int(lib.dsmproc_request_wait(self.fd, timeout_ms, request, self._spin))
        if result not in (0, -errno.EAGAIN, -errno.EINTR):
            self.fail()
        return result

    def cancel(self, request: Any) -> None:
        """Ask for an end of the request and wait for its answer, which may be success: e.g. for
        the action of a barrier that all have reached."""
        if lib.dsmproc_request_cancel(self.fd) < 0:
            self.fail()
        self.wait(request, None)

    def end(self, request: Any) -> None:
        """After an exception: it has had no effect, or what it releases is released."""
        if self.fd >= 0 and lib.dsmproc_request_end(self.fd, request) < 0:
            self.close()

    def fail(self) -> NoReturn:
        self.close()
        raise HostLostError("the agent of this host is gone")


def new_request(
    kind: int,
    id: int = 0,
    a: int = 0,
    b: int = 0,
    c: int = 0,
    op: int = 0,
    lock: Any = ffi.NULL,
    descriptor: int = -1,
) -> Any:
    """A request that was not sent yet. Its answer comes into it, so nothing that happens to the
    call that asked loses it."""
    return ffi.new(
        "struct dsmproc_request *", (kind, op, id, a, b, c, lock, descriptor, IDLE, 0, -1)
    )


def call_request(
    op: Call, id: int, a: int = 0, b: int = 0, c: int = 0, quick: Any = ffi.NULL
) -> Any:
    """The request for an operation that is kept at the master."""
    return new_request(lib.DSMPROC_OP_CALL, id, a, b, c, int(op), quick)
