"""The socket of a client's link, frame by frame. What follows a frame stays in the socket."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from typing import Any, NamedTuple

from .._net.frames import WHOLE, Reader, pieces, receive
from .._net.seal import TAG_BYTES
from .._net.wire import Wire
from . import frames

CANCEL_SECONDS = 30.0
HEARD = select.POLLIN | select.POLLHUP


class Reply(NamedTuple):
    kind: int
    flags: int
    number: int
    stamp: int
    body: bytearray


class NoReader(Exception):
    """The broker says that nobody can read what this link would send."""


class LinkSocket:
    def __init__(self, wired: Wire, wish: frames.Attach) -> None:
        """Attached to a broker, which has answered so."""
        self.sock, self.seals = wired.sock, wired.seals
        self._reader = Reader(frames.FORMAT, self.seals, WHOLE)
        self._broken = False  # a writer without readers
        self.last_reader: int | None = None  # its host, if that may be lost
        try:
            self.send(frames.frame(frames.ATTACH, 1, wish.pack()))
            self.attached = self.receive()
        except BaseException:
            self.sock.close()
            raise

    def replace(self, new: LinkSocket) -> None:
        """Go on with another socket, under the same descriptor."""
        self.seals, self._reader = new.seals, new._reader
        os.dup2(new.sock.fileno(), self.sock.fileno(), inheritable=False)
        new.sock.close()

    def pieces(self, head: bytes, body: Any = b"") -> list[Any]:
        return pieces(self.seals, head, body)

    def send(self, head: bytes, body: Any = b"", flags: int = 0) -> None:
        for piece in pieces(self.seals, head, body):
            self.sock.sendall(piece, flags)

    def receive(self) -> Reply:
        fields, body = receive(self._reader, self.sock.recv_into, socket.MSG_WAITALL)
        kind, flags, _, number, stamp, _ = fields
        if kind == frames.BROKEN:
            self._broken = True
            if body:
                (self.last_reader,) = frames.NUMBER.unpack(body)
        return Reply(kind, flags, number, stamp, body)

    def answer(self, number: int, until: float | None) -> Reply | None:
        """The reply to a request; None if there is none by then. What comes before it is stale."""
        while True:
            if until is not None:
                left = max(0.0, until - time.monotonic())
                if not self.ready(select.POLLIN, left):
                    return None
            reply = self.receive()
            if reply.number == number:
                return reply

    def cancel(self, number: int) -> Reply | None:
        """The time is over: the answer if it was given before that was known, else None."""
        self.send(frames.frame(frames.CANCEL, number))
        answer = None
        while True:
            reply = self.answer(number, time.monotonic() + CANCEL_SECONDS)
            if reply is None:
                raise ConnectionResetError("the broker does not answer")
            if reply.kind == frames.CANCELLED:
                break
            answer = reply
        has_it_again = answer is not None and answer.kind in (frames.MESSAGE, frames.LOST)
        return None if has_it_again else answer

    def ready(self, events: int, seconds: float | None) -> int:
        """Wait for the socket; the events that came."""
        poller = select.poll()
        poller.register(self.sock, events)
        found = poller.poll(None if seconds is None else seconds * 1000)
        return found[0][1] if found else 0

    # -- one-way ------------------------------------------------------------------------------

    def check_reader(self) -> None:
        """Raise NoReader if something came to a writer, which asked for nothing."""
        if not self._broken:
            try:
                if not self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                    raise EOFError
            except BlockingIOError:
                return
            self.receive()
            self._broken = True
        raise NoReader

    def send_one_way(self, head: bytes, body: Any) -> None:
        """Send, unless the last reader goes meanwhile."""
        for piece in pieces(self.seals, head, body):
            view = memoryview(piece).cast("B")
            while view:
                try:
                    view = view[self.sock.send(view, socket.MSG_DONTWAIT) :]
                except BlockingIOError:
                    if self.ready(select.POLLIN | select.POLLOUT, None) & HEARD:
                        self.check_reader()

    def announced(self) -> int | None:
        """The stamp of a READY that waits and can be relied on, for nobody else reads here."""
        size = frames.HEADER.size
        try:
            peek = self.sock.recv(size + TAG_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return None
        head, tag = peek[:size], peek[size:]
        if len(head) < size or self.seals and not self.seals.receiving.fits(tag, head):
            return None
        kind, flags, _, _, stamp, _ = frames.HEADER.unpack(head)
        return int(stamp) if kind == frames.READY and flags & frames.SURE else None

    def shut_down(self) -> None:
        """Another thread waits in it."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
