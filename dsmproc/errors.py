"""What can go wrong in a cluster. Every error is a ProcessError and says which host, and why."""

from __future__ import annotations

from multiprocessing import AuthenticationError, BufferTooShort, ProcessError, TimeoutError

__all__ = [
    "AuthenticationError",
    "BufferTooShort",
    "ClusterError",
    "HostLostError",
    "LastWriterLostError",
    "ProcessError",
    "ProtocolError",
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
