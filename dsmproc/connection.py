"""Pipes between the processes of a cluster; and multiprocessing.connection's other names.

A pipe lives in the broker of its maker's host. A connection is a link to it for each direction that
it has: it reads one whole message per recv, which nobody takes ahead of it, and its descriptor is
readable when one waits. It pickles as a handle (see _channels/tickets.py).

`Client` and `Listener` also speak to programs of plain multiprocessing, so their messages carry no
stamp: the sender publishes, and the receiver observes all that was published anywhere before.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable, Iterable
from multiprocessing import connection as standard
from multiprocessing.connection import answer_challenge, deliver_challenge
from typing import Any

from . import _membership, _std
from ._channels import client, frames, handles, listeners
from ._channels.client import Link, at_the_end
from ._channels.handles import Handle
from ._memory import edges
from ._std import pickling
from .errors import HostLostError, LastReaderLostError, LastWriterLostError, LostChannelError

__all__ = [
    "Client",
    "Connection",
    "LinkConnection",
    "Listener",
    "Pipe",
    "answer_challenge",
    "deliver_challenge",
    "wait",
]

# Kept here: with --patch the standard module's names are ours.
StdConnection: Any = standard.Connection
Connection = standard.Connection  # what is made here is derived from it
_std_client, _std_wait = standard.Client, standard.wait
__getattr__ = _std.names_of("connection")
PIPE_BYTES = 1 << 20  # a sender waits while more than this waits to be read


class LinkConnection(StdConnection):  # type: ignore[misc]
    """An end of a pipe. The checks of arguments and the loops around them are the standard's."""

    def __init__(self, reader: Link | None, writer: Link | None) -> None:
        self._reader = reader
        self._writer = writer
        self._readable = reader is not None
        self._writable = writer is not None

    @property
    def _handle(self) -> int | None:
        """The descriptor, as the standard class keeps it: None when closed."""
        link = self._reader or self._writer
        return None if link is None or link.closed else link.fileno()

    def __del__(self, at_the_end: Callable[[], bool] = at_the_end) -> None:
        if not at_the_end():
            self._close_links(quietly=True)

    def _close_links(self, quietly: bool) -> None:
        for link in (getattr(self, "_reader", None), getattr(self, "_writer", None)):
            if link is not None:
                link.close(quietly)

    def close(self) -> None:
        """Close this process's end."""
        self._close_links(quietly=False)

    def send(self, obj: Any) -> None:
        """Send a picklable object; waits while the pipe is full."""
        self._check_closed()
        self._check_writable()
        with handles.carrying() as places:
            data = pickling.dumps(obj)
        if places:
            self._send_carrying(data, places)
        else:
            self._send_bytes(data)

    def _send_carrying(self, data: bytes, places: list[frames.Place]) -> None:
        """Handles are in it: their brokers must know who has them before we go on."""
        assert self._writer is not None
        self._writer.put(b"".join(place.pack() for place in places) + data, len(places))

    def _send_bytes(self, buf: Any) -> None:
        assert self._writer is not None
        self._writer.send(buf)

    def recv(self) -> Any:
        """The next object."""
        self._check_closed()
        self._check_readable()
        assert self._reader is not None
        value = self._reader.get(pickling.loads)
        if value is client.END:
            raise EOFError
        return value

    def _recv_bytes(self, maxsize: int | None = None) -> Any:
        assert self._reader is not None
        data = self._reader.get()
        if data is client.END:
            raise EOFError
        if maxsize is not None and len(data) > maxsize:
            return None
        buffer = io.BytesIO()
        buffer.write(data)
        return buffer

    def _bad_message_length(self) -> None:
        """After a message longer than the caller allowed, as the standard class does it."""
        if self._writable:
            self._readable = False
            assert self._reader is not None
            self._reader.close()
            self._reader = None
        else:
            self.close()
        raise OSError("bad message length")

    def _poll(self, timeout: float | None) -> bool:
        assert self._reader is not None
        return self._reader.poll(None if timeout is None else max(0.0, timeout))

    def __reduce__(self) -> Any:
        self._check_closed()
        ends = (self._reader, self._writer)
        return _rebuild, tuple(None if end is None else handles.handle(end) for end in ends)

    def __repr__(self) -> str:
        state = "closed" if self._handle is None else f"descriptor {self._handle}"
        return f"<dsmproc Connection, {state}>"


def _rebuild(reader: Handle | None, writer: Handle | None) -> LinkConnection:
    read = None if reader is None else handles.redeem(reader, frames.TOKENS)
    return LinkConnection(read, None if writer is None else handles.redeem(writer))


def Pipe(duplex: bool = True) -> tuple[Any, Any]:
    """Two Connections; as multiprocessing.Pipe. If not duplex, the first one can only receive."""
    if not _membership.active():
        return standard.Pipe(duplex)
    first, second = _one_way()
    if not duplex:
        return LinkConnection(first, None), LinkConnection(None, second)
    third, fourth = _one_way()
    return LinkConnection(first, fourth), LinkConnection(third, second)


def _one_way() -> tuple[Link, Link]:
    reader = Link(role=frames.READER, options=frames.TOKENS, size=PIPE_BYTES)
    return reader, Link(reader.owner, reader.channel, frames.WRITER)


def wait(object_list: Iterable[Any], timeout: float | None = None) -> list[Any]:
    """The objects of the list that are ready: connections of all kinds, sentinels, sockets.

    Where several processes read from one pipe, a message that made its descriptor readable may
    have gone to another reader: such a connection is not ready.
    """
    objects = list(object_list)
    edges.deliver_to({one._reader for one in objects if isinstance(one, LinkConnection)})
    until = None if timeout is None else time.monotonic() + timeout
    while True:
        left = None if until is None else max(0.0, until - time.monotonic())
        found = _std_wait(objects, left)
        ready = [one for one in found if not isinstance(one, LinkConnection) or one.poll(0)]
        if ready or not found or left == 0.0:
            return ready


class ForeignConnection(StdConnection):  # type: ignore[misc]
    """A standard connection whose other end need not know of the cluster."""

    _host: int | None = None  # of the other end, where that is known

    def _send_bytes(self, buf: Any) -> None:
        edges.publish()
        try:
            super()._send_bytes(buf)
        except ConnectionError as error:
            self._ended(error)
            raise

    def _recv_bytes(self, maxsize: int | None = None) -> Any:
        try:
            buffer = super()._recv_bytes(maxsize)
        except (EOFError, ConnectionError) as error:
            self._ended(error)
            raise
        edges.observe_newest()
        return buffer

    def _ended(self, error: Exception) -> None:
        """Raise an error of its kind that says so, if the other end was lost with its host."""
        host, self._host = self._host, None
        why = "" if host is None else _membership.client().why_if_lost(host)
        if why:
            text = f"{why}. The other end of this connection was there: connect again, elsewhere"
            raise _LOSSES.get(type(error), LostChannelError)(text, host) from None


_LOSSES: dict[type[Exception], type[HostLostError]] = {
    EOFError: LastWriterLostError,
    BrokenPipeError: LastReaderLostError,
}


def _foreign(connection: Any) -> Any:
    """Made by the standard library, challenge and all; from here on it publishes and observes."""
    if type(connection) is standard.Connection and _membership.active():
        connection.__class__ = ForeignConnection
    return connection


def Client(address: Any, family: str | None = None, authkey: bytes | None = None) -> Any:
    """As multiprocessing.connection.Client. Where nobody listens at such an address on this host,
    a Listener of this program on another host is meant."""
    host = listeners.host_at(address)  # now: who has accepted one may listen no more
    connection = _foreign(reach(address, family, authkey))
    if isinstance(connection, ForeignConnection):
        connection._host = host
    return connection


def reach(address: Any, family: str | None, authkey: bytes | None) -> Any:
    """A standard connection, or one of ours to a listener that only its own host can reach."""
    try:
        return _std_client(address, family, authkey)
    except (ConnectionRefusedError, FileNotFoundError):
        links = listeners.dial(address)
        if links is None:
            raise
    connection = LinkConnection(*links)
    if authkey is not None:
        try:
            answer_challenge(connection, authkey)
            deliver_challenge(connection, authkey)
        except BaseException:
            connection.close()
            raise
    return connection


class Listener(standard.Listener):
    """As multiprocessing.connection.Listener; clients of other hosts reach it at any address."""

    _announced: listeners.Announced | None = None

    def __init__(
        self,
        address: Any = None,
        family: str | None = None,
        backlog: int = 1,
        authkey: bytes | None = None,
    ) -> None:
        super().__init__(address, family, backlog, authkey)
        try:
            self._announced = listeners.announce(self.address)
        except BaseException:
            self.close()
            raise

    def accept(self) -> Any:
        return _foreign(super().accept())

    def close(self) -> None:
        announced, self._announced = self._announced, None
        super().close()
        listeners.withdraw(announced)


# -- standard connections, as they travel ---------------------------------------------------------


def reduce_standard(connection: Any) -> Any:
    """To a process of the cluster, a standard Connection goes as one of ours: the agent of this
    host gets its descriptor and serves it (_channels/relays.py)."""
    if isinstance(connection, LinkConnection):
        return NotImplemented
    connection._check_closed()
    readable, writable = connection.readable, connection.writable
    kind = frames.READER * readable | frames.WRITER * writable
    if isinstance(connection, ForeignConnection):
        kind |= frames.FOREIGN
    with _membership.client().connect_agent("wire") as wired:
        socket.send_fds(wired.sock, [bytes([kind])], [connection.fileno()])
        places = wired.recv()
        ends = [
            place and Link(None, place[0], role, ticket=place[1])
            for place, role in zip(places, (frames.READER, frames.WRITER), strict=True)
        ]
    try:
        travelling = [end and handles.handle(end) for end in ends]
    finally:
        for end in ends:
            if end is not None:
                end.close(quietly=True)
    return _rebuild_standard, (*travelling, pickling.main_definitions())


def _rebuild_standard(
    reader: Handle | None, writer: Handle | None, definitions: list[bytes]
) -> LinkConnection:
    pickling.adopt_definitions(definitions)
    return _rebuild(reader, writer)
