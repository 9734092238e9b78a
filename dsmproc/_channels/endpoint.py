"""The broker's side of a client's link: a socket of the agent's loop, cut into frames."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

from .._net.seal import TAG_BYTES, ForgedFrameError, Seals
from .._net.wire import make_room
from . import frames
from .channel import End

log = logging.getLogger("dsmproc")

SCRATCH = 1 << 14  # bytes; a longer body is read into its own place
JOIN_BELOW = 1 << 16  # header and body in one write


class Endpoint(End, asyncio.BufferedProtocol):
    """`hear` is told of each frame, `disconnected` of the end of the socket."""

    def __init__(
        self,
        hear: Callable[[Endpoint, int, int, int, int, int, Any], None],
        disconnected: Callable[[Endpoint], None],
        local: bool,
        sock: socket.socket,
        seals: Seals | None,
        home: int | None,
    ) -> None:
        super().__init__(local, home)
        self.sock = sock
        self._hear = hear
        self._disconnected = disconnected
        self._seals = seals
        self._tail = 0 if seals is None else TAG_BYTES
        self._transport: Any = None
        self._paused = False
        self._waiting_for: Endpoint | None = None  # whose place this one takes; it is read first
        self._successor: Endpoint | None = None
        self._scratch = memoryview(bytearray(SCRATCH))
        self._have = 0
        self._head: tuple[int, ...] = ()
        self._body: bytearray | None = None
        self._got = 0

    # -- sending ------------------------------------------------------------------------------

    def write(self, head: bytes, body: bytes | bytearray = b"") -> None:
        """One frame."""
        if self.closed:
            return
        tag = b"" if self._seals is None else self._seals.sending.tag(head, body)
        if len(body) < JOIN_BELOW:
            self._transport.write(head + body + tag)
        else:
            for piece in (head, body, tag):
                self._transport.write(piece)

    def finish(self) -> None:
        """Close when all that was written has gone."""
        if not self.closed:
            self._transport.close()

    def abort(self) -> None:
        """Nothing is written to it any more, or heard of it."""
        if not self.closed:
            self.closed = True
            self._transport.abort()

    # -- one after the other ------------------------------------------------------------------

    def _wait_for_turn(self) -> None:
        """Read on, or not yet."""
        pause = self._waiting_for is not None
        if pause != self._paused and not self.closed:
            self._paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def succeeded_by(self, successor: Endpoint) -> None:
        """The same end goes on there, when what was sent here has been read."""
        self._successor, successor._waiting_for = successor, self
        successor._wait_for_turn()

    # -- the protocol's callbacks ---------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._body is not None:
            if self._got == len(self._body):
                make_room(self._body, self._head[-1] + self._tail)
            return memoryview(self._body)[self._got :]
        return self._scratch[self._have :]

    def buffer_updated(self, count: int) -> None:
        try:
            if self._body is None:
                self._have += count
                self._cut()
                return
            self._got += count
            if self._got == self._head[-1] + self._tail:
                body, self._body, tag = self._body, None, b""
                if self._tail:  # the loop still has a view of it, so it cannot be cut
                    body, tag = body[: -self._tail], bytes(body[-self._tail :])
                self._check(self._head, body, tag)
        except ForgedFrameError as error:
            log.warning("closed a channel connection: %s", error)
            self.abort()
        except Exception as error:  # whatever it was, the other links go on
            log.warning("a channel connection makes no sense and is closed: %r", error)
            log.debug("where it failed", exc_info=True)
            self.abort()

    def _cut(self) -> None:
        """All whole frames in the scratch; the begin of a large one gets a place of its own."""
        start, size = 0, frames.HEADER.size
        while self._have - start >= size and not self.closed:
            head = frames.HEADER.unpack_from(self._scratch, start)
            length = head[-1]
            if length > frames.LENGTH_LIMIT:
                raise ValueError(f"a frame of {length} bytes")
            end = start + size + length + self._tail
            if end <= self._have:
                middle = end - self._tail
                body = bytes(self._scratch[start + size : middle])
                self._check(head, body, bytes(self._scratch[middle:end]))
            elif end - start > SCRATCH:
                begun = self._scratch[start + size : self._have]
                self._body, self._got, self._head = bytearray(begun), len(begun), head
                self._have = start = 0
                return
            else:
                break
            start = end
        rest = bytes(self._scratch[start : self._have])
        self._scratch[: len(rest)] = rest
        self._have = len(rest)

    def _check(self, head: tuple[int, ...], body: bytes | bytearray, tag: bytes) -> None:
        if self._seals is not None:
            self._seals.receiving.check(tag, frames.HEADER.pack(*head), body)
        kind, flags, tickets, number, stamp, _ = head
        self._hear(self, kind, flags, tickets, number, stamp, body)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._disconnected(self)
        successor = self._successor
        if successor is not None:
            successor._waiting_for = self._successor = None
            successor._wait_for_turn()
