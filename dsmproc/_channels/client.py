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
from ..errors import (
    HostLostError,
    LastReaderLostError,
    LastWriterLostError,
    LostChannelError,
    ProcessError,
    WriterLostError,
)
from . import frames
from .linksocket import LinkSocket, NoReader, Reply

ACK = frames.frame(frames.ACK)
CLOSE_SECONDS = 5.0

_forks = 0


def _forked_parent() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_parent=_forked_parent, after_in_child=edges.forget_senders)


class Owner(NamedTuple):
    """The broker of a channel."""

    host: int
    address: tuple[str, int]


class TimedOut(Exception):
    """The request was cancelled in time; nothing has happened."""


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
        self._reader_lost: str | None = None  # why; "" if it is not lost
        self._unsure = False  # an operation was left in the middle: what the socket holds
        self.relayed = self.foreign = False  # a descriptor is behind the channel; of any machine
        self._options = options
        self._limits = (count, size)
        self.told = told  # how many of the channel's losses this process knows
        self._numbers = 0
        self._sent = 0  # bytes since there was room for more
        self._fresh()
        self._socket = self._connect(ticket, 0)
        self.closed = False

    def _fresh(self) -> None:
        self.pid = os.getpid()
        self._forks = _forks
        self.lock = threading.Lock()
        self.remote = self.owner.host != _membership.client().host

    # -- the socket ---------------------------------------------------------------------------

    def _connect(self, ticket: int, after: int) -> LinkSocket:
        host = {"id": self.owner.host, "address": self.owner.address}
        wish = frames.Attach(
            self.channel, self.role, self._options, *self._limits, ticket, after, self.told
        )
        try:
            connected = LinkSocket(_membership.client().connect(host, "channel"), wish)
        except (OSError, EOFError) as error:
            if getattr(error, "errno", None) == errno.EMFILE:  # ours, or the agent's, which says so
                raise
            raise self._lost() from error
        reply = connected.attached
        if reply.kind != frames.OK:
            connected.sock.close()
            raise FileNotFoundError(errno.ENOENT, reply.body.decode())
        attached, name = frames.unpack_attached(reply.body)
        self.channel, self._number = attached.channel, attached.link
        self.owner = Owner(attached.host, (name, attached.port))
        self.relayed = bool(reply.flags & frames.RELAYED)
        self.foreign = bool(reply.flags & frames.FOREIGN)
        return connected

    def _lost(self) -> HostLostError:
        host = self.owner.host
        why = _membership.client().why_lost(host)
        what = self.what if self.role else "pipe or queue"
        return LostChannelError(f"a {what} was lost with its host: {why}", host)

    def _broken_pipe(self) -> Exception:
        """The last reader is gone: it has closed its end, or ended, or was lost with its host."""
        host = self._socket.last_reader
        if self._reader_lost is None:
            self._reader_lost = "" if host is None else _membership.client().why_if_lost(host)
        if not self._reader_lost:
            return BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        text = f"Nobody else can read from this {self.what}: what was not read is lost"
        return LastReaderLostError(f"{self._reader_lost}. {text}", host)

    def _renew(self, after: int) -> None:
        """A new socket under the old number; closing the old one tells the broker to go on."""
        self._socket.replace(self._connect(0, after))

    def check(self) -> None:
        """Before each use: open, and this process's own."""
        if self.closed:
            raise OSError("handle is closed")
        if self.pid != os.getpid():
            self._fresh()
            self._renew(0)

    def fileno(self) -> int:
        self.check()
        return self._socket.sock.fileno()

    def _mend(self, error: BaseException) -> None:
        """Something ended an operation in the middle: the link stays usable. Raises what that
        means for the caller; returns if it is the error itself."""
        if isinstance(error, NoReader):
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
        """Take a new socket, if an operation was left in the middle, and the mending of it too.
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
        if self.role == frames.WRITER:
            self._socket.check_reader()
        head = frames.HEADER.pack(frames.SEND, 0, 0, 0, stamp, len(data))
        self._socket.send_one_way(head, data)

    def put(self, body: Any, tickets: int = 0) -> None:
        """A message; waits until the broker has it."""
        reply = self.request(frames.PUT, body, stamp=self.stamp(), tickets=tickets)
        if reply.kind == frames.BROKEN:
            raise self._broken_pipe()

    def stamp(self) -> int:
        """Publish what this host has written, before a message to another host."""
        return edges.publish() or 0 if self.remote or self.foreign else 0

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
            self._socket.send(head, body)  # the broker reads on, whatever waits for an answer
            reply = self._socket.answer(number, until)
            if reply is None:
                reply = self._socket.cancel(number)
            if reply is None:
                raise TimedOut
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

    def _told_of(self, kind: int, reply: Reply) -> HostLostError:
        """The error of a loss, which has arrived: from now on this process knows."""
        loss, why = frames.unpack_loss(reply.body)
        edges.observe_newest()
        self._socket.send(ACK)
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
                self._socket.send(frames.frame(frames.TOLD, told))
                self.told = told
            except BaseException as error:
                self._mend(error)
                raise

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
            self._socket.send(ACK, flags=socket.MSG_MORE if later else 0)
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
            self._socket.ready(select.POLLIN, left)  # for a READY

    def _announced(self) -> bool:
        with self.lock:
            stamp = self._socket.announced()
        if stamp:
            edges.observe(stamp)
        return stamp is not None

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
        if self.pid == os.getpid() and self._forks == _forks:  # it is nobody else's
            if not quietly and self.role == frames.READER:
                self._take_leave(self._close_at_once)
            elif self.remote and self.role == frames.WRITER:
                self._take_leave(self._say_goodbye)
            elif self.lock.locked():
                self._socket.shut_down()
        self._socket.sock.close()

    def _take_leave(self, say: Callable[[], None]) -> None:
        if not self.lock.acquire(blocking=False):
            self._socket.shut_down()
            return
        try:
            with contextlib.suppress(OSError, EOFError):
                say()
        finally:
            self.lock.release()

    def _say_goodbye(self) -> None:
        """Say that the end was closed, and did not go with its process or its host."""
        (close,) = self._socket.pieces(frames.frame(frames.CLOSE))
        self._socket.sock.send(close, socket.MSG_DONTWAIT)

    def _close_at_once(self) -> None:
        self._socket.send(frames.frame(frames.CLOSE, self._numbers + 1))
        self._socket.answer(self._numbers + 1, time.monotonic() + CLOSE_SECONDS)


def _losses(what: str, kind: int, flags: int, undone: int) -> tuple[type[HostLostError], str]:
    """The error and the advice for who waits in a request for a lost host."""
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
