"""A pool's worker as its driver sees it: what it was given, and the connection to its desk."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import os
import socket
import time
from collections.abc import Iterator
from typing import Any

from .. import _membership
from .._memory import edges
from .._net import wire
from .._net.frames import Cutter, Format, pieces
from .._parcels.parcel import APART, LENGTH, Blob, Parcel, Pieces, has_buffers, joined
from . import frames as frames

FRAME_TASKS = 256
FRAME_BYTES = 1 << 15  # of more than one task; far below what a socket holds
TARGET = 2000.0  # microseconds of work in a frame
STALL = 0.005  # seconds of silence of a worker that has tasks it may not have started
STALL_ALONE = 0.1  # of one that has a single task, which it started, if it can


class Function(Blob):
    is_function = True

    def __init__(self, value: Any, digest: bytes, parcel: Parcel) -> None:
        super().__init__(parcel)
        self.values = [value]  # kept, so that their ids stay their own
        self.digest = digest
        self.pace = Pace()


class Task:
    """A part of a job that was taken from its iterable, until it is answered."""

    __slots__ = ("function", "job", "last", "order", "parcel", "part", "shared")
    orders = itertools.count()

    def __init__(
        self, job: int, part: int, function: Function, parcel: Parcel, shared: tuple[Blob, ...]
    ) -> None:
        self.job = job
        self.part = part
        self.function = function
        self.parcel = parcel
        self.shared = shared
        self.order = next(self.orders)
        self.last = False  # of its frame


class Pace:
    """How many tasks of a function go into a frame. One, until they are known to be short: tasks
    that wait for each other must not wait for their place in a frame."""

    def __init__(self) -> None:
        self.size = 1
        self._mean = 0.0

    def heard(self, microseconds: int) -> None:
        self._mean += (microseconds - self._mean) / 8

    def frame_done(self) -> None:
        short = int(TARGET / max(self._mean, 1.0))
        self.size = max(1, min(2 * self.size, short, FRAME_TASKS))

    def stalled(self) -> None:
        self.size = 1
        self._mean = max(self._mean, TARGET)


class Inbox:
    """Frames of a connection that is read whenever something is there."""

    def __init__(self, wired: wire.Wire) -> None:
        self._wire = wired
        form = Format(LENGTH, frames.CHUNK + 1024)
        self._cutter = Cutter(form, wired.seals, frames.CHUNK + 2048)

    def read(self) -> Iterator[memoryview]:
        """Each frame that came; EOFError at the end. A frame is valid until the next is asked."""
        try:
            count = self._wire.sock.recv_into(self._cutter.room(), 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if not count:
            raise EOFError
        for _, body in self._cutter.came(count):
            yield memoryview(body)


class Record:
    """A record of the worker's stream."""

    __slots__ = ("body", "kind", "spent", "stamp", "token")

    def __init__(self, kind: int, token: int, spent: int, stamp: int, body: memoryview) -> None:
        self.kind = kind
        self.token = token
        self.spent = spent
        self.stamp = stamp
        self.body = body


class Records:
    """Cuts the worker's stream, whose chunks end anywhere."""

    def __init__(self) -> None:
        self._part = b""  # the begin of a record's head
        self._head: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
        self._body: bytearray | None = None  # of a record that is not all here
        self._got = 0

    def feed(self, chunk: memoryview) -> Iterator[Record]:
        at = 0
        if self._body is not None:
            at = self._take(chunk, 0)
            if self._got < len(self._body):
                return
            kind, token, spent, stamp, _ = self._head
            whole, self._body = self._body, None
            yield Record(kind, token, spent, stamp, memoryview(whole))
        elif self._part:
            chunk = memoryview(self._part + chunk)
            self._part = b""
        size = frames.RECORD.size
        while len(chunk) - at >= size:
            kind, token, spent, stamp, length = frames.RECORD.unpack_from(chunk, at)
            at += size
            if len(chunk) - at < length:
                self._head = kind, token, spent, stamp, length
                self._body, self._got = bytearray(length), 0
                self._take(chunk, at)
                return
            body = chunk[at : at + length]
            if length >= APART and has_buffers(body):
                body = memoryview(bytearray(body))  # its arrays live on in it
            at += length
            yield Record(kind, token, spent, stamp, body)
        self._part = bytes(chunk[at:])

    def _take(self, chunk: memoryview, at: int) -> int:
        assert self._body is not None
        count = min(len(self._body) - self._got, len(chunk) - at)
        self._body[self._got : self._got + count] = chunk[at : at + count]
        self._got += count
        return at + count


@dataclasses.dataclass
class Returned:
    """Tokens that the worker will never take; with `ended` it says nothing any more."""

    tokens: list[int]
    ended: bool


@dataclasses.dataclass
class Stored:
    """The agent has a blob."""

    number: int


class Member:
    """A worker of the pool."""

    def __init__(self, process: Any, pool: int, number: int, left: int | None) -> None:
        self.process = process
        self.pool = pool
        self.left = left  # tasks that it may still be given (maxtasksperchild)
        self.ready = False
        self.dismissed = False  # it was told to end, or has done all that it may
        self.exited = False  # as a process
        self.ended = False  # as somebody who says something
        self.given: dict[int, Task] = {}
        self.recalled = False  # the answer to that has not come yet
        self.asked = False  # since it was last heard
        self.watched = False  # for room in its socket
        self.heard_at = 0.0
        self.host: int = process._popen.host
        wired = process._popen.connect("pool-driver")
        try:
            wired.send((pool, number))
        except BaseException:
            wired.close()
            raise
        self._wire = wired
        self._remote = self.host != _membership.client().host
        self._inbox = Inbox(wired)
        self._records = Records()
        self._out: collections.deque[memoryview] = collections.deque()
        self._next = 1  # token

    def fileno(self) -> int:
        return self._wire.fileno()

    def where(self) -> str:
        return f"host {self.host}, pid {self.process.pid}"

    # -- what it wants ------------------------------------------------------------------------

    def room(self, size: int) -> int:
        """How many tasks it may be given now, if `size` go into a frame: none before it has
        answered the last, and none while it stands still, for all that is known."""
        if not self.ready or self.dismissed or self.ended or self.exited:
            return 0
        if self.given or self.recalled or self.asked:
            return 0
        return size if self.left is None else min(size, self.left)

    # -- sending ------------------------------------------------------------------------------

    def give(self, tasks: list[Task]) -> None:
        """Tasks of one function."""
        first = self._next
        self._next += len(tasks)
        self.heard_at, self.asked = time.monotonic(), False
        for i, task in enumerate(tasks):
            self.given[first + i] = task
            task.last = task is tasks[-1]
        if self.left is not None:
            self.left -= len(tasks)
        function = tasks[0].function.number
        order = frames.ORDER.pack(frames.GIVE, first, len(tasks), function, self._stamp())
        self._send(frames.frame(order, [task.parcel for task in tasks]))

    def _stamp(self) -> int:
        """Publish what this host has written, before a message to another host."""
        return (edges.publish() or 0) if self._remote else 0

    def give_blob(self, blob: Blob) -> None:
        kind = frames.BLOB if blob.is_function else frames.SHARE
        order = frames.ORDER.pack(kind, 0, 0, blob.number, self._stamp())
        self._send(frames.blob_frame(order, blob.parcel))

    def say(self, kind: int, blob: int = 0) -> None:
        self._send([frames.ORDER.pack(kind, 0, 0, blob, 0)])

    def patience(self, now: float) -> float | None:
        """Seconds until it was silent for too long; None if nothing is expected of it."""
        if not self.given or self.asked or self.ended or self.exited:
            return None
        return self.heard_at + (STALL if len(self.given) > 1 else STALL_ALONE) - now

    def recall(self) -> None:
        """Ask for what it has not started to come back; its functions count as slow."""
        for task in self.given.values():
            task.function.pace.stalled()
        self.recalled = self.asked = True
        self.say(frames.RECALL)

    def _send(self, parts: Pieces) -> None:
        views = [memoryview(part).cast("B") for part in parts]
        head = wire.frame_header(sum(map(len, views)))
        whole = pieces(self._wire.seals, head, *views)
        self._out.extend(map(memoryview, whole if len(whole) == 1 else joined(whole)))
        self.flush()

    @property
    def blocked(self) -> bool:
        """Something waits until the agent takes it."""
        return bool(self._out)

    def flush(self) -> None:
        """Send what can be sent now."""
        try:
            while self._out:
                count = self._wire.sock.send(self._out[0], socket.MSG_DONTWAIT)
                if count < len(self._out[0]):
                    self._out[0] = self._out[0][count:]
                else:
                    self._out.popleft()
        except BlockingIOError:
            return
        except OSError:
            self._out.clear()  # the desk is gone: reading tells

    # -- hearing ------------------------------------------------------------------------------

    def said_something(self) -> bool:
        """Whether there is something to hear, be it the end."""
        try:
            self._wire.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            pass  # that is an end too
        return True

    def hear(self) -> Iterator[Record | Returned | Stored]:
        """Everything that has come."""
        try:
            for body in self._inbox.read():
                kind, rest = bytes(body[:1]), body[1:]
                if kind == frames.FROM_WORKER:
                    self.heard_at, self.asked = time.monotonic(), False
                    yield from self._records.feed(rest)
                elif kind == frames.STORED:
                    yield Stored(*frames.split_tokens(rest))
                else:
                    yield Returned(frames.split_tokens(rest), kind == frames.ENDED)
        except (EOFError, OSError):
            if not self.ended:
                yield Returned([], True)

    def answered(self, record: Record) -> Task | None:
        """The task that it has done."""
        task = self.given.pop(record.token, None)
        if task is not None:
            task.function.pace.heard(record.spent)
            if task.last:
                task.function.pace.frame_done()
            if self.left == 0 and not self.given:
                self.dismissed = True  # it ends by itself now
        return task

    def returned(self, tokens: list[int]) -> list[Task]:
        """The tasks that it will not do."""
        tasks = [task for token in tokens if (task := self.given.pop(token, None))]
        if self.left is not None:
            self.left += len(tasks)
        return tasks

    def close(self) -> None:
        """Hang up; what waits to be sent is not sent."""
        self._out.clear()
        self._wire.close()

    def let_go(self) -> None:
        """Let it end when it has done what it was given."""
        self.dismissed = True
        self.say(frames.END)
        with contextlib.suppress(OSError):
            while self._out:
                self._wire.sock.sendall(self._out.popleft())


class Blobs:
    """The blobs in use, and which host has them (rule 6 of handler.py)."""

    def __init__(self) -> None:
        self._blobs: dict[int, Blob] = {}

    def have(self, member: Member, blob: Blob) -> bool:
        """Whether the member's host has it, or gets it from here now."""
        if member.host in blob.stored or blob.shipping.get(member.host) is member:
            return True
        if member.host in blob.shipping:
            return False
        blob.shipping[member.host] = member
        self._blobs[blob.number] = blob
        member.give_blob(blob)
        return True

    def stored(self, member: Member, number: int) -> None:
        blob = self._blobs.get(number)
        if blob is not None:
            blob.shipping.pop(member.host, None)
            blob.stored.add(member.host)

    def give_up(self, blob: Blob, order: int, members: list[Member]) -> None:
        """No host needs it any more."""
        self._blobs.pop(blob.number, None)
        hosts = {*blob.stored, *blob.shipping}
        for member in members:
            host = member.host
            if host in hosts and blob.shipping.get(host, member) is member and not member.ended:
                member.say(order, blob.number)
                hosts.remove(host)

    def gone(self, member: Member, last: bool) -> None:
        """`last`: of its host, whose agent keeps nothing for a pool that has no desk there."""
        for blob in self._blobs.values():
            if blob.shipping.get(member.host) is member:
                del blob.shipping[member.host]
            if last:
                blob.stored.discard(member.host)


def new_number() -> int:
    return int.from_bytes(os.urandom(8), "little")
