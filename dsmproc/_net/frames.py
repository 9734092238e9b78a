"""Frames: a header whose last field is the body's length, the body, and over TCP its tag (seal.py).

Nothing here does I/O. `read` and `fill` are generators, like the handshake: they yield where the
next bytes belong and are sent how many came, none of them beyond the frame. Who reads ahead has a
`Cutter`, which is asked for the same and told the same.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Iterator
from typing import Any

from ..errors import ProtocolError
from .seal import TAG_BYTES, Seals

TOGETHER = 1 << 16  # bytes; header, body and tag of a smaller frame in one piece
FIRST_ROOM = 1 << 20
WHOLE = 1 << 63  # room for all at once: who says the length is trusted

Data = bytes | bytearray | memoryview


class Format:
    """`nonsense` is what a peer is told whose frame is too long; the lengths if it is empty."""

    def __init__(self, header: struct.Struct, limit: int, nonsense: str = "") -> None:
        self.header = header
        self._limit = limit
        self._nonsense = nonsense

    def length(self, head: Data) -> int:
        length = int(self.header.unpack(head)[-1])
        if length > self._limit:
            what = f"a frame of {length} bytes came where {self._limit} are the limit"
            raise ProtocolError(self._nonsense or what)
        return length


def pieces(seals: Seals | None, head: Data, *parts: Data) -> list[Data]:
    """The pieces in which to write one frame."""
    tag = () if seals is None else (seals.sending.tag(head, *parts),)
    if sum(map(len, parts)) <= TOGETHER:
        return [b"".join((head, *parts, *tag))]
    return [head, *parts, *tag]


def make_room(data: bytearray, count: int) -> None:
    """Let `data` grow towards `count` bytes, by what it has: a length alone costs no memory."""
    try:
        data.extend(bytes(min(count - len(data), max(len(data), FIRST_ROOM))))
    except MemoryError:
        raise ProtocolError(
            f"a frame of {count} bytes is more than this host has memory for"
        ) from None


def fill(count: int, first: int = FIRST_ROOM) -> Generator[memoryview, int, bytearray]:
    """Exactly `count` bytes; room for the `first` of them is made at once."""
    data, got = bytearray(min(count, first)), 0
    while got < count:
        if got == len(data):
            make_room(data, count)
        with memoryview(data) as view, view[got:] as room:
            more = yield room
        if not more:
            raise EOFError("the connection was closed")
        got += more
    return data


Reading = Generator[memoryview, int, tuple[bytearray, bytearray]]


def read(form: Format, seals: Seals | None = None, first: int = FIRST_ROOM) -> Reading:
    """One frame: its header and its body."""
    head = yield from fill(form.header.size)
    length = form.length(head)
    body = yield from fill(length + (0 if seals is None else TAG_BYTES), first)
    if seals is not None:
        tag = body[length:]
        del body[length:]
        seals.receiving.check(tag, head, body)
    return head, body


def drive(steps: Generator[memoryview, int, Any], recv_into: Callable[[memoryview], int]) -> Any:
    """The value of `steps`, with what a blocking call gives."""
    try:
        room = next(steps)
        while True:
            room = steps.send(recv_into(room))
    except StopIteration as done:
        return done.value


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

    def came(self, count: int) -> Iterator[tuple[bytes, bytearray | memoryview]]:
        """Each frame that is whole now. A view is valid until the next one is asked for."""
        if self._long is not None:
            self._got += count
            if self._got == self._want:
                body, self._long = self._long, None
                yield self._checked(self._head, body)
            return
        self._have += count
        at, size = 0, self._form.header.size
        while self._have - at >= size:
            head, start = bytes(self._buffer[at : at + size]), at + size
            want = self._form.length(head) + self._tail
            if start + want > self._have:
                if size + want > len(self._buffer):
                    self._long = bytearray(self._buffer[start : self._have])
                    self._head, self._got, self._want = head, len(self._long), want
                    at = self._have
                break
            at = start + want
            yield self._checked(head, self._buffer[start:at])
        rest = bytes(self._buffer[at : self._have])
        self._buffer[: len(rest)] = rest
        self._have = len(rest)

    def _checked(
        self, head: bytes, body: bytearray | memoryview
    ) -> tuple[bytes, bytearray | memoryview]:
        if self._seals is not None:  # who reads has a view of it still, so it cannot be shortened
            body, tag = body[: -self._tail], body[-self._tail :]
            self._seals.receiving.check(tag, head, body)
        return head, body
