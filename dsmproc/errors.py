"""What can go wrong in a cluster. Every error is a ProcessError and says which host, and why.

The classes that a program can meet are here, all of them, and names of `dsmproc` too. Where the
standard library would raise another class, they are derived from that as well.
"""

from __future__ import annotations

import errno
from multiprocessing import AuthenticationError, BufferTooShort, ProcessError, TimeoutError

__all__ = [
    "AuthenticationError",
    "BufferTooShort",
    "ClusterError",
    "HostLostError",
    "LastReaderLostError",
    "LastWriterLostError",
    "LostChannelError",
    "ProcessError",
    "ProtocolError",
    "QueueOwnerLostError",
    "TimeoutError",
    "WorkerLostError",
    "WriterLostError",
]


class ClusterError(ProcessError):
    """The cluster cannot do what was asked: it is not there, or it is ending."""


class ProtocolError(ClusterError):
    """The two ends of a connection cannot talk: other versions, or bytes that make no sense."""


class HostLostError(ClusterError):
    """A host left the cluster without a goodbye, and something of this program was on it."""

    def __init__(self, message: str, host: int | None = None) -> None:
        super().__init__(message)
        self.host = host

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.host)


class WriterLostError(HostLostError):
    """A host was lost that might have sent what a reader of a queue or pipe waits for. Each process
    that reads there is told once, when it has read what had arrived; then it may read on."""


class LastWriterLostError(WriterLostError, EOFError):
    """The same, of a pipe into which nobody can write any more: it has ended."""


class _LostConnectionError(HostLostError, ConnectionError):
    """Also an OSError: programs expect one."""

    def __init__(self, message: str, host: int | None = None) -> None:
        super().__init__(message, host)
        self.errno, self.strerror = self._number, message

    _number: int

    def __str__(self) -> str:
        return str(self.args[0])


class LastReaderLostError(_LostConnectionError, BrokenPipeError):
    """A host was lost, and with it the last process that could read what is sent."""

    _number = errno.EPIPE


class LostChannelError(_LostConnectionError, ConnectionResetError):
    """The host at which a pipe or queue lived was lost, or that of a connection's other end."""

    _number = errno.ECONNRESET


class QueueOwnerLostError(ClusterError, EOFError):
    """The process that served a standard queue to other hosts has ended."""


class WorkerLostError(ProcessError):
    """A worker ended (by a signal, or with its host) before it did what somebody waits for."""

    def __init__(
        self,
        message: str,
        host: int | None = None,
        pid: int | None = None,
        exitcode: int | None = None,
    ) -> None:
        super().__init__(message)
        self.host = host
        self.pid = pid
        self.exitcode = exitcode

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.host, self.pid, self.exitcode)
