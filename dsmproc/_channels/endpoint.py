"""The broker's side of a client's link: a socket of the agent's loop, cut into frames."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

from .._net.frames import Cutter, pieces
from .._net.seal import ForgedFrameError, Seals
from . import frames
from .channel import End

log = logging.getLogger("dsmproc")

SCRATCH = 1 << 14  # bytes; a longer body is read into its own place


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
        self._transport: Any = None
        self._paused = False
        self._waiting_for: Endpoint | None = None  # whose place this one takes; it is read first
        self._successor: Endpoint | None = None
        self._cutter = Cutter(frames.FORMAT, seals, SCRATCH)

    # -- sending ------------------------------------------------------------------------------

    def write(self, head: bytes, body: bytes | bytearray = b"") -> None:
        """Send one frame."""
        if self.closed:
            return
        for piece in pieces(self._seals, head, body):
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
        return self._cutter.room()

    def buffer_updated(self, count: int) -> None:
        try:
            for fields, body in self._cutter.came(count):
                if self.closed:
                    return
                kind, flags, tickets, number, stamp, _ = fields
                whole = body if isinstance(body, bytearray) else bytes(body)
                self._hear(self, kind, flags, tickets, number, stamp, whole)
        except ForgedFrameError as error:
            log.warning("closed a channel connection: %s", error)
            self.abort()
        except Exception as error:  # whatever it was, the other links go on
            log.warning("a channel connection makes no sense and is closed: %r", error)
            log.debug("where it failed", exc_info=True)
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._disconnected(self)
        successor = self._successor
        if successor is not None:
            successor._waiting_for = self._successor = None
            successor._wait_for_turn()
