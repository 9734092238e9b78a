"""The client's side of channels: links to brokers.

Nothing here starts a thread. A link is one socket, used for one request at a time. What interrupts
a request (Ctrl-C, a signal handler's exception) gives the link a new socket under the same number:
the broker then takes back what it had handed to the old one, so no message is lost.

After a fork the child's copy of a link is the parent's socket still, which counts for both; at its
first use in the child it becomes a socket of the child's own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from .. import _membership
from .._memory import edges
from .._net.seal import TAG_BYTES, Seals
from ..errors import (
    HostLostError,
    LastReaderLostError,
    LastWriterLostError,
    LostChannelError,
    ProcessError,
    WriterLostError,
)
from . import frames

TOGETHER = 1 << 16  # header and body in one buffer below this
ACK = frames.frame(frames.ACK)
CLOSE_SECONDS = 5.0
CANCEL_SECONDS = 30.0

_forks = 0


def _forked_parent() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_parent=_forked_parent, after_in_child=edges.forget_senders)


class Owner(NamedTuple):
    """The broker of a channel."""

    host: int
    address: tuple[str, int]


class Reply(NamedTuple):
    kind: int
    flags: int
    number: int
    stamp: int
    body: bytearray


class TimedOut(Exception):
    """The request was cancelled in time; nothing has happened."""


class _NoReader(Exception):
    """The broker says that nobody can read what this link would send."""


def _own_broker() -> Owner:
    """The broker of this process's host."""
    return Owner(_membership.client().host, ("", 0))


# At the interpreter's end a destructor finds its modules gone, and the kernel closes what is open.
at_the_end = sys.is_finalizing


class Link:
    """One end of a channel, or an anchor for tickets."""

    def __init__(
        self,
        owner: Owner | None = None,
        channel: int = 0,
        role: int = 0,
        *,
        options: int = 0,
        count: int = 0,
        size: int = 0,
        ticket: int = 0,
        told: int = 0,
    ) -> None:
        self.owner = owner or _own_broker()
        self.channel = channel
        self.role = role
        self.closed = True
        self.what = "queue" if role == frames.READER | frames.WRITER else "pipe"
        self.broken = False  # a writer without readers
        self._last_reader: int | None = None  # its host, if that may be lost
        self._reader_lost: str | None = None  # why; "" if it is not lost
        self._unsure = False  # an operation was left in the middle: what the socket holds
        self.relayed = self.foreign = False  # a descriptor is behind the channel; of any machine
        self._options = options
        self._limits = (count, size)
        self.told = told  # how many of the channel's losses this process knows
        self._numbers = 0
        self._seals: Seals | None = None
        self._sent = 0  # bytes since there was room for more
        self._fresh()
        self._sock = self._connect(ticket, 0)
        self.closed = False

    def _fresh(self) -> None:
        self.pid = os.getpid()
        self._forks = _forks
        self.lock = threading.Lock()
        self.remote = self.owner.host != _membership.client().host

    # -- the socket ---------------------------------------------------------------------------

    def _connect(self, ticket: int, after: int) -> socket.socket:
        client = _membership.client()
        host = {"id": self.owner.host, "address": self.owner.address}
        try:
            wired = client.connect(host, "channel")
            sock, seals = wired.sock, wired.seals
        except OSError as error:
            if error.errno == errno.EMFILE:  # ours, or the agent's, which says so
                raise
            raise self._lost() from error
        try:
            wish = frames.Attach(
                self.channel, self.role, self._options, *self._limits, ticket, after, self.told
            )
            for piece in _pieces(seals, frames.frame(frames.ATTACH, 1, wish.pack())):
                sock.sendall(piece)
            reply = _receive(sock, seals)
        except (OSError, EOFError) as error:
            sock.close()
            raise self._lost() from error
        except BaseException:
            sock.close()
            raise
        if reply.kind != frames.OK:
            sock.close()
            raise FileNotFoundError(errno.ENOENT, reply.body.decode())
        attached, name = frames.unpack_attached(reply.body)
        self.channel, self._number = attached.channel, attached.link
        self.owner = Owner(attached.host, (name, attached.port))
        self._seals = seals
        self.relayed = bool(reply.flags & frames.RELAYED)
        self.foreign = bool(reply.flags & frames.FOREIGN)
        return sock

    def _lost(self) -> HostLostError:
        host = self.owner.host
        why = _membership.client().why_lost(host)
        what = self.what if self.role else "pipe or queue"
        return LostChannelError(f"a {what} was lost with its host: {why}", host)

    def _broken_by(self, body: bytes | bytearray) -> None:
        """The broker says that the last reader is gone, and perhaps of which host it was."""
        self.broken = True
        if body:
            (self._last_reader,) = frames.NUMBER.unpack(body)

    def _broken_pipe(self) -> Exception:
        """The last reader is gone: it has closed its end, or ended, or was lost with its host."""
        host = self._last_reader
        if self._reader_lost is None:
            self._reader_lost = "" if host is None else _membership.client().why_if_lost(host)
        if not self._reader_lost:
            return BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        text = f"Nobody else can read from this {self.what}: what was not read is lost"
        return LastReaderLostError(f"{self._reader_lost}. {text}", host)

    def _renew(self, after: int) -> None:
        """A new socket under the old number; closing the old one tells the broker to go on."""
        old = self._sock
        new = self._connect(0, after)
        os.dup2(new.fileno(), old.fileno(), inheritable=False)
        new.close()

    def _ready(self, events: int, seconds: float | None) -> int:
        """Wait for the socket; the events that came."""
        poller = select.poll()
        poller.register(self._sock, events)
        found = poller.poll(None if seconds is None else seconds * 1000)
        return found[0][1] if found else 0

    def _has_heard(self) -> bool:
        """Whether something waits to be read, or the end of file."""
        try:
            self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        return True

    def check(self) -> None:
        """Before each use: open, and this process's own."""
        if self.closed:
            raise OSError("handle is closed")
        if self.pid != os.getpid():
            self._fresh()
            self._renew(0)

    def fileno(self) -> int:
        self.check()
        return self._sock.fileno()

    def _mend(self, error: BaseException) -> None:
        """Something ended an operation in the middle: the link stays usable. Raises what that
        means for the caller; returns if it is the error itself."""
        if isinstance(error, _NoReader):
            raise self._broken_pipe() from None
        if isinstance(error, (EOFError, ConnectionError)):
            if self.closed:
                raise OSError("handle is closed") from None
            raise self._lost() from None
        if not self.closed and not isinstance(error, TimedOut):
            self._unsure = True
            with contextlib.suppress(OSError, ProcessError):
                self._go_on()

    def _go_on(self) -> None:
        """With a new socket, if an operation was left in the middle, and the mending of it too.
        While the lock is held."""
        if self._unsure:
            self._renew(self._number)
            self._unsure = False

    # -- one-way ------------------------------------------------------------------------------

    def send(self, data: Any) -> None:
        """A message, as soon as there is room in the channel; BrokenPipeError if no reader is."""
        self.check()
        if self.relayed:  # who reads next to us must find it there when this returns
            self.put(bytes(data))
            return
        if self._sent >= frames.WINDOW and self.role == frames.WRITER:
            self._wait_for_room()
        stamp = self.stamp()
        senders = edges.sent if self.role == frames.WRITER else edges.queued
        with self.lock:
            try:
                self._go_on()
                self._send(data, stamp)
                self._sent += len(data)
                senders.add(self)
            except BaseException as error:
                senders.add(self)  # it may have gone
                self._mend(error)
                raise

    def delivered(self) -> None:
        """Wait until the broker has what was sent; or another thread's request, which comes after
        it, is under way; or the broker is gone, which the next one to ask will be told."""
        if not (self.closed or self.lock.locked()):
            with contextlib.suppress(OSError, ProcessError):
                self.request(frames.SYNC)

    def _wait_for_room(self) -> None:
        if self.request(frames.ROOM).kind == frames.BROKEN:
            raise self._broken_pipe()
        self._sent = 0

    def _send(self, data: Any, stamp: int) -> None:
        if self.role == frames.WRITER and (self.broken or self._has_heard()):
            self._raise_broken()
        head = frames.HEADER.pack(frames.SEND, 0, 0, 0, stamp, len(data))
        for piece in _pieces(self._seals, head, data):
            self._write(piece)

    def put(self, body: Any, tickets: int = 0) -> None:
        """A message; waits until the broker has it."""
        reply = self.request(frames.PUT, body, stamp=self.stamp(), tickets=tickets)
        if reply.kind == frames.BROKEN:
            raise self._broken_pipe()

    def stamp(self) -> int:
        """What this process's host has written goes before a message to another host."""
        return edges.publish() or 0 if self.remote or self.foreign else 0

    def _write(self, data: Any) -> None:
        view = memoryview(data).cast("B")
        done = 0
        while True:
            with contextlib.suppress(BlockingIOError):
                done += self._sock.send(view[done:], socket.MSG_DONTWAIT)
            if done == len(view):
                return
            ready = self._ready(select.POLLIN | select.POLLOUT, None)
            if ready & (select.POLLIN | select.POLLHUP):
                self._raise_broken()

    def _raise_broken(self) -> None:
        """Something came to a writer that asked for nothing: the last reader is gone."""
        if not self.broken:
            self._broken_by(_receive(self._sock, self._seals).body)
        raise _NoReader

    # -- requests -----------------------------------------------------------------------------

    def request(
        self,
        kind: int,
        body: Any = b"",
        *,
        flags: int = 0,
        stamp: int = 0,
        tickets: int = 0,
        timeout: float | None = None,
        finish: Callable[[Reply], Any] | None = None,
    ) -> Any:
        """Ask, wait, observe; `finish` turns the reply into a value while it can be taken back.

        TimedOut if there is no answer in time; a message that came just then stays in the channel.
        """
        self.check()
        until = None if timeout is None else time.monotonic() + timeout
        seconds = -1.0 if timeout is None else max(0.0, timeout)
        taken: list[bool] = []
        try:
            # In one call of C, so that a signal's handler finds what the lock said in the list.
            taken.extend(map(self.lock.acquire, (True,), (seconds,)))
            if not taken[0]:
                raise TimedOut
            self._go_on()
            self._numbers += 1
            number = self._numbers
            head = frames.HEADER.pack(kind, flags, tickets, number, stamp, len(body))
            self._send_request(head, body)
            reply = self._answer(number, until)
            if reply is None:
                reply = self._cancel(number)
            if self.foreign:
                edges.observe_newest()
            elif reply.stamp:
                edges.observe(reply.stamp)
            if reply.kind != frames.LOST:
                return reply if finish is None else finish(reply)
            lost = self._told_of(kind, reply)
        except BaseException as error:
            if taken == [True]:
                self._mend(error)
            raise
        finally:
            if taken == [True]:
                self.lock.release()
        try:
            raise lost
        finally:
            del lost  # an error and the frame it was raised in would hold each other

    def _send_request(self, head: bytes, body: Any = b"") -> None:
        """All of it, while the broker reads: it does not stop for requests but for a full pipe."""
        for piece in _pieces(self._seals, head, body):
            self._sock.sendall(piece)

    def _answer(self, number: int, until: float | None) -> Reply | None:
        """The reply to a request; None if there is none by then. What comes before it is stale."""
        while True:
            if until is not None:
                left = max(0.0, until - time.monotonic())
                if not self._ready(select.POLLIN, left):
                    return None
            reply = _receive(self._sock, self._seals)
            if reply.kind == frames.BROKEN:
                self._broken_by(reply.body)
            if reply.number == number:
                return reply

    def _told_of(self, kind: int, reply: Reply) -> HostLostError:
        """It has arrived: from now on this process knows."""
        loss, why = frames.unpack_loss(reply.body)
        edges.observe_newest()
        self._sock.sendall(_pieces(self._seals, ACK)[0])
        self.told = loss.number
        kind_of, text = _losses(self.what, kind, reply.flags, loss.undone)
        return kind_of(f"{why}. {text}", loss.host)

    def learn(self, told: int) -> None:
        """Another link of this process was told."""
        if told <= self.told or self.closed:
            return
        self.check()
        with self.lock:
            try:
                self._go_on()
                self._send_request(frames.frame(frames.TOLD, told))
                self.told = told
            except BaseException as error:
                self._mend(error)
                raise

    def _cancel(self, number: int) -> Reply:
        """The time is over. TimedOut, or the answer if it was given before that was known."""
        self._send_request(frames.frame(frames.CANCEL, number))
        answer = None
        while True:
            reply = self._answer(number, time.monotonic() + CANCEL_SECONDS)
            if reply is None:
                raise ConnectionResetError("the broker does not answer")
            if reply.kind == frames.CANCELLED:
                break
            answer = reply
        if answer is None or answer.kind in (frames.MESSAGE, frames.LOST):  # it has it again
            raise TimedOut
        return answer

    def get(
        self,
        convert: Callable[[Any], Any] | None = None,
        *,
        flags: int = 0,
        timeout: float | None = None,
        stamp: int = 0,
    ) -> Any:
        """One message, or `END` or `EMPTY`. TimedOut after the time.

        With handles in it the message is converted before it counts as arrived, for until then it
        holds what the handles need; without, after.
        """

        def arrived(reply: Reply) -> tuple[str, Any]:
            if reply.kind != frames.MESSAGE:
                return "is", END if reply.kind == frames.END else EMPTY
            how: str = "means"
            value: Any = reply.body
            if reply.flags & frames.CARRIES and convert is not None:
                try:
                    how, value = "is", convert(reply.body)
                except Exception as error:
                    how, value = "raises", error
            # To another host it goes with what is sent next, or in a moment, or at this process's
            # end: it matters only if the host is lost, or while handles are in the message.
            later = self.remote and not reply.flags & frames.CARRIES
            (ack,) = _pieces(self._seals, ACK)
            self._sock.sendall(ack, socket.MSG_MORE if later else 0)
            return how, value

        how, value = self.request(
            frames.GET, flags=flags, stamp=stamp, timeout=timeout, finish=arrived
        )
        if how == "raises":
            raise value
        return convert(value) if how == "means" and convert is not None else value

    def poll(self, timeout: float | None) -> bool:
        """Whether a message (or the end) is there, or comes in time."""
        self.check()
        if self._announced():
            return True
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            if self.request(frames.POLL).kind == frames.YES:
                return True
            left = None if until is None else max(0.0, until - time.monotonic())
            if left == 0.0:
                return False
            self._ready(select.POLLIN, left)  # for a READY

    def _announced(self) -> bool:
        """Whether a READY waits that can be relied on, for nobody else reads here."""
        size = frames.HEADER.size
        with self.lock:
            try:
                peek = self._sock.recv(size + TAG_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except OSError:
                return False
            head, tag = peek[:size], peek[size:]
            if len(head) < size or self._seals and not self._seals.receiving.fits(tag, head):
                return False
        kind, flags, _, _, stamp, _ = frames.HEADER.unpack(head)
        if kind != frames.READY or not flags & frames.SURE:
            return False
        if stamp:
            edges.observe(stamp)
        return True

    # -- the end ------------------------------------------------------------------------------

    def close(self, quietly: bool = False) -> None:
        """This process does not hold the end any more. Who writes next to a pipe whose last reader
        was closed (not collected: `quietly`) gets BrokenPipeError."""
        if self.closed:
            return
        for senders in (edges.sent, edges.queued):
            if self in senders:
                senders.discard(self)
                self.delivered()
        self.closed = True
        alone = self.pid == os.getpid() and self._forks == _forks
        if alone and not quietly and self.role == frames.READER:
            self._close_at_once()
        elif alone and self.remote and self.role == frames.WRITER:
            self._say_goodbye()
        elif alone and self.lock.locked():
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)  # another thread waits in it
        self._sock.close()

    def _say_goodbye(self) -> None:
        """It was closed, and not by its process's end or its host's: the broker need not ask."""
        if not self.lock.acquire(blocking=False):
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)  # another thread waits in it
            return
        try:
            (close,) = _pieces(self._seals, frames.frame(frames.CLOSE))
            with contextlib.suppress(OSError):
                self._sock.send(close, socket.MSG_DONTWAIT)
        finally:
            self.lock.release()

    def _close_at_once(self) -> None:
        if not self.lock.acquire(blocking=False):
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
            return
        try:
            with contextlib.suppress(OSError, EOFError):
                self._send_request(frames.frame(frames.CLOSE, self._numbers + 1))
                self._answer(self._numbers + 1, time.monotonic() + CLOSE_SECONDS)
        finally:
            self.lock.release()


def _losses(what: str, kind: int, flags: int, undone: int) -> tuple[type[HostLostError], str]:
    """What a lost host means for who waits in a request, and what can be done."""
    if kind == frames.PUT:
        return HostLostError, "No other host reads from this full queue; to wait for one, put again"
    if kind == frames.JOIN:
        text = f"It had not done {undone} tasks of this queue; put them again, report those with"
        return HostLostError, f"{text} task_done(), and join again"
    if flags & frames.ENDED:
        return LastWriterLostError, f"Nobody else can write into this {what}: it has ended"
    return WriterLostError, f"It could write into this {what}; to wait for others, read again"


class _Mark:
    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


END, EMPTY = _Mark("END"), _Mark("EMPTY")


def _pieces(seals: Seals | None, head: bytes, body: Any = b"") -> list[Any]:
    """What to write for one frame; a small one goes in one piece."""
    tag = b"" if seals is None else seals.sending.tag(head, body)
    if len(body) < TOGETHER:
        return [b"".join((head, body, tag))]
    return [head, body, tag] if tag else [head, body]


def _receive(sock: socket.socket, seals: Seals | None = None) -> Reply:
    """One frame, exactly: what follows it must stay in the socket."""
    head = bytearray(frames.HEADER.size)
    _fill(sock, head)
    kind, flags, _, number, stamp, length = frames.HEADER.unpack(head)
    body = bytearray(length)
    if length:
        _fill(sock, body)
    if seals is not None:
        tag = bytearray(TAG_BYTES)
        _fill(sock, tag)
        seals.receiving.check(tag, head, body)
    return Reply(kind, flags, number, stamp, body)


def _fill(sock: socket.socket, data: bytearray) -> None:
    view, got = memoryview(data), 0
    while got < len(view):
        count = sock.recv_into(view[got:], 0, socket.MSG_WAITALL)
        if count == 0:
            raise EOFError
        got += count
