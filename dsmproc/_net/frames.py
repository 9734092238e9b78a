"""Frames: a header whose last field is the body's length, the body, and over TCP its tag (seal.py).

Nothing here does I/O. `Reader` and `Cutter` say where the next bytes belong and are told how many
came. A Reader reads nothing beyond its frame, so that what follows can be left to somebody else;
a Cutter reads ahead.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ..errors import ProtocolError
from .seal import TAG_BYTES, Seals

TOGETHER = 1 << 16  # bytes; header, body and tag of a smaller frame in one piece
FIRST_ROOM = 1 << 20
WHOLE = 1 << 63  # room for all at once: who says the length is trusted

Data = bytes | bytearray | memoryview
Room = bytearray | memoryview
Whole = TypeVar("Whole", bytearray, memoryview)
Fields = tuple[Any, ...]
Frame = tuple[Fields, bytearray]


class Format:
    """`nonsense` is what a peer is told whose frame is too long; the lengths if it is empty."""

    def __init__(self, header: struct.Struct, limit: int, nonsense: str = "") -> None:
        self.header = header
        self._limit = limit
        self._nonsense = nonsense

    def length(self, fields: Fields) -> int:
        length: int = fields[-1]
        if length > self._limit:
            what = f"a frame of {length} bytes came where {self._limit} are the limit"
            raise ProtocolError(self._nonsense or what)
        return length


def pieces(seals: Seals | None, head: bytes, body: Data = b"", *more: Data) -> list[Data]:
    """The pieces in which to write one frame, whose body may be in parts."""
    if seals is None and not more and len(body) <= TOGETHER:
        return [head + body]
    tag = b"" if seals is None else seals.sending.tag(head, body, *more)
    if len(body) + (sum(map(len, more)) if more else 0) <= TOGETHER:
        return [b"".join((head, body, *more, tag))]
    return [piece for piece in (head, body, *more, tag) if piece]


def make_room(data: bytearray, count: int) -> None:
    """Let `data` grow towards `count` bytes, by what it has: a length alone costs no memory."""
    try:
        data.extend(bytes(min(count - len(data), max(len(data), FIRST_ROOM))))
    except MemoryError:
        raise ProtocolError(
            f"a frame of {count} bytes is more than this host has memory for"
        ) from None


class Reader:
    """Exactly one frame after the other. Room for the `first` bytes of a body is made at once."""

    def __init__(self, form: Format, seals: Seals | None = None, first: int = FIRST_ROOM) -> None:
        self._form = form
        self._seals = seals
        self._tail = 0 if seals is None else TAG_BYTES
        self._first = first
        self._head = bytearray(form.header.size)
        self._fields: Fields = ()
        self._body: bytearray | None = None
        self.room: Room = self._head
        self._got, self._want = 0, len(self._head)

    def came(self, count: int) -> Frame | None:
        """The frame, if it is whole now. EOFError if nothing came."""
        if not count:
            raise EOFError("the connection was closed")
        self._got += count
        if self._got < self._want:
            self._go_on()
            return None
        if self.room is not self._head and self.room is not self._body:
            self._let_go()
        if self._body is None:
            self._fields = self._form.header.unpack(self._head)
            self._want = self._form.length(self._fields) + self._tail
            self._body = self.room = bytearray(min(self._want, self._first))
            self._got = 0
            if self._want:
                return None
        body, self._body = self._body, None
        self.room = self._head
        self._got, self._want = 0, len(self._head)
        if self._seals is not None:
            tag = body[-self._tail :]
            del body[-self._tail :]
            self._seals.receiving.check(tag, self._head, body)
        return self._fields, body

    def _go_on(self) -> None:
        self._let_go()
        data = self._head if self._body is None else self._body
        if self._got == len(data):
            make_room(data, self._want)
        self.room = memoryview(data)[self._got :]

    def _let_go(self) -> None:
        """Release the view that would keep the body as long as it is; a loop may have it still."""
        if isinstance(self.room, memoryview):
            self.room.release()


def receive(reader: Reader, recv_into: Callable[..., int], flags: int = 0) -> Frame:
    """A frame, by a socket's blocking call."""
    while True:
        frame = reader.came(recv_into(reader.room, 0, flags))
        if frame is not None:
            return frame


class Cutter:
    """Whole frames out of one buffer of `size` bytes; a longer one has a place of its own."""

    def __init__(self, form: Format, seals: Seals | None, size: int) -> None:
        self._form = form
        self._seals = seals
        self._tail = 0 if seals is None else TAG_BYTES
        self._buffer = memoryview(bytearray(size))
        self._have = 0
        self._head = b""
        self._long: bytearray | None = None  # the body of a long one, and its tag,
        self._got = self._want = 0  # and how much of them is here

    def room(self) -> memoryview:
        """Where to read."""
        if self._long is None:
            return self._buffer[self._have :]
        if self._got == len(self._long):
            make_room(self._long, self._want)
        return memoryview(self._long)[self._got :]

    def came(self, count: int) -> Iterator[tuple[Fields, bytearray | memoryview]]:
        """Each frame that is whole now. A view is valid until the next one is asked for."""
        if self._long is not None:
            self._got += count
            if self._got == self._want:
                body, self._long = self._long, None
                yield self._form.header.unpack(self._head), self._checked(self._head, body)
            return
        have = self._have + count
        at, header, size = 0, self._form.header, self._form.header.size
        while have - at >= size:
            fields, start = header.unpack_from(self._buffer, at), at + size
            end = start + self._form.length(fields) + self._tail
            if end > have:
                if end - at > len(self._buffer):
                    self._head, self._long = bytes(self._buffer[at:start]), bytearray()
                    self._long += self._buffer[start:have]
                    self._got, self._want = len(self._long), end - start
                    at = have
                break
            yield fields, self._checked(self._buffer[at:start], self._buffer[start:end])
            at = end
        if at < have:
            self._buffer[: have - at] = bytes(self._buffer[at:have])
        self._have = have - at

    def _checked(self, head: Data, body: Whole) -> Whole:
        if self._seals is None:
            return body
        # Who reads has a view of it still, so it cannot be shortened.
        body, tag = body[: -self._tail], body[-self._tail :]
        self._seals.receiving.check(tag, head, body)
        return body
