"""multiprocessing.reduction's names. A descriptor does not go to another host: that is said before
its bytes come between the messages of a pipe."""

from __future__ import annotations

from multiprocessing import reduction as standard
from typing import Any

from . import _std
from .connection import LinkConnection

__all__ = ["recv_handle", "send_handle"]

__getattr__ = _std.names_of("reduction")
_send, _recv = standard.send_handle, standard.recv_handle  # with --patch those names are ours


def send_handle(conn: Any, handle: int, destination_pid: int) -> None:
    """Send a descriptor over a connection of this host."""
    _check(conn)
    _send(conn, handle, destination_pid)


def recv_handle(conn: Any) -> int:
    """Receive a descriptor over a connection of this host."""
    _check(conn)
    handle: int = _recv(conn)
    return handle


def _check(conn: Any) -> None:
    if isinstance(conn, LinkConnection):
        raise NotImplementedError(
            "a descriptor cannot be sent through a pipe of the cluster: its processes may be on "
            "different hosts"
        )
