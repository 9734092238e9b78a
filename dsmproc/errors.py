"""What can go wrong in a cluster. Every error is a ProcessError and says which host, and why."""

from __future__ import annotations

from multiprocessing import ProcessError


class ClusterError(ProcessError):
    """The cluster cannot do what was asked: it is not there, or it is ending."""


class HostLostError(ClusterError):
    """A host left the cluster without a goodbye, and something of this program was on it."""

    def __init__(self, message: str, host: int | None = None) -> None:
        super().__init__(message)
        self.host = host

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.host)
